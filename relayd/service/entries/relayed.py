"""Into a session that has one upstream: the client hears 101 only when that is ready."""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal
from relayd.protocol.outcomes import Event
from relayd.protocol.upgrade import UpgradeRequest
from relayd.service.entries.entry import (
    House,
    answer,
    check_books,
    not_waiting,
    take_quota,
)
from relayd.service.opening import Workshop, facts_of
from relayd.service.visit import Refused, Visit
from relayd.session.admission import Grant
from relayd.session.connecting import Connected, Connector
from relayd.session.dialects import answer_subprotocol, wish_of
from relayd.session.session import Session
from relayd.transport.endpoint import Endpoint


@attrs.frozen
class RelayedOpening:
    """One upgrade that was admitted, in the dialects realtime and passthrough.

    Attributes:
        workshop: Makes the session.
        connector: Finds its upstream.
    """

    workshop: Workshop
    connector: Connector
    grant: Grant
    request: UpgradeRequest
    snapshot: Snapshot

    async def open(self, visit: Visit, house: House) -> Session:
        """See :class:`~relayd.service.entries.entry.Opening`."""
        workshop, reactor = self.workshop, self.workshop.reactor
        check_books(house)
        await take_quota(visit, self.grant, house)
        client = house.client(visit)
        connected = await self._connect(visit, client)
        endpoint = connected.endpoint

        def forget() -> None:
            reactor.release(endpoint)
            endpoint.close()

        visit.holdings.append(connected.seat.release)
        visit.holdings.append(forget)
        subprotocol = answer_subprotocol(self.grant, connected.subprotocol)
        answer(visit, client, self.request, subprotocol, house)
        reactor.adopt(endpoint)
        return workshop.make(
            self.grant,
            self.snapshot,
            client,
            connected,
            session_id=visit.session_id,
            accepted_at=visit.accepted_at,
            now=trio.current_time(),
        )

    async def _connect(self, visit: Visit, client: Endpoint) -> Connected:
        """Find an upstream, while the client is watched: it may leave, or not wait."""
        connector, limits = self.connector, self.snapshot.settings.limits
        wish = wish_of(self.grant, connector.roster, self.snapshot.prices)
        if isinstance(wish, Refusal):
            raise Refused(wish)
        events: list[Event] = []
        with trio.CancelScope() as scope:

            def on_event(event: Event) -> None:
                events.append(event)
                scope.cancel(reason="the client did not wait")

            client.on_event = on_event
            self.workshop.reactor.arm(client, trio.current_time())
            connected = await connector.connect(
                wish,
                facts=facts_of(self.grant, visit.session_id, ""),
                deadline=visit.accepted_at + limits.admission_s,
            )
        # It stays armed: the session sets its flow before any other task runs.
        client.on_event = None
        if scope.cancelled_caught:
            raise Refused(not_waiting(events[0]))
        if isinstance(connected, Refusal):
            raise Refused(connected)
        if events:
            connected.endpoint.close()
            connected.seat.release()
            raise Refused(not_waiting(events[0]))
        return connected
