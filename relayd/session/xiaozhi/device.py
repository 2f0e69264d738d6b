"""The device's side of a session: its socket, how its audio goes, and what it is sent."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_flow import DeviceFlow, DeviceReader, Lane, Route
from relayd.dialect.xiaozhi_talk import Conversation
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor


@attrs.define(eq=False, kw_only=True)
class DeviceSide:
    """One per session.

    Attributes:
        endpoint: Of the device, adopted.
        version: The framing that it speaks.
        lane: How its audio goes.
        flow: What reads it.
        on_blocked: Told when what was said to it by hand is not taken.
        said: Texts that it was sent, and their bytes.
    """

    endpoint: Endpoint
    reactor: Reactor
    version: int
    lane: Lane
    flow: DeviceFlow
    on_blocked: Callable[[Endpoint], None]
    said: list[int] = attrs.field(factory=lambda: [0, 0])

    @classmethod
    def of(
        cls,
        endpoint: Endpoint,
        reactor: Reactor,
        conversation: Conversation,
        *,
        version: int,
        message_max_bytes: int,
        hold: HoldBudget,
        on_blocked: Callable[[Endpoint], None],
    ) -> DeviceSide:
        """The side of a device whose session begins."""
        lane = Lane(
            tally=conversation.usage.audio_in,
            source=version,
            target=version,
            buffer=conversation.buffer,
        )
        flow = DeviceFlow(message_max_bytes=message_max_bytes, hold=hold, reader=DeviceReader(lane))
        return cls(
            endpoint=endpoint,
            reactor=reactor,
            version=version,
            lane=lane,
            flow=flow,
            on_blocked=on_blocked,
        )

    @property
    def takes_more(self) -> bool:
        """Whether it takes what it is sent; else whoever could wait does."""
        return not self.endpoint.sink.blocked

    def say(self, text: bytes, now: float) -> bool:
        """Send it a text; ``False``, and nothing was sent, where the process has no room."""
        sink = self.endpoint.sink
        if not sink.send_message(text, now):
            return False
        self.said[0] += 1
        self.said[1] += len(text)
        if sink.blocked:
            self.reactor.update(self.endpoint)
            self.on_blocked(self.endpoint)
        return True

    def hold(self) -> None:
        """Hold its audio for a server that is to come."""
        self.lane.route = Route.HOLD

    def link(self, server: Endpoint, version: int) -> None:
        """Let its audio pass to ``server``, which speaks framing ``version``."""
        self.endpoint.peer = server
        self.lane.target, self.lane.route = version, Route.PASS

    def unlink(self, now: float, *, holds: bool) -> None:
        """Its server is gone, and nothing of the device waits for that any more."""
        endpoint = self.endpoint
        self.lane.route = Route.HOLD if holds else Route.DROP
        if endpoint.peer is None:
            return
        endpoint.peer = None
        event = self.flow.event
        if endpoint.deferred and event is not None:
            endpoint.deferred = False
            endpoint.wake(event)
        elif event is None:
            self.reactor.arm(endpoint, now)


def hear_more(reactor: Reactor, source: Endpoint, now: float) -> None:
    """Receive from ``source`` again, behind a text that its session has dealt with.

    Where the side that it speaks to takes no more for now, it is heard again when that does: no
    peer can make relayd keep texts faster than the other one reads.
    """
    peer, flow = source.peer, source.flow
    if peer is not None and peer.sink.blocked and flow is not None:
        flow.event = None
        source.armed_since = now
        return
    reactor.arm(source, now)
