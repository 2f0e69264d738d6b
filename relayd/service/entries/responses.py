"""Into a session whose turns find their upstreams when they are asked for."""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.protocol.upgrade import UpgradeRequest, response_101
from relayd.service.entrance import DRAINING
from relayd.service.entries.entry import House, check_books, take_quota
from relayd.service.opening import Workshop
from relayd.service.visit import Refused, Visit
from relayd.session.admission import Grant, RefusedAdmission, admit
from relayd.session.dialects import answer_subprotocol
from relayd.session.responses.session import ResponsesSession
from relayd.transport.endpoint import Endpoint


@attrs.frozen
class ResponsesEntry:
    """Of the responses dialect.

    Attributes:
        workshop: Makes the sessions.
    """

    workshop: Workshop

    def admit(
        self,
        request: UpgradeRequest,
        client_address: str,
        snapshot: Snapshot,
        now: float,
        wall: float,
    ) -> ResponsesOpening | RefusedAdmission:
        """See :class:`~relayd.service.entries.entry.Entry`."""
        granted = admit(request, client_address, snapshot, now, wall)
        if isinstance(granted, RefusedAdmission):
            return granted
        return ResponsesOpening(self.workshop, granted, request, snapshot)


@attrs.frozen
class ResponsesOpening:
    """One upgrade that was admitted."""

    workshop: Workshop
    grant: Grant
    request: UpgradeRequest
    snapshot: Snapshot

    async def open(self, visit: Visit, client: Endpoint, house: House) -> ResponsesSession:
        """See :class:`~relayd.service.entries.entry.Admitted`."""
        check_books(house)
        await take_quota(visit, self.grant, house, is_final=False)
        if house.draining:  # it began while the quota was asked
            raise Refused(DRAINING)
        visit.settled = True
        subprotocol = answer_subprotocol(self.grant, None)
        client.sink.preface(response_101(self.request.key, subprotocol))
        return self.workshop.make_responses(
            self.grant,
            self.snapshot,
            client,
            session_id=visit.session_id,
            accepted_at=visit.accepted_at,
            now=trio.current_time(),
        )
