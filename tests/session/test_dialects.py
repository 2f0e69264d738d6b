"""What a grant means in its dialect."""

from __future__ import annotations

import datetime
from decimal import Decimal

import attrs
import pytest

from relayd.config.pricebook import Price, PriceBook
from relayd.config.providers import Dialect
from relayd.config.snapshot import Account, Key
from relayd.config.url import parse_base_url
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.meter import CountingMeter
from relayd.dialect.passthrough import Bytes
from relayd.dialect.realtime import MESSAGE_MAX_BYTES, RealtimeConversation
from relayd.protocol.outcomes import Drop, Replace
from relayd.routing.roster import Roster
from relayd.session.admission import Grant
from relayd.session.connecting import Wish
from relayd.session.dialects import (
    answer_subprotocol,
    conversation_of,
    message_max_bytes,
    priced_model,
    wish_of,
)
from tests.session.ends import Silent

PRICES = PriceBook(
    tuple(
        Price(models=(name,), text_in=Decimal(1), date=datetime.date(2026, 1, 1), source="a test")
        for name in ("gpt-realtime", "relay/echo")
    )
)
KEY = Key(name="dev", tenant="dev", digest=bytes(32), models=("gpt-*",))


def account(name: str, provider: str = "compatible", **more: object) -> Account:
    base_url = parse_base_url("https://upstream.example/v1")
    return Account(name=name, provider=provider, base_url=base_url, **more)  # type: ignore[arg-type]  # passed on as given


def grant(dialect: Dialect = Dialect.REALTIME, **more: object) -> Grant:
    given = {"key": KEY, "account_name": None} | more
    return Grant(
        dialect=dialect,
        client_address="127.0.0.2",
        granted_at=0.0,
        wall_granted_at=0.0,
        **given,  # type: ignore[arg-type]  # passed on as given
    )


def wished(given: Grant, *accounts: Account) -> Wish:
    wish = wish_of(given, Roster.of(accounts), PRICES)
    assert isinstance(wish, Wish)
    return wish


def test_a_realtime_session_asks_each_account_for_the_model_by_the_account_s_own_name() -> None:
    mapped = account("mapped", model_map={"voice": "gpt-realtime"})
    wish = wished(grant(model="voice", forward_headers=(("OpenAI-Project", "p"),)))

    assert wish.target(mapped) == "/v1/realtime?model=gpt-realtime"
    assert wish.target(account("plain")) == "/v1/realtime?model=voice"
    assert wish.headers == (("OpenAI-Project", "p"),)
    assert wish.hears_first, "a Realtime account is judged by its first message"


def test_no_subprotocol_of_a_realtime_client_goes_upstream() -> None:
    assert wished(grant(model="voice", subprotocols=("realtime",))).subprotocols == ()


def test_a_transcription_session_names_its_intent_and_no_model() -> None:
    wish = wished(grant(intent="transcription"))

    assert wish.demand.model is None
    assert wish.target(account("a")) == "/v1/realtime?intent=transcription"


def test_a_call_goes_to_the_only_account_there_is() -> None:
    wish = wished(grant(call_id="rtc_1"), account("only"), account("off", enabled=False))

    assert wish.target(account("only")) == "/v1/realtime?call_id=rtc_1"


def test_a_call_goes_to_the_only_openai_account_among_others() -> None:
    wish = wished(grant(call_id="rtc_1"), account("other"), account("own", provider="openai"))

    assert wish.demand.account == "own"


@pytest.mark.parametrize("names", [(), ("one", "two")])
def test_a_call_whose_account_nobody_knows_is_refused(names: tuple[str, ...]) -> None:
    refusal = wish_of(grant(call_id="rtc_1"), Roster.of(map(account, names)), PRICES)

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.param) == (RefusalCode.INVALID_PARAMETER, "call_id")


def test_passthrough_appends_what_the_client_said_to_the_named_account() -> None:
    wish = wished(
        grant(
            Dialect.PASSTHROUGH,
            account_name="echo",
            tail="/stream",
            upstream_query="a=1&a=2",
            subprotocols=("chat", "other"),
        )
    )

    assert wish.demand.account == "echo"
    assert wish.target(account("echo", "websocket")) == "/v1/stream?a=1&a=2"
    assert wish.subprotocols == ("chat", "other")
    assert not wish.hears_first


@pytest.mark.parametrize(
    ("dialect", "chosen", "answer"),
    [
        (Dialect.PASSTHROUGH, "chat", "chat"),
        (Dialect.PASSTHROUGH, None, None),
        (Dialect.REALTIME, None, "realtime"),
    ],
)
def test_the_101_names_the_upstream_s_choice_in_passthrough_and_relayd_s_own_elsewhere(
    dialect: Dialect, chosen: str | None, answer: str | None
) -> None:
    given = grant(dialect, account_name="echo", subprotocols=("chat", "realtime"))

    assert answer_subprotocol(given, chosen) == answer


def test_a_passthrough_session_is_not_read() -> None:
    given = grant(Dialect.PASSTHROUGH, account_name="echo")

    assert isinstance(conversation_of(given, account("echo"), CountingMeter(), Silent()), Bytes)


@pytest.mark.parametrize(("intent", "dropped"), [(None, False), ("transcription", True)])
def test_the_key_s_models_hold_for_transcription_where_the_session_is_for_it(
    intent: str | None, dropped: bool
) -> None:
    talk = conversation_of(grant(intent=intent), account("a"), CountingMeter(), Silent())
    assert isinstance(talk, RealtimeConversation)
    update = (
        b'{"type":"session.update","session":'
        b'{"audio":{"input":{"transcription":{"model":"whisper-1"}}}}}'
    )

    action = talk.client_reader.message(update, 0.0, text=True)

    assert isinstance(action, Drop) is dropped


def test_a_session_update_names_the_model_as_the_account_does() -> None:
    mapped = account("mapped", model_map={"gpt-voice": "gpt-realtime"})
    talk = conversation_of(grant(model="gpt-voice"), mapped, CountingMeter(), Silent())
    assert isinstance(talk, RealtimeConversation)
    update = b'{"type":"session.update","session":{"model":"gpt-voice","speed":1.50}}'

    action = talk.client_reader.message(update, 0.0, text=True)

    assert action == Replace(
        b'{"type":"session.update","session":{"model":"gpt-realtime","speed":1.50}}'
    )


@pytest.mark.parametrize(
    ("dialect", "configured", "longest"),
    [
        (Dialect.REALTIME, MESSAGE_MAX_BYTES * 2, MESSAGE_MAX_BYTES),
        (Dialect.REALTIME, 1000, 1000),
        (Dialect.PASSTHROUGH, MESSAGE_MAX_BYTES * 2, MESSAGE_MAX_BYTES * 2),
    ],
)
def test_a_dialect_s_own_cap_lies_below_the_configured_one(
    dialect: Dialect, configured: int, longest: int
) -> None:
    assert message_max_bytes(grant(dialect, account_name="echo"), configured) == longest


# -- what has a price

RICH = attrs.evolve(KEY, budget_nano=10**9)


def test_a_key_with_a_budget_goes_only_where_the_model_has_a_price() -> None:
    priced = account("priced", model_map={"voice": "gpt-realtime"})

    wish = wished(grant(key=RICH, model="voice"), account("unpriced"), priced)

    assert wish.demand.among == frozenset({"priced"})


def test_a_key_without_a_budget_goes_anywhere() -> None:
    assert wished(grant(model="voice"), account("unpriced")).demand.among is None


def test_a_model_without_a_price_anywhere_is_refused_to_a_key_with_a_budget() -> None:
    refusal = wish_of(grant(key=RICH, model="voice"), Roster.of([account("unpriced")]), PRICES)

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.status) == (RefusalCode.MODEL_NOT_PRICED, 403)


def test_a_model_that_nobody_serves_is_not_called_unpriced() -> None:
    other = account("other", models=("another",))

    assert wished(grant(key=RICH, model="voice"), other).demand.among is None


@pytest.mark.parametrize(("name", "priced"), [("echo", True), ("other", False)])
def test_a_passthrough_account_has_its_price_under_its_path(name: str, priced: bool) -> None:
    given = grant(Dialect.PASSTHROUGH, key=RICH, account_name=name)

    refusal = wish_of(given, Roster.of([account(name, provider="websocket")]), PRICES)

    assert isinstance(refusal, Refusal) is not priced


def test_what_is_priced_is_the_account_s_own_name() -> None:
    mapped = account("mapped", model_map={"voice": "gpt-realtime"})

    assert priced_model(grant(model="voice"), mapped) == "gpt-realtime"
    assert priced_model(grant(intent="transcription"), mapped) is None
    assert priced_model(grant(Dialect.PASSTHROUGH, account_name="m"), mapped) == "relay/mapped"
