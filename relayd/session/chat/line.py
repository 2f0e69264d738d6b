"""One socket of one request: frames go out, frames come in, several of them for each waking.

The socket stays on the byte path. Its reader keeps each frame and wakes the request's task with the
first one; what else comes in the same pass is there when that runs. When as much waits as may, the
flow stops until it has been taken: a slow client slows its upstream down.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.outcomes import Event, Notice, Violation
from relayd.transport.endpoint import Endpoint
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.reactor import Reactor

FRAME_MAX_BYTES: Final = 1 << 20
"""Of one frame of an upstream's. The longest that is known is a tool's arguments."""

FRAMES_MAX: Final = 64
WAITING_MAX_BYTES: Final = 256 << 10
"""What may wait to be taken, beside one more frame; then the upstream waits."""

FULL: Final = Notice("full")


@attrs.define(eq=False)
class Line:
    """An :class:`~relayd.protocol.outcomes.EventReader` that keeps what it reads.

    Attributes:
        endpoint: Its socket, adopted by ``reactor``.
        hold: Where waiting frames are counted.
    """

    endpoint: Endpoint
    reactor: Reactor
    hold: HoldBudget
    proof: bytes = attrs.field(default=b"\x00", init=False)
    _frames: list[bytes] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)
    _end: Event | None = attrs.field(default=None, init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)

    @classmethod
    def over_new(cls, endpoint: Endpoint, reactor: Reactor, hold: HoldBudget) -> Line:
        """Over a socket that is not adopted yet; it is from now on.

        Raises:
            DialError: The kernel watches no more descriptors; the socket is still the caller's.
        """
        line = cls(endpoint, reactor, hold)
        endpoint.flow = EventFlow(message_max_bytes=FRAME_MAX_BYTES, hold=hold, reader=line)
        try:
            reactor.adopt(endpoint)
        except OSError as error:
            message = f"this process cannot watch another socket: {error.strerror}"
            raise DialError(DialErrorKind.RESOURCES_EXHAUSTED, message) from None
        endpoint.on_event = line._noticed
        reactor.arm(endpoint, trio.current_time())
        return line

    @classmethod
    def over_ready(cls, endpoint: Endpoint, reactor: Reactor, hold: HoldBudget) -> Line:
        """Over one that was opened ahead, and has been silent to this moment."""
        line = cls(endpoint, reactor, hold)
        flow = endpoint.flow
        assert isinstance(flow, EventFlow), "a ready socket is read by an event flow"
        flow.reader, endpoint.on_event = line, line._noticed
        return line

    def send(self, frame: bytes) -> bool:
        """Send one text frame. ``False``: relayd cannot hold it, and nothing was sent."""
        sent = self.endpoint.sink.send_message(frame, trio.current_time())
        if self.endpoint.sink.blocked:
            self.reactor.update(self.endpoint)
        return sent

    async def next(self) -> list[bytes] | Event:
        """The frames that have come, in order; when there are no more, how they ended.

        Cancelling it loses none. It is a checkpoint only where it waits.
        """
        while not self._frames and self._end is None:
            self._came = trio.Event()
            await self._came.wait()
        if not self._frames:
            assert self._end is not None, "woken for something"
            return self._end
        frames, self._frames = self._frames, []
        self.hold.give(self._size)
        self._size = 0
        if self._end is FULL:
            self._end = None
            self.reactor.arm(self.endpoint, trio.current_time())
        return frames

    def drop(self) -> None:
        """Nobody takes what waits any more."""
        self._frames.clear()
        self.hold.give(self._size)
        self._size = 0

    # -- in the pass

    def message(self, payload: bytes | bytearray, now: float) -> Notice | Violation | None:
        """See :class:`~relayd.protocol.outcomes.EventReader`."""
        if not self.hold.take(len(payload)):
            return Violation.overload()
        self._size += len(payload)
        self._frames.append(bytes(payload))
        self._came.set()
        self.reactor.woke()
        if len(self._frames) >= FRAMES_MAX or self._size >= WAITING_MAX_BYTES:
            return FULL
        return None

    def harmless(self, head: bytes | bytearray) -> bool:
        """See :class:`~relayd.protocol.outcomes.EventReader`: every frame is wanted."""
        return False

    def oversize(self, head: bytes | bytearray, now: float) -> Violation:
        """See :class:`~relayd.protocol.outcomes.EventReader`."""
        return Violation(Reason.TOO_BIG, "a frame that is longer than any answer's")

    def _noticed(self, event: Event) -> None:
        self._end = event
        self._came.set()
