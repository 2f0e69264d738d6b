"""One relayed socket: what is received from it, what is sent to it, and the task it wakes.

An endpoint is data and small moves; the :class:`~relayd.transport.reactor.Reactor` does the
receiving. Its reading side is *armed* while the reactor may receive from it. It is disarmed while
its peer's sink is blocked, and from an event until the task that owns the direction arms it
again, so that nothing overtakes a decision.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.protocol.directions import ClientFlow
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.flow import Flow
from relayd.protocol.outcomes import EndOfStream, Event, Taken, Violation
from relayd.transport.sink import Sink

if TYPE_CHECKING:
    from relayd.transport.sources import Sources

_RESET: Final = struct.pack("ii", 1, 0)


class Endpoint:
    """A connected, non-blocking socket on the byte path.

    Args:
        sock: Owned from here on: the owner closes it with :meth:`close` after the reactor has
            released it.
        side: Which peer this is; decides whether frames to it are masked.
        hold: The process's count of held bytes.
        now: The time of adoption.

    Attributes:
        flow: Reads this peer's bytes. ``None``: they are thrown away (before the 101, and after
            the end), and only their end matters.
        peer: The endpoint that this one's bytes go to. ``None`` with a flow: all that is read stays
            with its reader.
        sources: The pooled upstreams whose bytes come to this client; ``None`` where there are
            none. With them ``peer`` is ``None``.
        tail: Bytes received and not consumed: an unfinished frame, or what waits behind an event.
        armed: Whether the reactor may receive.
        ended: The peer's bytes have ended, or its connection is lost.
        last_received: When bytes last came.
        armed_since: Since when the reactor may receive; silence counts from here at the earliest.
        discarded: Bytes thrown away.
        deferred: The flow's event waits until what it sent on is flushed.
        on_event: Called instead of waking a task, while set.
        on_blocked: Called when this endpoint's sink blocks.
        on_drained: Called, within the pass, when a sink that was blocked has sent everything.
    """

    __slots__ = (
        "_event",
        "_hold",
        "_task",
        "armed",
        "armed_since",
        "deferred",
        "discarded",
        "ended",
        "fd",
        "flow",
        "interest",
        "last_received",
        "on_blocked",
        "on_drained",
        "on_event",
        "peer",
        "side",
        "sink",
        "sock",
        "sources",
        "tail",
        "tls",
    )

    def __init__(self, sock: socket.socket, side: Side, hold: HoldBudget, now: float) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.tls = isinstance(sock, ssl.SSLSocket)
        self.side = side
        self.sink = Sink(sock, masked=side is Side.UPSTREAM, hold=hold, now=now)
        self.flow: Flow | None = None
        self.peer: Endpoint | None = None
        self.sources: Sources | None = None
        self.tail: bytes | None = None
        self.armed = False
        self.ended = False
        self.interest = 0
        self.last_received = now
        self.armed_since = now
        self.discarded = 0
        self.deferred = False
        self.on_event: Callable[[Event], None] | None = None
        self.on_blocked: Callable[[Endpoint], None] | None = None
        self.on_drained: Callable[[Endpoint], None] | None = None
        self._hold = hold
        self._event: Event | None = None
        self._task: trio.lowlevel.Task | None = None

    def __repr__(self) -> str:
        state = "ended" if self.ended else "armed" if self.armed else "stopped"
        return f"<Endpoint {self.side} fd={self.fd} {state}>"

    @property
    def siblings(self) -> Sources | None:
        """The sources of this one's client, it among them; ``None`` for one of a pair."""
        return None if self.peer is None else self.peer.sources

    # -- waking

    async def next_event(self) -> Event:
        """Wait until this direction needs its task.

        The payload of a :class:`Taken` is the caller's from then on, to give back to the budget.

        Cancelling it loses nothing: an event that comes later waits for the next call.
        """
        if self._event is None:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abandon)
        else:
            await trio.lowlevel.checkpoint()
        event, self._event = self._event, None
        assert event is not None, "woken without an event"
        self._hand_over(event)
        return event

    def wake(self, event: Event) -> None:
        """Hand ``event`` to the task of this direction; the first one waits, later ones are lost.

        They may be: after an event the direction is disarmed until its task has dealt with it;
        that the connection breaks meanwhile is found when it is armed again.
        """
        if self._event is not None:
            return
        if self.on_event is not None:
            self._hand_over(event)
            self.on_event(event)
            return
        self._event = event
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _hand_over(self, event: Event) -> None:
        if isinstance(event, Taken) and isinstance(self.flow, ClientFlow):
            self.flow.hand_over(event)

    def _abandon(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    # -- receiving

    def keep_tail(self, tail: bytes | None) -> Violation | None:
        """Keep what was not consumed, counted; the violation where the process holds too much."""
        if self.tail is not None:
            self._hold.give(len(self.tail))
        self.tail = tail or None
        if self.tail is None or self._hold.take(len(self.tail)):
            return None
        self.tail = None
        return Violation.overload()

    def end_of_stream(self, error: str | None = None) -> EndOfStream:
        """The event for the end of this peer's bytes, given where they stopped."""
        inside = self.flow is not None and self.flow.inside
        return EndOfStream(mid_frame=self.tail is not None or inside, error=error)

    # -- the end

    def close_flow(self) -> None:
        """Give back what the flow holds, and with it a message that no task has been given."""
        if self.flow is not None:
            self.flow.close()
        if isinstance(self._event, Taken):
            self._event = None

    def half_close(self) -> None:
        """Tell the peer that nothing follows: TLS close_notify once, then FIN. Errors are moot."""
        if isinstance(self.sock, ssl.SSLSocket):
            try:
                self.sock.unwrap()
            except (OSError, ValueError):
                pass  # the peer's own notify is never waited for, and its absence means nothing
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the connection is lost already, which is what is being prepared for

    def close(self, *, abort: bool = False) -> None:
        """Close the socket and give back all that is held for it.

        Args:
            abort: Reset the connection, so that the peer cannot take what it has for a whole.
        """
        self.sink.discard()
        self.keep_tail(None)
        self.close_flow()
        if abort:
            try:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                pass  # not connected any more: there is nothing to reset
        self.sock.close()
        if self.siblings is not None:
            self.siblings.remove(self)
        if self.sources is not None:
            self.sources.dismiss()
        self.peer = self.sources = None
        self.on_event = self.on_blocked = self.on_drained = None


def clean(endpoint: Endpoint) -> bool:
    """Whether a pooled upstream could serve somebody else: nothing of the last one is left in it.

    Its stream is at a message boundary and its sink at rest, nothing was received that was not
    consumed, it has not ended, and its flow has no event: it has been armed again behind the last.
    What the kernel has received by now is another question
    (:meth:`Reactor.look <relayd.transport.reactor.Reactor.look>`).
    """
    flow = endpoint.flow
    return (
        isinstance(flow, EventFlow)
        and flow.event is None
        and flow.between_messages
        and endpoint.tail is None
        and not endpoint.ended
        and endpoint.sink.at_rest
    )
