"""Handshake bytes on a bare socket."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.transport import raw
from relayd.transport.errors import DialError, DialErrorKind

RESET = struct.pack("ii", 1, 0)
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    for sock in (ours, theirs):
        sock.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


async def test_receive_waits_for_bytes_and_returns_them(pair: Pair) -> None:
    ours, theirs = pair
    got: list[bytes] = []

    async def receive() -> None:
        got.append(await raw.receive(ours, 3))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        theirs.send(b"early")

    assert got == [b"ear"]
    assert await raw.receive(ours, 100) == b"ly"


async def test_the_end_of_the_stream_is_empty(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()

    assert await raw.receive(ours, 100) == b""


async def test_cancelling_a_receive_loses_no_byte(pair: Pair) -> None:
    ours, theirs = pair
    with trio.CancelScope() as scope:
        scope.cancel()
        await raw.receive(ours, 100)

    theirs.send(b"kept")

    assert await raw.receive(ours, 100) == b"kept"


async def test_a_reset_is_a_lost_connection(pair: Pair) -> None:
    ours, theirs = pair
    reset(theirs)

    with pytest.raises(DialError) as receiving:
        await raw.receive(ours, 100)
    with pytest.raises(DialError) as sending:
        await raw.send_all(ours, b"x")

    assert receiving.value.kind is DialErrorKind.CONNECTION_LOST
    assert sending.value.kind is DialErrorKind.CONNECTION_LOST


async def test_all_is_sent_to_a_peer_that_reads_slowly(pair: Pair) -> None:
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    data = bytes(range(256)) * 4096
    got = bytearray()

    async def read() -> None:
        while len(got) < len(data):
            got.extend(await raw.receive(theirs, 10_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(raw.send_all, ours, data)
        await wait_all_tasks_blocked()
        nursery.start_soon(read)

    assert got == data


class Scripted(socket.socket):
    """A TCP socket whose calls raise what TLS would, then work."""

    def __init__(self, sock: socket.socket, *errors: OSError) -> None:
        super().__init__(fileno=sock.detach())
        self.errors = list(errors)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if self.errors:
            raise self.errors.pop(0)
        return super().recv(bufsize, flags)

    def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]  # less is accepted here
        if self.errors:
            raise self.errors.pop(0)
        return super().send(data, flags)


async def test_tls_may_want_to_send_first_when_receiving(pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    with Scripted(ours, ssl.SSLWantWriteError()) as sock:
        assert await raw.receive(sock, 10) == b"x"


async def test_what_the_kernel_takes_at_once_is_told(pair: Pair) -> None:
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    data = bytes(1 << 20)

    taken = [raw.send_now(ours, data)]
    while taken[-1]:
        taken.append(raw.send_now(ours, data))
    assert len(await raw.receive(theirs, 1)) == 1
    assert len(taken) > 1
    reset(theirs)
    with pytest.raises(DialError) as sending:
        raw.send_now(ours, b"x")
    assert sending.value.kind is DialErrorKind.CONNECTION_LOST


@pytest.mark.parametrize("error", [ssl.SSLWantReadError(), ssl.SSLWantWriteError()])
async def test_tls_that_wants_something_first_takes_nothing_at_once(
    pair: Pair, error: OSError
) -> None:
    ours, theirs = pair
    with Scripted(ours, error) as sock:
        assert raw.send_now(sock, b"y") == 0
        assert raw.send_now(sock, b"y") == 1

    assert theirs.recv(10) == b"y"


async def test_tls_may_want_to_receive_first_when_sending(pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    with Scripted(ours, ssl.SSLWantReadError(), ssl.SSLWantWriteError()) as sock:
        await raw.send_all(sock, b"y")

    assert theirs.recv(10) == b"y"


async def test_what_openssl_says_becomes_one_sentence(pair: Pair) -> None:
    ours, _ = pair
    bad_record = ssl.SSLError(1, "the long form")
    bad_record.reason = "BAD_RECORD"

    with Scripted(ours, bad_record, bad_record) as sock:
        with pytest.raises(DialError, match=r"^TLS failed: BAD_RECORD$"):
            await raw.receive(sock, 1)
        with pytest.raises(DialError, match=r"^TLS failed: BAD_RECORD$"):
            await raw.send_all(sock, b"x")


async def test_the_rest_of_a_fast_peer_is_dropped_while_others_run() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        far.send(bytes(100_000))
        far.shutdown(socket.SHUT_WR)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await raw.drop_rest(near)
            nursery.cancel_scope.cancel()

    assert turns >= 3, "others run between receives"


async def test_a_peer_that_never_ends_is_left_after_a_while() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:

        async def send_for_ever() -> None:
            while True:
                await trio.lowlevel.wait_writable(far)
                far.send(bytes(65536))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_for_ever)
            with trio.fail_after(5.0):
                await raw.drop_rest(near)
            nursery.cancel_scope.cancel()
