"""Endings that are nobody's fault, and those that relayd chooses itself."""

from __future__ import annotations

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent
from tests.faults.harness import CREATE, LIMITS, Stage, account, one_end
from tests.faults.wire import CLOSE, TEXT, Ending, close, frame


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_close_code_and_reason_travel_from_side_to_side(stage: Stage, first: str) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        near, other = (client, far) if first == "client" else (far, client)
        await near.send(close(4321, "enough", masked=near.is_client))
        got = await other.frame()
        assert got.payload == (4321).to_bytes(2, "big") + b"enough"
        await other.send(frame(CLOSE, got.payload, masked=other.is_client))
        await other.finish()
        assert await near.goodbye() == 4321
        line = await relay.log.session_ended()

    assert one_end(stage.log) == line
    assert (line["reason"], line["fault"]) == (f"{first}_closed", "none")
    assert (line["client_close"], line["upstream_close"]) == (4321, 4321)


async def test_an_empty_close_stays_empty(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        await far.send(frame(CLOSE, masked=False))
        assert await client.goodbye() is None
        assert await far.goodbye() is None
        line = await relay.log.session_ended()

    assert (line["reason"], line["client_close"], line["upstream_close"]) == (
        *("upstream_closed", 1005, 1005),
    )


async def test_a_key_in_a_close_reason_does_not_travel(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        await far.send(close(4001, "bad key sk-proj-abcdefghijklmnop", masked=False))
        got = await client.frame()
        assert b"sk-proj" not in got.payload
        assert b"redacted" in got.payload
        await client.finish()
        await far.finish()
        await relay.log.session_ended()


async def test_both_sides_closing_at_once_is_one_clean_end(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        await client.send(close(1000, "bye"))
        await far.send(close(1000, "bye", masked=False))
        assert (await client.frame()).close_code == 1000
        assert (await far.frame()).close_code == 1000
        await client.finish()
        await far.finish()
        assert [await client.end(), await far.end()] == [Ending.FIN, Ending.FIN]
        await relay.log.session_ended()

    line = one_end(stage.log)
    assert line["reason"] in ("client_closed", "upstream_closed")
    assert (line["fault"], line["client_close"], line["upstream_close"]) == ("none", 1000, 1000)


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_that_vanishes_is_1001_to_its_upstream(stage: Stage, how: str) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        if how == "reset":
            client.reset()
        else:
            await client.finish()
        assert await far.goodbye() == 1001
        line = await relay.log.session_ended()

    assert one_end(stage.log) == line
    assert (line["reason"], line["fault"]) == ("client_gone", "client")
    assert (line["client_close"], line["upstream_close"]) == (None, 1001)


async def test_a_session_ends_at_its_age(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, session_max_s=0.2)
    async with stage.relay(account(upstream), limits=limits) as relay:
        client, far = await relay.session(upstream)
        assert await client.goodbye() == 1001
        assert await far.goodbye() == 1000
        line = await relay.log.session_ended()

    assert (line["reason"], line["fault"]) == ("session_max_age", "none")


async def test_at_its_age_a_session_lets_the_running_response_end(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, session_max_s=0.2)
    done = b'{"type":"response.done","response":{"id":"r1","status":"completed"}}'
    async with stage.relay(account(upstream, provider="compatible"), limits=limits) as relay:
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        await far.frame()
        await far.send(
            frame(TEXT, b'{"type":"response.created","response":{"id":"r1"}}', masked=False)
        )
        await client.frame()
        older = trio.current_time() + limits.session_max_s
        while trio.current_time() < older:
            await far.send(frame(TEXT, b'{"type":"x"}', masked=False))
            assert (await client.frame()).payload == b'{"type":"x"}'
        assert relay.log.of(LogEvent.SESSION_ENDED) == []
        await far.send(frame(TEXT, done, masked=False))
        assert (await client.frame()).payload == done
        assert await client.goodbye() == 1001
        assert await far.goodbye() == 1000
        line = await relay.log.session_ended()

    assert (line["reason"], line["turns"]) == ("session_max_age", 1)


async def test_over_the_hold_budget_a_session_ends_with_1013(stage: Stage) -> None:
    """A Realtime client whose message has to be held whole, where nothing more may be held."""
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, hold_max_bytes=1 << 20)
    async with stage.relay(account(upstream, provider="compatible"), limits=limits) as relay:
        client, far = await relay.conversation(upstream)
        text = b'{"type":"conversation.item.create","pad":"' + b"x" * (2 << 20) + b'"}'
        async with trio.open_nursery() as sending:
            sending.start_soon(client.send, frame(TEXT, text))
            assert (await client.frame()).close_code == 1013
            assert await far.goodbye() == 1001
        await client.finish()
        line = await relay.log.session_ended()

    assert (line["reason"], line["fault"]) == ("overload", "relay")


async def test_a_realtime_message_over_the_dialect_s_cap_is_too_big_by_its_length(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, message_max_bytes=64 << 20)
    async with stage.relay(account(upstream, provider="compatible"), limits=limits) as relay:
        client, far = await relay.conversation(upstream)
        await client.send(b"\x81\xff" + ((32 << 20) + 1).to_bytes(8, "big") + bytes(4))
        assert await client.goodbye() == 1009
        assert await far.goodbye() == 1001
        line = await relay.log.session_ended()

    assert (line["reason"], line["fault"]) == ("too_big", "client")


async def test_an_upstream_may_say_everything_in_the_segment_of_its_101(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await relay.asking()
        words = frame(TEXT, b"hello", masked=False) + close(1000, "bye", masked=False)
        far = await upstream.accept_upgrade(words)
        await far.finish()
        assert b" 101 " in await client.head()
        assert (await client.frame()).payload == b"hello"
        assert await client.goodbye() == 1000
        await far.end()
        line = await relay.log.session_ended()

    assert (line["reason"], line["messages_down"]) == ("upstream_closed", 1)
