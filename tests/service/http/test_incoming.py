"""The receiving side: one receive ahead, and nobody leaves unnoticed."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.service.http.incoming import PROBE_S, RECEIVE_BYTES, Incoming
from tests.service.http.stage import pair


def joined(*, tcp: bool = False, held: bytes = b"") -> tuple[Incoming, socket.socket]:
    near, far = pair(tcp=tcp)
    near.setblocking(False)
    return Incoming(near, held), far


async def test_between_requests_what_is_held_comes_first() -> None:
    incoming, far = joined(held=b"held")
    with incoming.sock, far:
        far.send(b"fresh")

        assert await incoming.receive() == b"held"
        assert await incoming.receive() == b"fresh"
        far.close()
        assert await incoming.receive() == b""


async def test_a_lost_connection_is_an_end_too() -> None:
    incoming, far = joined(tcp=True)
    with incoming.sock:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()

        assert await incoming.receive() == b""


async def test_the_watch_is_one_receive_ahead_and_no_further() -> None:
    incoming, far = joined()
    with incoming.sock, far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(incoming.watch)
            far.send(b"a" * RECEIVE_BYTES + b"b" * 10)
            await wait_all_tasks_blocked()
            assert incoming.held == b"a" * RECEIVE_BYTES

            assert await incoming.take() == b"a" * RECEIVE_BYTES
            assert await incoming.take() == b"b" * 10
            nursery.cancel_scope.cancel()


async def test_a_taker_waits_for_bytes() -> None:
    incoming, far = joined()
    taken = []

    async def take() -> None:
        taken.append(await incoming.take())

    with incoming.sock, far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(incoming.watch)
            async with trio.open_nursery() as takers:
                takers.start_soon(take)
                await wait_all_tasks_blocked()
                assert taken == []
                far.send(b"x")
            nursery.cancel_scope.cancel()
    assert taken == [b"x"]


async def test_what_was_too_much_is_put_back_and_stops_the_watch_again() -> None:
    incoming, far = joined(held=b"body next")
    with incoming.sock, far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(incoming.watch)
            await wait_all_tasks_blocked()
            assert await incoming.take() == b"body next"
            incoming.put_back(b" next")
            far.send(b" more")
            await wait_all_tasks_blocked()
            assert incoming.held == b" next"
            nursery.cancel_scope.cancel()

        assert await incoming.receive() == b" next"
        assert await incoming.receive() == b" more"


@pytest.mark.parametrize("reset", [False, True])
async def test_the_watch_ends_when_the_client_leaves(reset: bool) -> None:
    incoming, far = joined(tcp=True)
    with incoming.sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(incoming.watch)
            await wait_all_tasks_blocked()
            if reset:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            far.close()


@pytest.mark.parametrize("reset", [False, True])
async def test_leaving_is_noticed_behind_bytes_that_nobody_takes(
    reset: bool, autojump_clock: MockClock
) -> None:
    incoming, far = joined(tcp=True, held=b"held")
    with incoming.sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(incoming.watch)
            far.send(b"more")
            await trio.sleep(10 + PROBE_S / 2)
            if reset:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            far.close()
        assert trio.current_time() == 10 + PROBE_S


async def test_a_watch_that_would_have_to_write_calls_it_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def busy(_: socket.socket, __: int) -> bytes:
        raise trio.BusyResourceError

    monkeypatch.setattr("relayd.transport.raw.receive", busy)
    incoming, far = joined()
    with incoming.sock, far:
        await incoming.watch()
    assert incoming.held == b""
