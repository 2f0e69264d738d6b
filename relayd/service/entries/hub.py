"""Into a session of the event hub, which has no upstream."""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal
from relayd.protocol.upgrade import UpgradeRequest
from relayd.service.entries.entry import House, answer
from relayd.service.visit import Refused, Visit
from relayd.session.admission import Grant
from relayd.session.hub.admission import HubGrant
from relayd.session.hub.desk import HubDesk
from relayd.session.hub.session import HubSession, make_session


@attrs.frozen
class HubOpening:
    """One upgrade that was admitted.

    Attributes:
        desk: What all sessions of the kind share.
    """

    desk: HubDesk
    granted: HubGrant
    request: UpgradeRequest
    snapshot: Snapshot

    @property
    def grant(self) -> Grant:
        """See :class:`~relayd.service.entries.entry.Opening`."""
        return self.granted.grant

    async def open(self, visit: Visit, house: House) -> HubSession:
        """See :class:`~relayd.service.entries.entry.Opening`."""
        is_stranger = self.granted.identity is None
        entry = await self.desk.enter(self.grant, is_stranger=is_stranger)
        if isinstance(entry, Refusal):
            raise Refused(entry)
        visit.holdings.append(entry.leave)
        client = house.client(visit)
        answer(visit, client, self.request, self.granted.subprotocol, house)
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
