"""Limits of keys, seen by their clients: before the 101 as answers, later as events and endings."""

from __future__ import annotations

import datetime
import ipaddress
import json
from decimal import Decimal
from typing import Any, Self

import attrs
import pytest
import trio
import trio.testing

from relayd.config.schema import KeySettings, Timeouts
from relayd.config.secret import KeyDigest
from relayd.observe.events import LogEvent
from relayd.session.limits import Limits
from tests.faults.harness import (
    BEARER,
    CREATED,
    KEY,
    LIMITS,
    REALTIME,
    Relay,
    Stage,
    Upstream,
    accepted,
    account,
    one_end,
)
from tests.faults.money import (
    LONGEST_NANO,
    NOON,
    PRICES,
    UNTIL_MIDNIGHT_S,
    Wall,
    ask,
    count_of_sessions,
    create,
    created,
    done,
    ended,
    ended_for,
    error_event,
    error_in,
    key,
    leave,
    pass_on,
    turn,
    watch_books,
)
from tests.faults.wire import (
    CLOSE,
    TEXT,
    Response,
    Wire,
    accepting,
    close,
    frame,
    upgrade,
)

CLEAR = b'{"type":"input_audio_buffer.clear"}'
SOON_S = 0.15
"""How long a key is valid that expires while a test runs."""


async def refused(relay: Relay, path: str = REALTIME, *, source: str = "127.0.0.1") -> Response:
    """The answer to an upgrade that is not accepted."""
    return await relay.refusal(await relay.asking(path, source=source))


def only_line(stage: Stage, dialect: str = "realtime") -> tuple[int, str]:
    """Status and reason of the one line of a connection that had no session, whole otherwise."""
    line = one_end(stage.log)
    assert line["event"] == LogEvent.CONNECTION_REFUSED
    assert (line["key"], line["dialect"]) == ("dev", dialect)
    assert line["client_address"].startswith("127.0.0.")
    return line["status"], line["reason"]


def error_of(response: Response) -> dict[str, Any]:
    """The error that a refusal tells, all but its message."""
    error: dict[str, Any] = json.loads(response.body)["error"]
    assert error.pop("message")
    return error


def header(response: Response, name: str) -> str | None:
    """A header's value; none is there twice."""
    lines = [line.partition(": ") for line in response.head.split("\r\n")[1:]]
    found = [value for given, _, value in lines if given.lower() == name.lower()]
    assert len(found) <= 1
    return found[0] if found else None


async def nothing_more_for(far: Wire, client: Wire) -> None:
    """What the upstream gets next is what the client says now."""
    await ask(client, far, CLEAR)


# -- before the 101


async def test_an_expired_key_is_403(stage: Stage) -> None:
    upstream, expired = await stage.upstream(), key(expires=NOON)
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=expired, wall=Wall()) as relay:
        response = await refused(relay)

    assert response.status == 403
    assert response.body == (
        b'{"error":{"message":"This key expired at 2026-11-02T12:00:00Z. Ask the operator of this'
        b' relay for a new one.","type":"permission_error","param":null,"code":"key_expired"}}'
    )
    assert only_line(stage) == (403, "key_expired")


async def test_an_address_that_the_key_does_not_name_is_403(stage: Stage) -> None:
    upstream = await stage.upstream()
    home = key(allowed_ips=(ipaddress.ip_network("127.0.0.1/32"),))
    async with stage.relay(account(upstream, provider="compatible"), key=home) as relay:
        response = await refused(relay, source="127.0.0.2")
        assert only_line(stage) == (403, "address_not_allowed")
        await relay.conversation(upstream)

    assert (response.status, error_of(response)["code"]) == (403, "address_not_allowed")


async def test_a_session_too_many_is_429_until_another_has_ended(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(
        account(upstream, provider="compatible"), key=key(sessions_max=1)
    ) as relay:
        client, far = await relay.conversation(upstream)
        response = await refused(relay)
        assert only_line(stage) == (429, "session_limit_reached")
        await leave(client, far)
        await relay.log.session_ended()
        await relay.conversation(upstream)

    assert (response.status, header(response, "Retry-After")) == (429, "1")
    assert error_of(response) == {
        "type": "rate_limit_error",
        "param": None,
        "code": "session_limit_reached",
    }


async def test_requests_of_a_minute_that_are_used_up_are_429_until_they_are_back(
    stage: Stage,
) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(requests_per_minute=2), wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        for number in range(2):
            await turn(client, far, f"r{number}")
        response = await refused(relay)
        wall.now += float(header(response, "Retry-After") or "nan")
        await relay.conversation(upstream)

    assert response.status == 429
    assert 30 <= int(header(response, "Retry-After") or 0) <= 31, "half a minute for one of two"
    assert error_of(response)["code"] == "rate_limit_exceeded"
    line = await stage.log.refused()
    assert (line["status"], line["reason"]) == (429, "rate_limit_exceeded")
    assert "2 requests a minute" in line["message"]


async def test_tokens_of_a_minute_that_are_overdrawn_are_429_until_they_are_made_up_for(
    stage: Stage,
) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(tokens_per_minute=100), wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_in=300, text_out=50)
        response = await refused(relay)
        wall.now += 149
        await refused(relay)
        wall.now += 2
        await relay.conversation(upstream)

    assert response.status == 429
    assert 150 <= int(header(response, "Retry-After") or 0) <= 151, "250 tokens at 100 a minute"
    assert error_of(response)["code"] == "rate_limit_exceeded"
    assert "100 tokens a minute" in (await stage.log.refused())["message"]


async def test_a_budget_that_is_spent_is_429_that_no_sdk_tries_again(stage: Stage) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    limited = key("0.05")
    async with stage.relay(only, key=limited, prices=PRICES, wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_out=5000)
        await ended_for("insufficient_quota", client, far)
        response = await refused(relay)
        wall.now += UNTIL_MIDNIGHT_S
        await relay.conversation(upstream)

    assert response.status == 429
    assert header(response, "x-should-retry") == "false"
    assert header(response, "Retry-After") == str(UNTIL_MIDNIGHT_S)
    assert error_of(response)["code"] == "insufficient_quota"
    line = await stage.log.refused()
    assert (line["status"], line["reason"]) == (429, "insufficient_quota")
    assert line["message"] == (
        "This key's budget of 0.05 US dollars a day is used up, or does not bear another turn."
        " It begins anew at 2026-11-03T00:00:00Z; the operator of this relay can raise it."
    )


async def test_a_model_without_a_price_is_403_under_a_budget(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("1"), prices=PRICES) as relay:
        response = await refused(relay, "/v1/realtime?model=gpt-unheard-of")
        assert only_line(stage) == (403, "model_not_priced")
        await relay.conversation(upstream)

    assert (response.status, error_of(response)) == (
        403,
        {"type": "permission_error", "param": "model", "code": "model_not_priced"},
    )


async def test_a_passthrough_account_without_a_price_is_403_under_a_budget(stage: Stage) -> None:
    upstream = await stage.upstream()
    accounts = (account(upstream, "echo"), account(upstream, "paid"))
    async with stage.relay(*accounts, key=key("1"), prices=PRICES) as relay:
        response = await refused(relay, "/relay/echo")
        assert only_line(stage, "passthrough") == (403, "model_not_priced")
        client = await relay.asking("/relay/paid")
        await upstream.accept_upgrade()
        await accepted(client)

    assert (response.status, error_of(response)["code"]) == (403, "model_not_priced")


async def test_without_a_budget_a_model_needs_no_price(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, provider="compatible")) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_in=10, text_out=10)
        await leave(client, far)
        await relay.log.session_ended()

    assert stage.log.of(LogEvent.TURN_ENDED)[0]["cost_usd"] is None
    assert len(stage.log.of(LogEvent.MODEL_UNPRICED)) == 1


# -- rates, during a session


async def test_a_create_beyond_the_rate_is_swallowed_and_the_session_stays(stage: Stage) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(requests_per_minute=1), wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1")

        await client.send(frame(TEXT, create("evt_mine")))

        assert (await client.frame()).payload == error_event(
            "rate_limit_error",
            "rate_limit_exceeded",
            "This key's limit of 1 requests a minute is reached. Please try again in 60.001s.",
            "evt_mine",
        )
        await nothing_more_for(far, client)
        wall.now += 60.001
        await turn(client, far, "r2", wish=create("evt_again"))
        await leave(client, far)
        line = await relay.log.session_ended()

    assert (line["reason"], line["turns"], line["messages_up"]) == ("client_gone", 2, 3)


async def test_a_create_is_refused_while_tokens_are_overdrawn(stage: Stage) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(tokens_per_minute=60), wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_in=40, text_out=22)

        await client.send(frame(TEXT, create("evt_mine")))

        error = error_in(await client.frame())
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert error["event_id"] == "evt_mine"
        assert error["message"].endswith(
            "60 tokens a minute is reached. Please try again in 2.001s."
        )
        await nothing_more_for(far, client)
        wall.now += 2.001
        await turn(client, far, "r2")


async def test_turns_that_the_upstream_begins_count_and_are_not_stopped(stage: Stage) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(requests_per_minute=2), wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        for number in range(3):
            await pass_on(far, client, created(f"r{number}"))
            await pass_on(far, client, done(f"r{number}"))

        await client.send(frame(TEXT, create("evt_mine")))

        message = error_in(await client.frame())["message"]
        assert message.endswith("Please try again in 60.001s."), "one owed, one wanted"
        await nothing_more_for(far, client)
        wall.now += 60.001
        await turn(client, far, "r3")


# -- budgets, during a session


async def test_a_turn_that_the_budget_does_not_bear_ends_the_session(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("0.05"), prices=PRICES, wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_in=1000, text_out=2000)

        await client.send(frame(TEXT, create("evt_mine")))

        assert (await client.frame()).payload == error_event(
            "insufficient_quota",
            "insufficient_quota",
            "This key's budget of 0.05 US dollars a day is used up, or does not bear another turn."
            " It begins anew at 2026-11-03T00:00:00Z; the operator of this relay can raise it.",
            "evt_mine",
        )
        assert await ended(client, far) == 1008
        line = await relay.log.session_ended()

    assert (line["reason"], line["fault"], line["turns"]) == ("budget_exhausted", "client", 1)
    assert line["cost_usd"] == 0.021


async def test_a_shorter_turn_fits_where_the_longest_does_not(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("0.05"), prices=PRICES, wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_out=2000)

        await turn(client, far, "r2", wish=create("evt", max_output_tokens=100), text_out=100)


async def test_what_a_running_turn_may_cost_is_set_aside_until_it_has_ended(stage: Stage) -> None:
    assert LONGEST_NANO < 50_000_000 < 2 * LONGEST_NANO
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("0.05"), prices=PRICES, wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)
        await ask(client, far)
        await pass_on(far, client, created("r1"))

        await client.send(frame(TEXT, create("evt_second")))

        assert (await client.frame()).payload == error_event(
            "rate_limit_error",
            "rate_limit_exceeded",
            "The rest of this key's budget of 0.05 US dollars is set aside for running responses."
            " Please try again when one has ended.",
            "evt_second",
        )
        await nothing_more_for(far, client)
        await pass_on(far, client, done("r1", text_out=10))
        await turn(client, far, "r2", text_out=10)
        await leave(client, far)
        line = await relay.log.session_ended()

    assert (line["reason"], line["turns"], line["cost_usd"]) == ("client_gone", 2, 0.0002)


async def test_a_turn_that_the_budget_does_not_bear_waits_for_the_running_one_to_end(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("0.05"), prices=PRICES, wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_out=2000)
        await ask(client, far, create("evt_short", max_output_tokens=100))
        await pass_on(far, client, created("r2"))

        await client.send(frame(TEXT, create("evt_long")))

        error = error_in(await client.frame())
        assert (error["code"], error["event_id"]) == ("insufficient_quota", "evt_long")
        await pass_on(far, client, done("r2", text_out=100))
        assert await ended(client, far) == 1008, "told once, and not again"
        line = await relay.log.session_ended()

    assert (line["reason"], line["turns"], line["cost_usd"]) == ("budget_exhausted", 2, 0.021)


async def test_a_turn_that_spends_the_budget_ends_the_session_behind_it(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("0.05"), prices=PRICES, wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_out=5000)

        await ended_for("insufficient_quota", client, far)
        line = await relay.log.session_ended()

    assert (line["reason"], line["cost_usd"]) == ("budget_exhausted", 0.05)


async def test_another_session_s_turn_may_spend_the_budget(stage: Stage) -> None:
    """The session that spends it ends; the other one hears of it when it asks."""
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("0.05"), prices=PRICES, wall=Wall()) as relay:
        spender, spender_far = await relay.conversation(upstream)
        client, far = await relay.conversation(upstream)
        await turn(spender, spender_far, "r1", text_out=5000)
        await ended_for("insufficient_quota", spender, spender_far)

        await client.send(frame(TEXT, create("evt_mine")))

        error = error_in(await client.frame())
        assert (error["code"], error["event_id"]) == ("insufficient_quota", "evt_mine")
        assert await ended(client, far) == 1008
        await relay.log.session_ended(2)


async def test_a_turn_of_the_upstream_s_own_beyond_the_budget_is_the_last_one(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("0.04"), prices=PRICES, wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)
        await pass_on(far, client, created("r1"))
        await pass_on(far, client, done("r1", text_out=7))

        await ended_for("insufficient_quota", client, far)
        line = await relay.log.session_ended()

    assert (line["reason"], line["turns"], line["cost_usd"]) == ("budget_exhausted", 1, 0.00007)


async def test_a_transcription_may_spend_the_budget_too(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    naming_it = updated({"audio": {"input": {"transcription": {"model": "whisper-1"}}}})
    transcribed = (
        b'{"type":"conversation.item.input_audio_transcription.completed","item_id":"i1",'
        b'"content_index":0,"usage":{"type":"duration","seconds":50}}'
    )
    async with stage.relay(only, key=key("0.05"), prices=PRICES, wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)
        await pass_on(far, client, naming_it)
        await pass_on(far, client, transcribed)

        await ended_for("insufficient_quota", client, far)
        line = await relay.log.session_ended()

    assert (line["reason"], line["turns"], line["cost_usd"]) == ("budget_exhausted", 0, 0.05)


async def test_a_budget_begins_anew_while_a_session_goes_on(stage: Stage) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("0.05"), prices=PRICES, wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        for day in range(3):
            await turn(client, far, f"r{day}", text_out=4000)
            wall.now += 2 * UNTIL_MIDNIGHT_S
        await leave(client, far)
        line = await relay.log.session_ended()

    assert (line["turns"], line["cost_usd"]) == (3, 0.12)


async def test_the_line_of_a_turn_says_its_cost_and_comes_before_its_session_s(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(price_factor=Decimal("1.5")), prices=PRICES) as relay:
        client, far = await relay.conversation(upstream, headers={"x-relayd-tag": "a/tag"})
        await turn(client, far, "r1", text_in=1000, text_out=100)
        await turn(client, far, "r2", text_in=1, text_out=1)
        await leave(client, far)
        line = await relay.log.session_ended()

    *turns, session = [
        each
        for each in stage.log.lines
        if each["event"] in (LogEvent.TURN_ENDED, LogEvent.SESSION_ENDED)
    ]
    assert session == line
    assert [(each["turn_id"], each["cost_usd"]) for each in turns] == [
        ("r1", 0.003),
        ("r2", 0.0000165),
    ]
    assert (session["turns"], session["cost_usd"]) == (2, 0.0030165)


# -- models, during a session


async def test_an_update_that_names_a_model_without_a_price_is_dropped_under_a_budget(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("1"), prices=PRICES, wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)

        await client.send(frame(TEXT, naming("gpt-unheard-of", "evt_mine")))

        error = error_in(await client.frame())
        assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_priced")
        assert error["event_id"] == "evt_mine"
        assert "gpt-unheard-of" in error["message"]
        await nothing_more_for(far, client)
        await ask(client, far, naming("whisper-1", "evt_other"))


def naming(transcription_model: str, event_id: str) -> bytes:
    """A ``session.update`` that names the model of transcriptions."""
    audio = {"input": {"transcription": {"model": transcription_model}}}
    update = {"type": "session.update", "event_id": event_id, "session": {"audio": audio}}
    return json.dumps(update).encode()


def updated(session: dict[str, object]) -> bytes:
    """``session.updated``."""
    return json.dumps({"type": "session.updated", "session": session}).encode()


UNPRICED = {
    "another model": [updated({"model": "gpt-realtime"}), updated({"model": "gpt-unheard-of"})],
    "transcription": [updated({"audio": {"input": {"transcription": {"model": "unheard-of"}}}})],
}


@pytest.mark.parametrize("events", UNPRICED.values(), ids=UNPRICED)
async def test_an_upstream_that_says_it_costs_nobody_knows_what_ends_the_session(
    stage: Stage, events: list[bytes]
) -> None:
    """Nobody asked for the model, so there was nothing to refuse."""
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("1"), prices=PRICES, wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)
        for event in events:
            await pass_on(far, client, event)

        await ended_for("model_not_priced", client, far)
        line = await relay.log.session_ended()

    assert line["reason"] == "policy"


# -- keys that end, during a session


async def test_a_key_that_expires_ends_its_session_after_the_running_response(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    soon = NOON + datetime.timedelta(seconds=SOON_S)
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(expires=soon), wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)
        await ask(client, far)
        await trio.sleep(SOON_S)
        await pass_on(far, client, created("r1"))
        await trio.sleep(0.05)
        await client.send(frame(TEXT, create("evt_late")))
        refusal = error_in(await client.frame())
        await pass_on(far, client, done("r1"))

        await ended_for("key_expired", client, far)
        line = await relay.log.session_ended()

    assert (refusal["code"], refusal["event_id"]) == ("key_expired", "evt_late")
    assert (line["reason"], line["turns"]) == ("key_expired", 1)
    assert stage.log.of(LogEvent.TURN_ENDED)[0]["reason"] == "completed"


async def test_a_key_that_expires_ends_an_idle_session_at_once(stage: Stage) -> None:
    upstream = await stage.upstream()
    soon = NOON + datetime.timedelta(seconds=SOON_S)
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(expires=soon), wall=Wall()) as relay:
        client, far = await relay.conversation(upstream)

        await ended_for("key_expired", client, far)
        line = await relay.log.session_ended()

    assert line["reason"] == "key_expired"
    assert SOON_S - 0.1 < line["duration_s"] < SOON_S + 1.0


OTHER_SECRET = KeyDigest.of("another-secret-of-the-same-key")
GONE = {
    "gone": attrs.evolve(KEY, name="another", secret=OTHER_SECRET),
    "disabled": attrs.evolve(KEY, enabled=False),
    "another secret": attrs.evolve(KEY, secret=OTHER_SECRET),
    "another name": attrs.evolve(KEY, name="another"),
}


@pytest.mark.parametrize("changed", GONE.values(), ids=GONE)
async def test_a_removed_key_ends_its_sessions_after_the_running_response(
    stage: Stage, changed: KeySettings
) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only) as relay:
        busy, busy_far = await relay.conversation(upstream)
        idle, idle_far = await relay.conversation(upstream)
        await ask(busy, busy_far)
        await pass_on(busy_far, busy, created("r1"))

        relay.running.apply(stage.snapshot(only, key=changed))

        await ended_for("key_removed", idle, idle_far)
        await busy.send(frame(TEXT, create("evt_late")))
        refusal = error_in(await busy.frame())
        await pass_on(busy_far, busy, done("r1"))
        await ended_for("key_removed", busy, busy_far)
        line = await relay.log.session_ended(2)

    assert (refusal["code"], refusal["event_id"]) == ("key_removed", "evt_late")
    assert refusal["type"] == "authentication_error"
    assert (line["reason"], line["fault"], line["turns"]) == ("key_removed", "client", 1)


async def test_a_removed_key_opens_nothing_from_then_on(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only) as relay:
        relay.running.apply(stage.snapshot(only, key=GONE["gone"]))
        response = await refused(relay)

    assert (response.status, error_of(response)["code"]) == (401, "invalid_api_key")


async def test_a_key_that_only_has_other_limits_keeps_its_sessions(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only) as relay:
        client, far = await relay.conversation(upstream)
        relay.running.apply(stage.snapshot(only, key=key(sessions_max=1, requests_per_minute=1)))
        for number in range(2):
            await turn(client, far, f"r{number}")
        response = await refused(relay)

    assert error_of(response)["code"] == "session_limit_reached"


# -- a crowd

CROWD = 1000
DAY = int(NOON.timestamp()) - UNTIL_MIDNIGHT_S
SESSIONS_MAX = 100
REQUESTS_PER_MINUTE = 150


@attrs.define
class Crowd:
    """What became of many connections of one key."""

    inside: list[Wire] = attrs.field(factory=list)
    refused: list[Response] = attrs.field(factory=list)

    async def join(self, client: Wire) -> None:
        """Ask for a session, and hear what becomes of it."""
        await client.send(upgrade(REALTIME, BEARER))
        head = await client.head()
        if head.startswith(b"HTTP/1.1 101 "):
            assert (await client.frame()).payload == CREATED
            self.inside.append(client)
        else:
            await client.end()
            self.refused.append(Response.parse(bytes(client.seen)))
            client.close()

    @classmethod
    async def of(cls, relay: Relay, size: int) -> Self:
        """So many that are all connected before the first one asks."""
        crowd, clients = cls(), [await relay.client() for _ in range(size)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(crowd.join, client)
        return crowd

    async def leave(self) -> None:
        """All who are inside go."""
        async with trio.open_nursery() as nursery:
            for client in self.inside:
                await client.send(close(1000))
                nursery.start_soon(client.goodbye)


async def serve_all(upstream: Upstream, asked: list[str]) -> None:
    """Play the upstream to whoever connects; every create that comes is noted."""
    async with trio.open_nursery() as nursery:
        while True:
            sock, _ = await upstream.sock.accept()
            far = Wire(sock, is_client=False)
            upstream.wires.append(far)
            nursery.start_soon(serve_one, far, asked)


async def serve_one(far: Wire, asked: list[str]) -> None:
    """One session: every create is answered with a turn of 10 tokens."""
    await far.send(accepting(await far.head()) + frame(TEXT, CREATED, masked=False))
    while (got := await far.frame()).opcode == TEXT:
        asked.append(f"r{len(asked)}")
        for event in (created(asked[-1]), done(asked[-1], text_in=10)):
            await far.send(frame(TEXT, event, masked=False))
    await far.send(frame(CLOSE, got.payload, masked=False))
    await far.finish()


async def ask_twice(client: Wire, refusals: list[str]) -> None:
    """Ask for a turn, hear of it or of its refusal, and ask again."""
    for number in range(2):
        await client.send(frame(TEXT, create(f"evt_{number}")))
        event = json.loads((await client.frame()).payload)
        if event["type"] == "error":
            assert event["error"]["event_id"] == f"evt_{number}"
            refusals.append(event["error"]["code"])
        else:
            assert json.loads((await client.frame()).payload)["type"] == "response.done"


@pytest.mark.slow
async def test_of_a_crowd_exactly_as_many_as_may_run_and_nothing_leaks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, wall, books = await stage.upstream(), Wall(), watch_books(monkeypatch)
    limited = key("1", sessions_max=SESSIONS_MAX, requests_per_minute=REQUESTS_PER_MINUTE)
    patient = attrs.evolve(
        LIMITS, handshake_s=30.0, admission_s=30.0, stall_s=5.0, handshakes_per_ip_max=CROWD
    )
    patience = Timeouts(connect_s=30.0, first_frame_s=30.0)
    only = account(upstream, provider="compatible", timeouts=patience)
    async with (
        stage.relay(only, key=limited, prices=PRICES, wall=wall, limits=patient) as relay,
        trio.open_nursery() as peers,
    ):
        limits, ledger = books[0].limits, books[0].ledger
        asked, refusals = list[str](), list[str]()
        peers.start_soon(serve_all, upstream, asked)

        first = await Crowd.of(relay, CROWD)
        assert (len(first.inside), limits.live) == (SESSIONS_MAX, SESSIONS_MAX)
        async with trio.open_nursery() as nursery:
            for client in first.inside:
                nursery.start_soon(ask_twice, client, refusals)
        await first.leave()
        await relay.log.session_ended(SESSIONS_MAX)
        assert (limits.live, await settled_sessions(limits)) == (0, 0)

        wall.now += 60
        second = await Crowd.of(relay, 2 * SESSIONS_MAX)
        assert len(second.inside) == SESSIONS_MAX
        await second.leave()
        await relay.log.session_ended(2 * SESSIONS_MAX)
        assert (limits.live, await settled_sessions(limits)) == (0, 0)

        spent = await ledger.spent("dev", 0.0, counted=lambda: None)
        assert spent == REQUESTS_PER_MINUTE * 10_000
        assert await limits.store.get(f"budget:dev:day:{DAY}") == b"%d" % spent
        peers.cancel_scope.cancel()

    answers = [*first.refused, *second.refused]
    assert len(answers) == CROWD - SESSIONS_MAX + SESSIONS_MAX
    assert {each.status for each in answers} == {429}
    assert {header(each, "Retry-After") for each in answers} == {"1"}
    assert {error_of(each)["code"] for each in answers} == {"session_limit_reached"}
    assert len(asked) == REQUESTS_PER_MINUTE
    assert refusals == ["rate_limit_exceeded"] * (2 * SESSIONS_MAX - REQUESTS_PER_MINUTE)
    assert len(stage.log.of(LogEvent.CONNECTION_REFUSED)) == len(answers)


async def settled_sessions(limits: Limits) -> int:
    """How many sessions of the key the store counts, once it has been told everything."""
    await trio.testing.wait_all_tasks_blocked()
    assert not limits.waiting
    return await count_of_sessions(limits)
