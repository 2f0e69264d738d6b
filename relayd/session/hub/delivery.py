"""Sending what waits for clients of the hub: one task for all of them.

An event for two thousand clients wakes this one task, not two thousand. It goes from client to
client in the order in which they got something to send, and gives each one write of what waits; one
that has fallen behind gets more at once, so that sending becomes cheaper as there is more of it. A
client whose socket is full is left alone until the socket has taken everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.core.endings import Reason
from relayd.hub.outbox import Outbox
from relayd.protocol.flow import Standing
from relayd.session.verdict import Verdict
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

WRITE_MAX_BYTES: Final = 65_536
"""About what one client is sent at once, and so what is kept for it when its socket is full."""

ROOM_BYTES: Final = 65_536
"""So little waits for a client before it is answered with what may be a megabyte."""

CLIENTS_MAX: Final = 256
ROUND_MAX_S: Final = 0.002
"""After so many clients, or so long, the other tasks run."""

LOOK_EVERY: Final = 16
"""So many clients are sent to between two looks at the clock, which costs a part of a send."""


@attrs.define(eq=False, kw_only=True)
class Outlet:
    """The sending half of one client: from its outbox into its socket.

    Attributes:
        endpoint: Adopted by the reactor, and written to by nobody else.
        outbox: What waits; its ``on_dirty`` is to be :meth:`wake`.
        verdict: Falls where the client is too slow, or what it does not take cannot be kept.
        crashed: Hears of a bug.
        messages: Whole messages that were sent.
        bytes: Their bytes, with the heads of their frames.
        last_bytes: Those of the last write: what a full socket has not taken is part of them.
    """

    delivery: Delivery
    endpoint: Endpoint
    reactor: Reactor
    verdict: Verdict
    crashed: Callable[[Exception], None]
    outbox: Outbox = attrs.field(init=False)
    messages: int = attrs.field(default=0, init=False)
    bytes: int = attrs.field(default=0, init=False)
    last_bytes: int = attrs.field(default=0, init=False)
    is_due: bool = attrs.field(default=False, init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _has_room: trio.Event | None = attrs.field(default=None, init=False)

    @property
    def flow(self) -> Outlet:
        """Itself: it counts as the flow of an upstream would, which a client here has not."""
        return self

    def begin(self) -> None:
        """The 101 has gone out, or stands first in the sink: messages may follow."""
        self._begun = True
        self.endpoint.on_drained = self._drained
        self.wake()

    def wake(self) -> None:
        """Something waits. Short, and safe to be called in the pass and while the hub publishes."""
        if self._begun and not self.is_due:
            self.delivery.add(self)

    def _drained(self, _: Endpoint) -> None:
        if self.outbox.is_dirty:
            self.wake()

    def send(self, now: float) -> None:
        """Send some of what waits, if the socket takes anything. Called by the delivery's task."""
        if self.verdict.reason is not None:
            return  # the goodbye has the sink now, and the outbox may be gone already
        endpoint, outbox = self.endpoint, self.outbox
        sink = endpoint.sink
        if outbox.overflowed:
            self.verdict.end(Reason.CLIENT_SLOW)
            return
        if sink.blocked:
            return
        if self._write(now):
            if outbox.is_dirty:
                self.delivery.add(self)
        elif sink.over_budget:
            self.verdict.end(Reason.OVERLOAD)
        elif endpoint.on_blocked is not None:
            endpoint.on_blocked(endpoint)
        if self._has_room is not None and outbox.size <= ROOM_BYTES:
            self._has_room.set()

    def finish(self, now: float) -> None:
        """Send what fits of what waits, before the Close: the last words may be among it."""
        if self._begun and not self.outbox.overflowed and not self.endpoint.sink.blocked:
            self._write(now)

    def _write(self, now: float) -> bool:
        """One write; ``False`` where the socket has not taken all of it."""
        frames = self.outbox.take(WRITE_MAX_BYTES, now)
        if not frames:
            return True
        self.messages += len(frames)
        self.last_bytes = len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
        self.bytes += self.last_bytes
        if self.endpoint.sink.write([*frames], Standing.BOUNDARY, now):
            return True
        self.reactor.update(self.endpoint)
        return False

    async def room(self) -> None:
        """Wait until little is left of what waits: what is asked for next may be much.

        Afterwards the client may be allowed less than before, so ask for that behind it.

        Cancelling it is fine. A client that takes nothing is cut meanwhile.
        """
        while self.outbox.size > ROOM_BYTES:
            self._has_room = trio.Event()
            await self._has_room.wait()
        self._has_room = None


@attrs.define(eq=False)
class Delivery:
    """One per process. :meth:`run` goes on in a task of its own.

    Attributes:
        crashes: Bugs caught at a single client.
    """

    crashes: int = attrs.field(default=0, init=False)
    _due: deque[Outlet] = attrs.field(factory=deque[Outlet], init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)

    def add(self, outlet: Outlet) -> None:
        """Let ``outlet`` send when its turn comes; it is there once."""
        outlet.is_due = True
        if not self._due:  # otherwise it is set already
            self._came.set()
        self._due.append(outlet)

    async def run(self) -> None:
        """Send until cancelled, which may leave messages in outboxes and cuts none."""
        while True:
            await self._came.wait()
            self._round()
            if not self._due:
                self._came = trio.Event()

    def _round(self) -> None:
        """One go through those that are due, as far as it may take."""
        due, now = self._due, trio.current_time()
        stop = now + ROUND_MAX_S
        for sent in range(min(len(due), CLIENTS_MAX)):
            if sent and not sent % LOOK_EVERY:
                now = trio.current_time()
                if now >= stop:
                    return
            outlet = due.popleft()
            outlet.is_due = False
            try:
                outlet.send(now)
            except Exception as error:  # noqa: BLE001 - the round's one boundary: no client ends another's delivery
                self.crashes += 1
                outlet.crashed(error)
