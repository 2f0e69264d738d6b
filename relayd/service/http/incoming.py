"""The receiving side of one HTTP connection: at most one receive is held, and leaving is noticed.

While a request is served, one task keeps receiving, so that a client that leaves is noticed at
once. What it has received and nobody has taken waits here, and while it waits nothing more is
received: that is the backpressure of a body, and the bound on what a client can send too early.
"""

from __future__ import annotations

import select
import socket
from typing import Final

import attrs
import trio

from relayd.transport import raw
from relayd.transport.errors import DialError

RECEIVE_BYTES: Final = 16384

PROBE_S: Final = 0.5
"""How often the kernel is asked for a hang-up that is hidden behind bytes not taken yet."""


@attrs.define(eq=False)
class Incoming:
    """Receives for one task at a time.

    Attributes:
        sock: Connected and non-blocking, plain or TLS; the caller closes it.
        held: Received and not yet taken.
    """

    sock: socket.socket
    held: bytes
    _arrived: trio.Event = attrs.field(factory=trio.Event, init=False)
    _taken: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def receive(self) -> bytes:
        """The next bytes while :meth:`watch` does not run; empty where the client has left.

        Cancelling it loses no byte.
        """
        if self.held:
            return self._take()
        try:
            return await raw.receive(self.sock, RECEIVE_BYTES)
        except DialError:
            return b""

    async def watch(self) -> None:
        """Keep one receive held until the client has left; then return.

        The end of the stream counts as leaving, a half-close too: a client that still wants its
        response keeps both directions open. What is still to be taken when it leaves is void.
        Cancelling it loses no byte.
        """
        while True:
            if self.held:
                with trio.move_on_after(PROBE_S):
                    await self._taken.wait()
                if self.held and self._hung_up():
                    return
                continue
            try:
                self.put_back(await raw.receive(self.sock, RECEIVE_BYTES))
            except DialError:
                return
            except trio.BusyResourceError:
                return  # see Outgoing: OpenSSL wants to write where the response already waits
            if not self.held:
                return
            self._arrived.set()

    async def take(self) -> bytes:
        """The next bytes while :meth:`watch` runs. Cancelling it loses no byte.

        It waits for ever once the client has left; whoever watches then cancels it.
        """
        while not self.held:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._take()

    def take_now(self) -> bytes:
        """What has come and was not taken; empty for nothing yet, or where the client has left.

        It may be called while :meth:`watch` runs, which hears of the leaving by itself.
        """
        if self.held:
            return self._take()
        try:
            return self.sock.recv(RECEIVE_BYTES)
        except OSError:
            return b""  # nothing yet, TLS's kinds of it included, or the connection is lost

    def put_back(self, data: bytes) -> None:
        """Hold ``data`` again, the unused rest of what was taken last."""
        assert not self.held, "more was received before the rest was put back"
        self.held = data
        self._taken = trio.Event()

    def _take(self) -> bytes:
        data, self.held = self.held, b""
        self._taken.set()
        return data

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self.sock, select.POLLRDHUP)
        return bool(poll.poll(0))
