"""Into a session whose turns find their upstreams when they are asked for."""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.protocol.upgrade import UpgradeRequest
from relayd.service.entries.entry import House, answer, check_books, take_quota
from relayd.service.opening import Workshop
from relayd.service.visit import Visit
from relayd.session.admission import Grant
from relayd.session.dialects import answer_subprotocol
from relayd.session.responses.session import ResponsesSession


@attrs.frozen
class ResponsesOpening:
    """One upgrade that was admitted, in the responses dialect.

    Attributes:
        workshop: Makes the session.
    """

    workshop: Workshop
    grant: Grant
    request: UpgradeRequest
    snapshot: Snapshot

    async def open(self, visit: Visit, house: House) -> ResponsesSession:
        """See :class:`~relayd.service.entries.entry.Opening`."""
        check_books(house)
        await take_quota(visit, self.grant, house, is_final=False)
        client = house.client(visit)
        answer(visit, client, self.request, answer_subprotocol(self.grant, None), house)
        return self.workshop.make_responses(
            self.grant,
            self.snapshot,
            client,
            session_id=visit.session_id,
            accepted_at=visit.accepted_at,
            now=trio.current_time(),
        )
