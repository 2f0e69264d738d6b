"""Limits of keys during a session: turns that are refused, and sessions that end."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import attrs
import pytest
import trio

from relayd.config.schema import KeySettings
from relayd.config.secret import KeyDigest
from relayd.observe.events import LogEvent
from tests.faults.harness import KEY, Stage, account
from tests.faults.money import (
    LONGEST_NANO,
    NOON,
    PRICES,
    UNTIL_MIDNIGHT_S,
    Wall,
    ask,
    create,
    created,
    done,
    ended,
    ended_for,
    error_event,
    error_in,
    error_of,
    key,
    leave,
    pass_on,
    refused,
    turn,
)
from tests.faults.wire import TEXT, Wire, frame

CLEAR = b'{"type":"input_audio_buffer.clear"}'
SOON_S = 0.15
"""How long a key is valid that expires while a test runs."""


async def nothing_more_for(far: Wire, client: Wire) -> None:
    """What the upstream gets next is what the client says now."""
    await ask(client, far, CLEAR)


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
        await leave(client, far)
        line = await relay.log.session_ended()

    assert (line["reason"], line["turns"]) == ("client_gone", 2)


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
