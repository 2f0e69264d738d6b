"""Where received bytes go: into the sink of the other side, which may stop their source.

A source is stopped while the sink it writes to takes no more, while another source of that sink is
inside a message, and by an event. What a flow has sent on is delivered before its event is.
"""

from __future__ import annotations

from collections.abc import Callable

from relayd.core.endings import Reason
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.flow import Flow, Standing
from relayd.protocol.outcomes import Event, Notice, Taken, Violation, Waiting
from relayd.transport.endpoint import Endpoint
from relayd.transport.pace import Pace
from relayd.transport.sources import Sources
from relayd.transport.table import Table


class Delivery:
    """The sending half of one reactor.

    Args:
        table: Told what an endpoint waits for.
        pace: Told when a task is woken.
        arm: Lets the reactor receive from an endpoint again.
    """

    def __init__(self, table: Table, pace: Pace, arm: Callable[[Endpoint, float], None]) -> None:
        self._table = table
        self._pace = pace
        self._arm = arm

    # -- several sources of one sink

    def attach(self, source: Endpoint, client: Endpoint) -> None:
        """See :meth:`Reactor.attach <relayd.transport.reactor.Reactor.attach>`."""
        flow = source.flow
        assert isinstance(flow, EventFlow), "only events of several upstreams can be told apart"
        assert flow.between_messages, "the client would get the end of a message"
        assert source.peer is None, "a source sends to one client"
        assert client.peer is None, "a client has several sources or one pair's"
        if client.sources is None:
            client.sources = Sources()
        source.peer = client
        client.sources.add(source)
        if source.armed and client.sources.keeps_waiting(source):
            source.armed = False
            self._table.update(source)

    def detach(self, source: Endpoint, now: float) -> bool:
        """See :meth:`Reactor.detach <relayd.transport.reactor.Reactor.detach>`."""
        client, sources = source.peer, source.siblings
        if client is None or sources is None:
            return False
        sink = client.sink
        source.peer = None
        sources.remove(source)
        if sources.holder is None and sink.standing is not Standing.BOUNDARY and not sink.broken:
            sources.torn = True
        self._start_waiting(sources, now)
        self._give_deferred(source)
        return sources.torn

    def dismiss(self, client: Endpoint) -> None:
        """Detach all sources of ``client``, which takes nothing more."""
        if client.sources is None:
            return
        sources, client.sources = client.sources, None
        for source in sources.dismiss():
            self._give_deferred(source)

    def _give_deferred(self, source: Endpoint) -> None:
        """There is no flush to wait for any more."""
        if source.deferred and source.flow is not None and source.flow.event is not None:
            source.deferred = False
            self.wake(source, source.flow.event)

    def _start_waiting(self, sources: Sources, now: float) -> None:
        while (source := sources.next_in_turn()) is not None:
            self._arm(source, now)

    def _share(
        self, client: Endpoint, sources: Sources, source: Endpoint, now: float, *, flowing: bool
    ) -> None:
        """``source`` has written: note what it waits for, and whose turn it is now."""
        flow = source.flow
        if source.peer is not client or flow is None:
            return  # its event's owner has taken it away already
        if not flowing:
            sources.block(source)
        if flow.standing is not Standing.BOUNDARY:
            for other in sources.lock(source):
                self._table.update(other)
        elif sources.holder is source:
            sources.holder = None
            self._start_waiting(sources, now)

    # -- what a feed put out

    def keep_tail(self, endpoint: Endpoint, flow: Flow, tail: bytes) -> None:
        """Keep what was not consumed; without room for it the flow ends as ``overload``."""
        if endpoint.keep_tail(tail) is not None:
            _overload(flow)

    def deliver(self, source: Endpoint, flow: Flow, now: float) -> bool:
        """Send on what a feed put out; stop the source where it must wait. True: it may go on."""
        peer = source.peer
        if peer is None:
            assert not flow.out or isinstance(flow, EventFlow), "a flow without a sink"
            flow.out.clear()
            flowing = True
        elif flow.out:
            flowing = peer.sink.write(flow.out, flow.standing, now, flow.joint)
        else:
            flowing = peer.sink.settle(flow.standing, now)
        if flow.pings:
            source.sink.pong(flow.pings, now)
            flow.pings.clear()
        if flow.answers:
            self._answer(source, flow, now)
        if not flowing:
            assert peer is not None, "nobody is full"
            self._blocked(peer, flow)
        if source.sink.blocked:
            self._blocked(source, flow)
        event = flow.event
        if event is not None:
            source.armed = False
            # It is due behind what was sent on, unless relayd may not keep that any longer.
            source.deferred = not flowing and peer is not None and not peer.sink.over_budget
            if not source.deferred:
                self.wake(source, event)
        elif not flowing:
            source.armed = False
            self._table.update(source)
        if peer is not None and peer.sources is not None:
            self._share(peer, peer.sources, source, now, flowing=flowing)
        return flowing and event is None

    def _answer(self, source: Endpoint, flow: Flow, now: float) -> None:
        for text in flow.answers:
            if not source.sink.note(text, now) and flow.event is None:
                flow.event = Violation(Reason.POLICY, "refused messages are sent faster than read")
        flow.answers.clear()

    def _blocked(self, endpoint: Endpoint, flow: Flow) -> None:
        """``endpoint`` takes no more bytes for now."""
        if endpoint.sink.over_budget:
            _overload(flow)
        self._table.update(endpoint)
        if endpoint.on_blocked is not None:
            endpoint.on_blocked(endpoint)

    def drained(self, endpoint: Endpoint, now: float) -> None:
        """``endpoint`` took everything: what it stopped goes on, or has its event now."""
        if endpoint.sink.closing:
            endpoint.half_close()
        if endpoint.on_drained is not None:
            endpoint.on_drained(endpoint)
        source = endpoint.peer
        if endpoint.sources is not None:
            for one in endpoint.sources.take_blocked():
                self._go_on(one, endpoint, now)
        elif source is not None:
            self._go_on(source, endpoint, now)

    def _go_on(self, source: Endpoint, endpoint: Endpoint, now: float) -> None:
        if source.peer is not endpoint:  # a pooled upstream's client does not write to it
            return
        if source.flow is None or source.armed or source.ended:
            return
        event = source.flow.event
        if event is None:
            self._arm(source, now)
        elif source.deferred:
            source.deferred = False
            self.wake(source, event)

    def wake(self, endpoint: Endpoint, event: Event) -> None:
        """Hand ``event`` to the task of ``endpoint``."""
        self._pace.woke()
        endpoint.wake(event)


def _overload(flow: Flow) -> None:
    """End ``flow`` for what cannot be kept, unless it has come to another end already."""
    if flow.event is None or isinstance(flow.event, Notice | Waiting | Taken):
        flow.event = Violation.overload()
