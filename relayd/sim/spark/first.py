"""Which of the two APIs a connection is for: told by its first byte, which is not lost by it."""

from __future__ import annotations

import socket
from typing import Final, Generic, TypeVar

import attrs
import trio

FIRST_BYTE_S: Final = 10.0

_POST: Final = b"P"

S = TypeVar("S", bound=trio.abc.Stream)


@attrs.define(eq=False)
class Reread(trio.abc.Stream, Generic[S]):
    """A stream whose first bytes were read already and are given once more."""

    stream: S
    head: bytes

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The head, then what ``stream`` gives."""
        if not self.head:
            return await self.stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        head = self.head[:max_bytes]
        self.head = self.head[len(head) :]
        return head

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """To ``stream``."""
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Of ``stream``."""
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close ``stream``."""
        await self.stream.aclose()


@attrs.define(eq=False)
class HalfCloseableReread(Reread[trio.abc.HalfCloseableStream], trio.abc.HalfCloseableStream):
    """The same of a stream that can be closed by half, which TLS cannot."""

    async def send_eof(self) -> None:
        """To ``stream``."""
        await self.stream.send_eof()


async def begins_with_post(stream: trio.abc.Stream) -> tuple[bool, trio.abc.Stream]:
    """Whether an HTTP request comes, and no upgrade.

    Returns:
        That, and the stream to read from in place of ``stream``. A TCP stream stays what it is:
        only there can a connection be reset. One that is lost, ends or says nothing for
        ``FIRST_BYTE_S`` seconds counts as an upgrade, whose reader finds the same.
    """
    head = b""
    with trio.move_on_after(FIRST_BYTE_S):
        try:
            if isinstance(stream, trio.SocketStream):
                return await stream.socket.recv(1, socket.MSG_PEEK) == _POST, stream
            head = bytes(await stream.receive_some(1))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return False, stream
    if not head:
        return False, stream
    if isinstance(stream, trio.abc.HalfCloseableStream):
        return head == _POST, HalfCloseableReread(stream, head)
    return head == _POST, Reread(stream, head)
