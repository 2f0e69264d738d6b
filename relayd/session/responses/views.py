"""A Responses session as its clock, the admin API and the metrics see it."""

from __future__ import annotations

import attrs

from relayd.dialect.meter import Refuse
from relayd.dialect.responses_lanes import Lanes
from relayd.session.responses.holders import Holders


@attrs.define(eq=False)
class Turns:
    """What the clock sees of a session's turns: see :class:`~relayd.dialect.base.Timed`."""

    lanes: Lanes
    tell_idle: bool = False
    closed_to_turns: Refuse | None = None
    busy_since = None  # each turn has its own deadlines

    @property
    def busy(self) -> bool:
        """Whether a turn runs or waits."""
        return self.lanes.busy


@attrs.define(eq=False)
class Downstream:
    """What has gone down to the client, as an endpoint's flow would count it."""

    holders: Holders | None = None
    said: list[int] = attrs.field(factory=lambda: [0, 0])

    @property
    def flow(self) -> Downstream:
        """Itself: it stands for the upstream of a session that has one."""
        return self

    @property
    def messages(self) -> int:
        """Messages."""
        return self.said[0] + (0 if self.holders is None else self.holders.relayed[0])

    @property
    def bytes(self) -> int:
        """Payload bytes of them."""
        return self.said[1] + (0 if self.holders is None else self.holders.relayed[1])
