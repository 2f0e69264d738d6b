"""The sending side of one HTTP connection: in slices, in turn, and not to a peer that is stuck."""

from __future__ import annotations

import enum
import socket
import struct
from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.protocol.http1 import encode_chunk
from relayd.transport import raw
from relayd.transport.errors import DialError

SLICE_BYTES: Final = 4096
"""What is offered to the kernel within one deadline.

The kernel calls a full socket writable when a third of its buffer is free; by default that is more
than this, so that a slice goes out whole whenever the client has taken something at all.
"""

TURN_BYTES: Final = 65536
"""What may be sent before other tasks run."""

_RESET: Final = struct.pack("ii", 1, 0)  # linger for no time: closing resets


class Loss(enum.StrEnum):
    """How a client's connection was lost. The value is the word for logs and metrics."""

    CLIENT_GONE = "client_gone"
    CLIENT_STALLED = "client_stalled"


class ClientLost(Exception):
    """Nothing more can be sent to this client."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.value)
        self.loss = loss


@attrs.define(eq=False)
class Outgoing:
    """Sends whole messages, one after the other; several tasks may send.

    Attributes:
        sock: Connected and non-blocking, plain or TLS; the caller closes it.
        stall_s: A client that takes no byte for this long is lost.
        bytes_out: Handed to the kernel so far.
        loss: How the client was lost, once it was.
    """

    sock: socket.socket
    stall_s: float
    bytes_out: int = attrs.field(default=0, init=False)
    loss: Loss | None = attrs.field(default=None, init=False)
    _sent_at: float = attrs.field(factory=trio.current_time, init=False)
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def send(self, data: bytes, *, before_end: Callable[[], None] | None = None) -> None:
        """Send all of ``data``, and nothing else in between.

        No other task runs between the last byte and the return.

        Args:
            data: Whole messages.
            before_end: Called before the last slice is offered to the kernel.

        Raises:
            ClientLost: It left, or took nothing for ``stall_s``.

        After cancelling it in the middle the connection is of no use.
        """
        async with self._turn:
            await self._send(data, before_end)

    async def keep_alive(self, comment: bytes, every_s: float) -> None:
        """Send ``comment`` as a chunk whenever nothing was sent for ``every_s``. Returns never.

        Raises:
            ClientLost: As :meth:`send`.
        """
        chunk = encode_chunk(comment)
        while True:
            await trio.sleep_until(self._sent_at + every_s)
            async with self._turn:
                # While this task waited for its turn, something was perhaps sent: even the end.
                if trio.current_time() >= self._sent_at + every_s:
                    await self._send(chunk)

    def bound_buffer(self, bytes_max: int) -> None:
        """Let the kernel take no more than this; it doubles it for its own needs (socket(7))."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, bytes_max)

    def reset(self) -> None:
        """Make closing the socket reset the connection: what a stuck client missed is no end."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass  # the connection is gone already

    async def _send(self, data: bytes, before_end: Callable[[], None] | None = None) -> None:
        for at in range(0, len(data), SLICE_BYTES):
            if at and at % TURN_BYTES == 0:
                await trio.lowlevel.checkpoint()
            piece = data[at : at + SLICE_BYTES]
            if before_end is not None and at + SLICE_BYTES >= len(data):
                before_end()
            await self._offer(piece)
            self.bytes_out += len(piece)
            self._sent_at = trio.current_time()

    async def _offer(self, piece: bytes) -> None:
        try:
            taken = raw.send_now(self.sock, piece)
            if taken == len(piece):
                return
            with trio.move_on_after(self.stall_s) as scope:
                await raw.send_all(self.sock, piece[taken:])
            if scope.cancelled_caught:
                raise self._lost(Loss.CLIENT_STALLED)
        except DialError:
            raise self._lost(Loss.CLIENT_GONE) from None
        except trio.BusyResourceError:
            # OpenSSL wants to write in order to read: the client changes its keys, while it does
            # not take what was sent. No client needs to.
            raise self._lost(Loss.CLIENT_GONE) from None

    def _lost(self, loss: Loss) -> ClientLost:
        self.loss = self.loss or loss
        return ClientLost(loss)
