"""The endpoint: what waits for its task, what is held for it, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.protocol.flow import Standing
from relayd.protocol.outcomes import EndOfStream, Event, Notice, Violation
from relayd.transport.endpoint import Endpoint

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
