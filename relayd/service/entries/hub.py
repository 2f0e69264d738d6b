"""Into a session of the event hub, which has no upstream."""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal
from relayd.protocol.upgrade import UpgradeRequest, response_101
from relayd.service.entrance import DRAINING
from relayd.service.entries.entry import House
from relayd.service.visit import Refused, Visit
from relayd.session.admission import Grant, RefusedAdmission
from relayd.session.hub.admission import HubGrant, admit
from relayd.session.hub.desk import HubDesk
from relayd.session.hub.session import HubSession, make_session
from relayd.transport.endpoint import Endpoint


@attrs.frozen
class HubEntry:
    """Of the event hub.

    Attributes:
        desk: What its sessions share.
    """

    desk: HubDesk

    def admit(
        self,
        request: UpgradeRequest,
        client_address: str,
        snapshot: Snapshot,
        now: float,
        wall: float,
    ) -> HubOpening | RefusedAdmission:
        """See :class:`~relayd.service.entries.entry.Entry`."""
        granted = admit(request, client_address, snapshot, now, wall)
        if isinstance(granted, RefusedAdmission):
            return granted
        return HubOpening(self.desk, granted, request, snapshot)


@attrs.frozen
class HubOpening:
    """One upgrade that was admitted."""

    desk: HubDesk
    granted: HubGrant
    request: UpgradeRequest
    snapshot: Snapshot

    @property
    def grant(self) -> Grant:
        """See :class:`~relayd.service.entries.entry.Admitted`."""
        return self.granted.grant

    async def open(self, visit: Visit, client: Endpoint, house: House) -> HubSession:
        """See :class:`~relayd.service.entries.entry.Admitted`."""
        is_stranger = self.granted.identity is None
        entry = await self.desk.enter(self.grant, is_stranger=is_stranger)
        if isinstance(entry, Refusal):
            raise Refused(entry)
        visit.holdings.append(entry.leave)
        if house.draining:  # it began while the quota was asked
            raise Refused(DRAINING)
        visit.settled = True
        client.sink.preface(response_101(self.request.key, self.granted.subprotocol))
        return make_session(
            self.desk,
            self.granted,
            self.snapshot,
            client,
            entry,
            session_id=visit.session_id,
            accepted_at=visit.accepted_at,
            now=trio.current_time(),
        )
