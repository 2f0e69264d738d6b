"""The sending side: whole messages in turn, heartbeats between them, and no waiting for ever."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.service.http.outgoing import TURN_BYTES, ClientLost, Loss, Outgoing
from tests.service.http.stage import pair

STALL_S = 15.0


def joined(*, tcp: bool = False) -> tuple[Outgoing, socket.socket]:
    near, far = pair(tcp=tcp)
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    far.setblocking(False)
    return Outgoing(near, STALL_S), far


def full(_: socket.socket, __: bytes) -> int:
    """The kernel takes nothing at once."""
    return 0


async def taken(far: socket.socket, count: int) -> bytes:
    seen = b""
    while len(seen) < count:
        await trio.lowlevel.wait_readable(far)
        seen += far.recv(65536)
    return seen


async def test_messages_of_several_tasks_do_not_mix() -> None:
    outgoing, far = joined()
    with outgoing.sock, far:
        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b", b"c"):
                nursery.start_soon(outgoing.send, letter * 100_000)
            seen = await taken(far, 300_000)

    assert sorted([seen[:100_000], seen[100_000:200_000], seen[200_000:]]) == [
        letter * 100_000 for letter in (b"a", b"b", b"c")
    ]
    assert outgoing.bytes_out == 300_000


async def test_a_client_that_takes_nothing_is_lost(autojump_clock: MockClock) -> None:
    outgoing, far = joined()
    with outgoing.sock, far, pytest.raises(ClientLost) as caught:
        await outgoing.send(b"x" * 1_000_000)

    assert caught.value.loss is outgoing.loss is Loss.CLIENT_STALLED
    assert trio.current_time() == STALL_S
    assert 0 < outgoing.bytes_out < 1_000_000


async def test_a_client_that_has_left_is_lost() -> None:
    outgoing, far = joined()
    far.close()
    with outgoing.sock, pytest.raises(ClientLost) as caught:
        await outgoing.send(b"x")

    assert caught.value.loss is outgoing.loss is Loss.CLIENT_GONE


async def test_one_that_would_have_to_be_read_in_order_to_write_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def busy(_: socket.socket, __: bytes) -> None:
        raise trio.BusyResourceError

    monkeypatch.setattr("relayd.transport.raw.send_now", full)
    monkeypatch.setattr("relayd.transport.raw.send_all", busy)
    outgoing, far = joined()
    with outgoing.sock, far, pytest.raises(ClientLost):
        await outgoing.send(b"x")


async def test_other_tasks_run_while_a_fast_client_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing ever blocks here: the kernel takes whatever it is offered."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    monkeypatch.setattr("relayd.transport.raw.send_now", lambda _, data: len(data))
    outgoing, far = joined()
    with outgoing.sock, far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await outgoing.send(b"x" * TURN_BYTES * 10)
            nursery.cancel_scope.cancel()
    assert turns >= 9  # one between each two of the ten


async def test_a_comment_is_sent_where_nothing_else_is(autojump_clock: MockClock) -> None:
    outgoing, far = joined()
    with outgoing.sock, far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outgoing.keep_alive, b":\n", 10.0)
            await trio.sleep(9)
            await outgoing.send(b"x")
            await trio.sleep(9.5)
            assert far.recv(100) == b"x"
            await trio.sleep(1)
            assert far.recv(100) == b"2\r\n:\n\r\n"
            await trio.sleep(10)
            assert far.recv(100) == b"2\r\n:\n\r\n"
            nursery.cancel_scope.cancel()


async def test_a_comment_that_waited_for_its_turn_does_not_follow_the_last_message(
    autojump_clock: MockClock,
) -> None:
    outgoing, far = joined()
    with outgoing.sock, far:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def keep_alive() -> None:
                with scope:
                    await outgoing.keep_alive(b":\n", 10.0)

            async def send() -> None:
                await outgoing.send(b"x" * 200_000)
                scope.cancel()

            nursery.start_soon(keep_alive)
            nursery.start_soon(send)
            await trio.sleep(10)
            await wait_all_tasks_blocked()  # the comment is due, and waits for the message
            assert await taken(far, 200_000) == b"x" * 200_000
        with pytest.raises(BlockingIOError):
            far.recv(1)


async def test_a_client_that_is_stuck_behind_a_comment_is_lost(autojump_clock: MockClock) -> None:
    outgoing, far = joined()
    with outgoing.sock, far, pytest.raises(ClientLost):
        await outgoing.keep_alive(b"x" * 1_000_000, 10.0)

    assert trio.current_time() == 10 + STALL_S


async def test_a_stuck_client_can_be_reset() -> None:
    outgoing, far = joined(tcp=True)
    with far:
        outgoing.reset()
        outgoing.sock.close()
        await trio.lowlevel.wait_readable(far)

        with pytest.raises(ConnectionResetError):
            far.recv(1)
    outgoing.reset()  # the socket is closed: there is nothing left to reset
