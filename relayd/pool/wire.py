"""Where the pool meets the byte path: all that it does with a socket, and nothing that it decides.

A pooled socket stays adopted for as long as it lives. While nobody uses it, it is armed and its
reader is the idle policy; its owner puts another reader in the place of that, and the pool puts
the policy back. Both are assignments at a message boundary, without an await.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import trio

from relayd.core.hold import HoldBudget
from relayd.pool.idle import IDLE
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.flow import Standing
from relayd.protocol.outcomes import Event, Notice
from relayd.transport.endpoint import Endpoint, clean
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.reactor import Reactor

LOOKS_MAX: Final = 4
"""Receives by hand until one would block. Who has more to say than that is not unused."""

_PING: Final = b"relayd"
_FIRST_LOOK_S: Final = 0.001
_LATER_LOOKS: Final = 1.5
_LOOK_EVERY_MAX_S: Final = 0.05

Noticed = Callable[[Event], None]
"""Called in the reactor's pass, once: it closes nothing, waits for nothing and writes no log."""


class Wire(Protocol):
    """What a pool does with sockets. Nothing raises for what a peer did."""

    def adopt(self, endpoint: Endpoint) -> None:
        """Take a new socket onto the byte path, disarmed: its owner puts a reader in and arms it.

        Raises:
            DialError: The kernel watches no more descriptors; nothing has changed.
        """

    def keep(self, endpoint: Endpoint, noticed: Noticed, now: float) -> bool:
        """Put the idle policy on a socket that its owner is done with.

        Returns:
            Whether it is clean: at rest, and a receive would block. If not it is to be cut.
        """

    def lend(self, endpoint: Endpoint, now: float) -> bool:
        """Take the watch off a kept socket; events go to whoever waits for them from now on.

        Returns:
            Whether it is clean to this moment. If not it is to be cut.
        """

    def heard_at(self, endpoint: Endpoint) -> float:
        """When a byte last came."""

    def ping(self, endpoint: Endpoint, now: float) -> None:
        """Send a ping on a kept socket. Its pong is swallowed, whoever has the socket by then."""

    async def answered(self, endpoint: Endpoint, since: float) -> None:
        """Wait until a byte has come since then. Cancelling it changes nothing."""

    def part(self, endpoint: Endpoint, noticed: Noticed, now: float) -> None:
        """Say goodbye to a kept socket: a Close of 1000, then FIN. It is to be cut when it has
        answered, which is noticed, or later."""

    def cut(self, endpoint: Endpoint, now: float) -> None:
        """Close a socket at once, whatever it is in the middle of. A client it sends to loses it
        as a source."""


class ReactorWire:
    """The real one.

    Args:
        reactor: Serves the sockets.
        hold: The process's count of held bytes.
        message_max_bytes: Of one message of an upstream.
    """

    def __init__(self, reactor: Reactor, hold: HoldBudget, message_max_bytes: int) -> None:
        self._reactor = reactor
        self._hold = hold
        self._message_max_bytes = message_max_bytes

    def adopt(self, endpoint: Endpoint) -> None:
        """See :class:`Wire`."""
        endpoint.flow = EventFlow(
            message_max_bytes=self._message_max_bytes, hold=self._hold, reader=IDLE
        )
        try:
            self._reactor.adopt(endpoint)
        except OSError as error:
            raise DialError(
                DialErrorKind.RESOURCES_EXHAUSTED,
                f"this process cannot watch another socket: {error.strerror}; the limit is"
                " fs.epoll.max_user_watches",
            ) from None

    def keep(self, endpoint: Endpoint, noticed: Noticed, now: float) -> bool:
        """See :class:`Wire`."""
        flow = endpoint.flow
        if not isinstance(flow, EventFlow) or not flow.between_messages or endpoint.ended:
            return False
        if not (flow.event is None or isinstance(flow.event, Notice)):
            return False
        if endpoint.peer is not None:
            self._reactor.detach(endpoint, now)
        flow.reader, flow.splice = IDLE, b""
        endpoint.on_event = noticed
        self._reactor.arm(endpoint, now)
        return self._is_clean(endpoint, now)

    def lend(self, endpoint: Endpoint, now: float) -> bool:
        """See :class:`Wire`."""
        if not self._is_clean(endpoint, now):
            return False
        endpoint.on_event = None
        return True

    def heard_at(self, endpoint: Endpoint) -> float:
        """See :class:`Wire`."""
        return endpoint.last_received

    def ping(self, endpoint: Endpoint, now: float) -> None:
        """See :class:`Wire`."""
        endpoint.sink.ping(_PING, now)
        if endpoint.sink.blocked:
            self._reactor.update(endpoint)

    async def answered(self, endpoint: Endpoint, since: float) -> None:
        """See :class:`Wire`.

        The pass tells nobody of a pong. So it is looked for, at growing distances: late by half of
        the time that the answer took.
        """
        pause_s = _FIRST_LOOK_S
        while endpoint.last_received < since:
            await trio.sleep(pause_s)
            pause_s = min(pause_s * _LATER_LOOKS, _LOOK_EVERY_MAX_S)

    def part(self, endpoint: Endpoint, noticed: Noticed, now: float) -> None:
        """See :class:`Wire`."""
        endpoint.on_event = noticed
        self._reactor.finish(endpoint, 1000, "", now)

    def cut(self, endpoint: Endpoint, now: float) -> None:
        """See :class:`Wire`."""
        endpoint.on_event = None
        self._reactor.release(endpoint)
        if endpoint.sink.close(1001, "", now):
            endpoint.half_close()
        inside = endpoint.sink.blocked or endpoint.sink.standing is Standing.FRAME
        endpoint.close(abort=inside)

    def _is_clean(self, endpoint: Endpoint, now: float) -> bool:
        for _ in range(LOOKS_MAX):
            if not clean(endpoint) or not endpoint.armed:
                return False
            if not self._reactor.look(endpoint, now):
                return clean(endpoint)
        return False
