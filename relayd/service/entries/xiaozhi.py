"""Into a session of a device, whose hello comes before any server is dialled."""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.protocol.upgrade import UpgradeRequest
from relayd.service.entries.entry import House, answer, check_books, take_quota
from relayd.service.visit import Refused, Visit
from relayd.session.admission import Grant
from relayd.session.xiaozhi.admission import XiaozhiGrant
from relayd.session.xiaozhi.desk import DeviceDesk
from relayd.session.xiaozhi.making import make_session
from relayd.session.xiaozhi.session import XiaozhiSession


@attrs.frozen
class XiaozhiOpening:
    """One upgrade that was admitted.

    Attributes:
        desk: What all sessions of the kind share.
    """

    desk: DeviceDesk
    granted: XiaozhiGrant
    request: UpgradeRequest
    snapshot: Snapshot

    @property
    def grant(self) -> Grant:
        """See :class:`~relayd.service.entries.entry.Opening`."""
        return self.granted.grant

    async def open(self, visit: Visit, house: House) -> XiaozhiSession:
        """See :class:`~relayd.service.entries.entry.Opening`."""
        check_books(house)
        await self._check_allowance()
        # Taken before the quota, so that it is given back behind that.
        visit.holdings.append(await self.desk.make_way(self.granted))
        await take_quota(visit, self.grant, house)
        client = house.client(visit)
        answer(visit, client, self.request, self.granted.subprotocol, house)
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
