"""What a client that has stopped is still given, before it is cut.

What the kernel keeps for it, and what the sink does, is what it was sent: it is read when the
client goes on, and behind it the Close that says why. A reset would throw that away on both sides.
So relayd waits, for a while and with little in its hands, and the kernel is told to keep little:
the more it takes, the later it is seen that a client takes nothing, and the less of what comes
then is remembered by the topics when the client has come back.
"""

from __future__ import annotations

import socket
from typing import Final

import attrs
import trio

from relayd.session.closing import CLOSE_GRACE_S
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

GOODBYE_S: Final = 10.0
"""How long a client that has stopped gets for what it was sent, and its Close, altogether."""

KEPT_MAX_BYTES: Final = 65_536
"""No more is kept for it meanwhile; where more is, it gets no longer than any other client."""

SEND_BUFFER_BYTES: Final = 65_536
"""Of a client's socket; the kernel doubles it for its own needs (socket(7)). With what the kernel
at the other end takes, 200 to 300 KB were measured on the way to a client that has stopped: 12 s of
50 events a second with 300 bytes each, where a topic remembers 20 s. Without a bound it takes up to
4 MiB here alone, four times what a topic remembers."""


def bound_send_buffer(client: Endpoint) -> None:
    """Let the kernel take no more than :data:`SEND_BUFFER_BYTES` for it."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


@attrs.define(eq=False)
class Patience:
    """With one client; once."""

    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def lose(self) -> None:
        """Wait no longer, now or later. Calling it again does nothing."""
        self._scope.cancel(reason="nobody waits for it any more")

    async def last(self, reactor: Reactor, client: Endpoint, kept_bytes: int) -> None:
        """Wait until ``client`` has taken what is pending in its sink, or is gone.

        At most :data:`GOODBYE_S`, less the time that every client gets for its Close afterwards.
        What it sends meanwhile is thrown away.

        Args:
            reactor: ``client`` is adopted by it, and stays so.
            client: It is read by nobody any more, and written to by nobody.
            kept_bytes: At least what is pending.

        Cancelling it ends the wait.
        """
        if not client.sink.blocked or kept_bytes > KEPT_MAX_BYTES:
            return
        client.close_flow()
        client.keep_tail(None)
        client.flow, client.on_drained = None, self._taken
        now = trio.current_time()
        reactor.arm(client, now)
        self._scope.deadline = now + GOODBYE_S - CLOSE_GRACE_S
        with self._scope:
            while client.armed:
                await client.next_event()
        client.on_drained = None

    def _taken(self, _: Endpoint) -> None:
        self.lose()
