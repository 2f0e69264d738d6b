"""Events for a client that reads no WebSocket."""

from __future__ import annotations

import pytest
import trio

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.responses_reader import TURN_ENDED, LeaseReader
from relayd.dialect.responses_turns import Running
from relayd.protocol.outcomes import Instead, Violation
from relayd.session.responses.collecting import COLLECTED, Collected
from tests.dialect.responses import event, response


@pytest.fixture
def reader() -> LeaseReader:
    reader = LeaseReader()
    reader.begin(None, Running(retryable=True))
    return reader


async def nowhere(_: bytes) -> None:
    raise AssertionError("nothing is handed on here")


def test_the_flow_stops_behind_every_event(reader: LeaseReader) -> None:
    collected = Collected(nowhere, HoldBudget(10**9))
    policy = collected.policy(reader)
    created = event("response.created", response=response("resp_1"))
    delta = event("response.output_text.delta", delta="x")
    done = event("response.completed", response=response("resp_1", status="completed"))

    assert policy.message(created, 0.0) is COLLECTED
    for _ in range(3):  # no matter what the reader knows by now
        assert policy.message(bytearray(delta), 0.0) is COLLECTED
        assert not any(delta.startswith(proof) for proof in (policy.proof,))
    assert policy.message(done, 0.0) is TURN_ENDED
    assert collected.events == [created, delta, delta, delta, done]


def test_what_is_kept_from_clients_is_not_collected(reader: LeaseReader) -> None:
    collected = Collected(nowhere, HoldBudget(10**9))
    said = collected.policy(reader).message(
        event("error", status=500, error={"type": "server_error", "message": "m"}), 0.0
    )

    assert isinstance(said, Instead)
    assert (said.payload, said.event, collected.events) == (None, TURN_ENDED, [])


def test_what_stands_in_an_events_place_is(reader: LeaseReader) -> None:
    collected = Collected(nowhere, HoldBudget(10**9))
    policy = collected.policy(reader)
    policy.message(event("response.created", response=response("resp_1")), 0.0)
    said = policy.message(event("error", error={"type": "server_error", "message": "m"}), 0.0)

    assert said is TURN_ENDED
    assert b'"status":500' in collected.events[-1]


def test_what_breaks_the_rules_is_not(reader: LeaseReader) -> None:
    collected = Collected(nowhere, HoldBudget(10**9))
    policy = collected.policy(reader)

    assert isinstance(policy.message(b"[]", 0.0), Violation)
    assert policy.oversize(b"{", 0.0).reason is Reason.TOO_BIG
    assert not policy.harmless(b'{"type":"response.output_text.delta"')
    assert collected.events == []


async def test_events_are_handed_on_in_order_and_none_twice_or_never() -> None:
    send, receive = trio.open_memory_channel[bytes](1)
    collected = Collected(send.send, HoldBudget(10**9))
    for number in range(3):
        collected.say(b"%d" % number)
    with trio.CancelScope() as scope:
        scope.cancel()
        await collected.deliver()
    with trio.move_on_after(0.01):
        await collected.deliver()  # the channel has room for one
    got = [await receive.receive()]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collected.deliver)
        got += [await receive.receive(), await receive.receive()]

    assert got == [b"0", b"1", b"2"]
    assert collected.events == []


async def test_what_waits_is_counted_until_it_is_taken(reader: LeaseReader) -> None:
    hold, taken = HoldBudget(10**6), list[bytes]()

    async def take(payload: bytes) -> None:
        taken.append(payload)
        await trio.lowlevel.checkpoint()

    collected = Collected(take, hold)
    created = event("response.created", response=response("resp_1"))
    collected.policy(reader).message(created, 0.0)
    collected.say(b"{}")
    assert hold.bytes_held == len(created) + 2

    await collected.deliver()
    assert (taken, hold.bytes_held) == ([created, b"{}"], 0)


def test_without_room_the_upstream_is_not_heard(reader: LeaseReader) -> None:
    hold = HoldBudget(10)
    collected = Collected(nowhere, hold)
    created = event("response.created", response=response("resp_1"))

    said = collected.policy(reader).message(created, 0.0)

    assert isinstance(said, Violation)
    assert said.reason is Reason.OVERLOAD
    collected.close()
    assert (collected.events, hold.bytes_held) == ([], 0)
