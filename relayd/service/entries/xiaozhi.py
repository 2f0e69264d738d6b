"""Into a session of a device, whose hello comes before any server is dialled."""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.protocol.upgrade import UpgradeRequest, response_101
from relayd.service.entrance import DRAINING
from relayd.service.entries.entry import House, check_books, take_quota
from relayd.service.visit import Refused, Visit
from relayd.session.admission import Grant, RefusedAdmission
from relayd.session.xiaozhi.admission import XiaozhiGrant, admit
from relayd.session.xiaozhi.desk import DeviceDesk
from relayd.session.xiaozhi.making import make_session
from relayd.session.xiaozhi.session import XiaozhiSession
from relayd.transport.endpoint import Endpoint


@attrs.frozen
class XiaozhiEntry:
    """Of the xiaozhi dialect.

    Attributes:
        desk: What its sessions share.
    """

    desk: DeviceDesk

    def admit(
        self,
        request: UpgradeRequest,
        client_address: str,
        snapshot: Snapshot,
        now: float,
        wall: float,
    ) -> XiaozhiOpening | RefusedAdmission:
        """See :class:`~relayd.service.entries.entry.Entry`."""
        granted = admit(request, client_address, snapshot, now, wall)
        if isinstance(granted, RefusedAdmission):
            return granted
        return XiaozhiOpening(self.desk, granted, request, snapshot)


@attrs.frozen
class XiaozhiOpening:
    """One upgrade that was admitted."""

    desk: DeviceDesk
    granted: XiaozhiGrant
    request: UpgradeRequest
    snapshot: Snapshot

    @property
    def grant(self) -> Grant:
        """See :class:`~relayd.service.entries.entry.Admitted`."""
        return self.granted.grant

    async def open(self, visit: Visit, client: Endpoint, house: House) -> XiaozhiSession:
        """See :class:`~relayd.service.entries.entry.Admitted`."""
        check_books(house)
        await self._check_allowance()
        # Taken before the quota, so that it is given back behind that.
        visit.holdings.append(await self.desk.make_way(self.granted))
        await take_quota(visit, self.grant, house)
        if house.draining:  # it began while the quota was asked
            raise Refused(DRAINING)
        visit.settled = True
        client.sink.preface(response_101(self.request.key, self.granted.subprotocol))
        return make_session(
            self.desk,
            self.granted,
            self.snapshot,
            client,
            session_id=visit.session_id,
            accepted_at=visit.accepted_at,
            now=trio.current_time(),
        )

    async def _check_allowance(self) -> None:
        """Raise :class:`Refused` where the device has used what it may, or too fast."""
        refusal = await self.desk.allowances.deny(
            self.grant.key.tenant, self.granted.identity.device_id, self.snapshot.settings.xiaozhi
        )
        if refusal is not None:
            raise Refused(refusal)
