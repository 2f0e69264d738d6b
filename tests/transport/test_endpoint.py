"""The endpoint: what waits for its task, what is held for it, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.protocol.directions import ClientFlow
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.flow import Standing
from relayd.protocol.frames import Opcode, encode_frame
from relayd.protocol.outcomes import (
    Action,
    EndOfStream,
    Event,
    Notice,
    Taken,
    Violation,
    Watch,
)
from relayd.transport.endpoint import Endpoint, clean
from relayd.transport.sources import Sources
from tests.properties.events import NOTICE as NOTED
from tests.properties.events import Judge

NOTICE = Notice("x")


@pytest.fixture
def hold() -> HoldBudget:
    return HoldBudget(1000)


@pytest.fixture
def pair(hold: HoldBudget) -> Iterator[tuple[Endpoint, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    endpoint = Endpoint(ours, Side.CLIENT, hold, 0.0)
    yield endpoint, theirs
    endpoint.close()
    theirs.close()
    assert hold.bytes_held == 0


Pair = tuple[Endpoint, socket.socket]


async def test_an_event_wakes_the_task_that_waits(pair: Pair) -> None:
    endpoint, _ = pair
    got: list[Event] = []

    async def wait() -> None:
        got.append(await endpoint.next_event())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        endpoint.wake(NOTICE)
        endpoint.wake(Notice("lost"))

    assert got == [NOTICE]


async def test_an_event_without_a_task_waits_for_one(pair: Pair) -> None:
    endpoint, _ = pair

    endpoint.wake(NOTICE)

    assert await endpoint.next_event() == NOTICE


async def test_cancelling_the_wait_loses_no_event_that_is_there(pair: Pair) -> None:
    endpoint, _ = pair
    endpoint.wake(NOTICE)

    with trio.CancelScope() as scope:
        scope.cancel()
        await endpoint.next_event()
    assert scope.cancelled_caught

    assert await endpoint.next_event() == NOTICE


async def test_cancelling_the_wait_loses_no_event_that_comes_later(pair: Pair) -> None:
    endpoint, _ = pair
    with trio.CancelScope() as scope:
        scope.cancel()
        await endpoint.next_event()

    endpoint.wake(NOTICE)

    assert await endpoint.next_event() == NOTICE


def test_a_callback_hears_the_event_in_the_task_s_place(pair: Pair) -> None:
    endpoint, _ = pair
    events: list[Event] = []
    endpoint.on_event = events.append

    endpoint.wake(NOTICE)
    endpoint.wake(NOTICE)

    assert events == [NOTICE, NOTICE]


def test_a_tail_is_counted_while_it_is_kept(pair: Pair, hold: HoldBudget) -> None:
    endpoint, _ = pair

    assert endpoint.keep_tail(bytes(600)) is None
    assert endpoint.keep_tail(bytes(700)) is None
    assert hold.bytes_held == 700
    assert endpoint.keep_tail(b"") is None

    assert endpoint.tail is None
    assert hold.bytes_held == 0


def test_a_tail_that_the_process_has_no_room_for_is_a_violation(
    pair: Pair, hold: HoldBudget
) -> None:
    endpoint, _ = pair

    assert endpoint.keep_tail(bytes(1001)) == Violation.overload()

    assert endpoint.tail is None
    assert hold.bytes_held == 0


def test_the_end_is_mid_frame_where_an_unfinished_frame_is_kept(pair: Pair) -> None:
    endpoint, _ = pair

    assert endpoint.end_of_stream() == EndOfStream(mid_frame=False)
    endpoint.keep_tail(b"\x81")
    assert endpoint.end_of_stream("reset") == EndOfStream(mid_frame=True, error="reset")


def test_half_closing_tells_the_peer_and_goes_on_receiving(pair: Pair) -> None:
    endpoint, theirs = pair
    theirs.send(b"still")

    endpoint.half_close()
    endpoint.half_close()

    assert theirs.recv(1) == b""
    assert endpoint.sock.recv(10) == b"still"


def test_half_closing_a_lost_connection_is_moot(pair: Pair) -> None:
    endpoint, theirs = pair
    theirs.close()

    endpoint.half_close()

    assert endpoint.sock.recv(1) == b""


def test_closing_gives_back_what_is_held_and_may_be_repeated(pair: Pair, hold: HoldBudget) -> None:
    endpoint, theirs = pair
    endpoint.keep_tail(bytes(10))
    while not endpoint.sink.blocked:
        endpoint.sink.write([bytes(500)], Standing.FRAME, 0.0)
    endpoint.sink.note(bytes(10), 0.0)
    assert hold.bytes_held > 10

    endpoint.close()
    endpoint.close()

    assert hold.bytes_held == 0
    assert endpoint.sock.fileno() == -1
    while theirs.recv(65536):
        pass


def test_a_description_shows_the_side_and_no_bytes(pair: Pair) -> None:
    endpoint, _ = pair
    endpoint.keep_tail(b"secret")

    assert repr(endpoint) == f"<Endpoint client fd={endpoint.fd} stopped>"


async def test_an_aborted_connection_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    endpoint = Endpoint(ours, Side.CLIENT, HoldBudget(10), 0.0)

    endpoint.close(abort=True)

    with theirs, pytest.raises(ConnectionResetError):
        theirs.recv(1)


# -- a message that its task takes

MINE = Taken(b"mine")


@attrs.frozen
class Taking:
    """Takes every message."""

    def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
        return Taken(payload)

    def release(self, head: bytes) -> Watch | None:
        return None


def with_a_taken_message(endpoint: Endpoint, hold: HoldBudget) -> ClientFlow:
    flow = ClientFlow(message_max_bytes=1000, hold=hold, reader=Taking())
    wire = bytearray(encode_frame(Opcode.TEXT, b"mine", masked=True))
    flow.feed(memoryview(wire), wire, len(wire), 0.0)
    assert flow.event == MINE
    endpoint.flow = flow
    return flow


async def test_a_taken_message_is_its_task_s_from_the_moment_it_is_given(
    pair: Pair, hold: HoldBudget
) -> None:
    endpoint, _ = pair
    with_a_taken_message(endpoint, hold)
    endpoint.wake(MINE)

    assert await endpoint.next_event() == MINE
    endpoint.close()

    assert hold.bytes_held == 4
    hold.give(4)


def test_a_callback_owns_the_taken_message_it_is_given(pair: Pair, hold: HoldBudget) -> None:
    endpoint, _ = pair
    with_a_taken_message(endpoint, hold)
    endpoint.on_event = lambda event: None
    endpoint.wake(MINE)

    endpoint.close()

    assert hold.bytes_held == 4
    hold.give(4)


async def test_a_taken_message_that_nobody_was_given_is_forgotten_with_its_flow(
    pair: Pair, hold: HoldBudget
) -> None:
    endpoint, _ = pair
    with_a_taken_message(endpoint, hold)
    endpoint.wake(MINE)

    endpoint.close_flow()
    endpoint.flow = None
    assert hold.bytes_held == 0
    endpoint.wake(NOTICE)

    assert await endpoint.next_event() == NOTICE


# -- clean


@pytest.fixture
def pooled(pair: Pair, hold: HoldBudget) -> Endpoint:
    endpoint, _ = pair
    endpoint.flow = EventFlow(message_max_bytes=1000, hold=hold, reader=Judge())
    return endpoint


def feed(endpoint: Endpoint, wire: bytes) -> None:
    assert endpoint.flow is not None
    buffer = bytearray(wire)
    consumed = endpoint.flow.feed(memoryview(buffer), buffer, len(buffer), 0.0)
    endpoint.keep_tail(bytes(buffer[consumed:]))


def test_a_pooled_upstream_at_a_boundary_is_clean(pooled: Endpoint) -> None:
    assert clean(pooled)
    feed(pooled, encode_frame(Opcode.TEXT, b"{}", masked=False))
    assert clean(pooled)


@pytest.mark.parametrize(
    "wire",
    [
        b"\x81",
        encode_frame(Opcode.TEXT, b"{", masked=False, fin=False),
        encode_frame(Opcode.TEXT, NOTED + b"}", masked=False),
        encode_frame(Opcode.BINARY, b"", masked=False),
    ],
    ids=["a tail", "inside a message", "an event", "a violation"],
)
def test_one_with_something_left_is_not_clean(pooled: Endpoint, wire: bytes) -> None:
    feed(pooled, wire)

    assert not clean(pooled)


def test_one_that_has_ended_or_whose_sink_is_not_at_rest_is_not_clean(pooled: Endpoint) -> None:
    pooled.ended = True
    assert not clean(pooled)
    pooled.ended = False
    assert clean(pooled)

    pooled.sink.write([b"\x01\x00"], Standing.MESSAGE, 0.0)
    assert not clean(pooled)


def test_what_is_not_pooled_is_not_clean(pair: Pair, hold: HoldBudget) -> None:
    endpoint, _ = pair
    assert not clean(endpoint)

    endpoint.flow = ClientFlow(message_max_bytes=1000, hold=hold)
    assert not clean(endpoint)


# -- a client with sources


def test_closing_a_client_or_a_source_parts_them(pair: Pair, pooled: Endpoint) -> None:
    client, _ = pair
    sources = client.sources = Sources()
    ours, theirs = socket.socketpair()
    source = Endpoint(ours, Side.UPSTREAM, HoldBudget(10), 0.0)
    for _ in range(2):
        source.peer = client
        sources.add(source)
        assert sources.lock(source) == []
        assert source.siblings is sources

        source.close()

        assert source.peer is None
        assert source.siblings is None
        assert sources.holder is None
    source.peer = client
    sources.add(source)
    client.close()
    assert source.peer is None
    assert client.sources is None
    theirs.close()
