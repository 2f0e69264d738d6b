"""Sockets whose use is over: a Close is said, and its answer waited for, by nobody who has work."""

from __future__ import annotations

from typing import Final

import trio

from relayd.protocol.flow import Standing
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

PARTING_S: Final = 1.0
"""How long a peer that was told goodbye may take to end its side."""

PARTING_MAX: Final = 256
"""Sockets that may do so at once; beyond, they are closed without waiting."""


class Partings:
    """See the module's text.

    Args:
        reactor: Serves the sockets.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._nursery: trio.Nursery | None = None
        self._parting = 0

    def __len__(self) -> int:
        """How many sockets have been told goodbye and are open yet."""
        return self._parting

    async def run(self) -> None:
        """Wait for the answers until cancelled; then what is left is closed at once."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def part(self, endpoint: Endpoint, code: int, now: float) -> None:
        """Say Close behind what was sent to an adopted socket, and close it when it is answered.

        What still comes is thrown away: closed with bytes unread, a socket resets its connection,
        and the peer may miss the Close. Nothing is waited for here. The socket is not the caller's
        any more.

        Args:
            endpoint: Adopted; at a message boundary, as far as relayd has written.
            code: Of the Close.
            now: Seconds.
        """
        endpoint.on_event = None
        if self._nursery is None or self._parting >= PARTING_MAX or endpoint.ended:
            self._cut(endpoint, code, now)
            return
        self._parting += 1
        self._reactor.finish(endpoint, code, "", now)
        self._nursery.start_soon(self._await_end, endpoint)

    async def _await_end(self, endpoint: Endpoint) -> None:
        try:
            with trio.move_on_after(PARTING_S):
                await endpoint.next_event()  # the end of its bytes, or that it broke
        finally:
            self._parting -= 1
            self._cut(endpoint, 1000, trio.current_time())

    def _cut(self, endpoint: Endpoint, code: int, now: float) -> None:
        self._reactor.release(endpoint)
        if endpoint.sink.close(code, "", now):
            endpoint.half_close()
        inside = endpoint.sink.blocked or endpoint.sink.standing is Standing.FRAME
        endpoint.close(abort=inside)
