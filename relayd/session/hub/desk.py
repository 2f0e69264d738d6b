"""What all clients of the hub have in common, whichever wire they speak."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import attrs

from relayd.config.snapshot import Snapshot
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal
from relayd.hub.bounds import Bounds
from relayd.hub.hub import Hub
from relayd.observe.bus import Bus
from relayd.session.admission import Grant, Lease, Quota
from relayd.session.hub.delivery import Delivery
from relayd.session.hub.manners import Antechamber
from relayd.transport.reactor import Reactor

Pace = Callable[[str, int, float], float]
"""Takes a tenant, a number of events and ``trio.current_time()``: 0 where the tenant may publish
them, else in how many seconds it may."""


@attrs.define(eq=False)
class Entry:
    """The right of one client to be here.

    Attributes:
        lease: Of the quota; another one once it is known whom it counts for.
        leave_antechamber: Called when that is known; calling it again does nothing.
    """

    lease: Lease
    leave_antechamber: Callable[[], None]

    def leave(self) -> None:
        """Give it back. Calling this again does nothing."""
        self.leave_antechamber()
        self.lease.release()


@attrs.define(eq=False, kw_only=True)
class HubDesk:
    """One per process.

    Attributes:
        hub: The topics.
        reactor: Serves the WebSockets.
        hold: The process's count of held bytes.
        bus: Where the beginning and the end of a client are told.
        quota: What limits how many may come.
        wall: Seconds since the epoch.
        pace: How fast a tenant may publish, by whichever way.
        snapshot: The configuration in force; :meth:`apply` changes it.
        delivery: Sends to those who came by WebSocket; its :meth:`Delivery.run
            <relayd.session.hub.delivery.Delivery.run>` goes on in a task of its own.
        antechamber: Those who have not said who they are.
    """

    hub: Hub
    reactor: Reactor
    hold: HoldBudget
    bus: Bus
    quota: Quota
    wall: Callable[[], float]
    pace: Pace
    snapshot: Snapshot
    delivery: Delivery = attrs.field(factory=Delivery)
    antechamber: Antechamber = attrs.field(factory=Antechamber)

    def apply(self, snapshot: Snapshot) -> None:
        """Go by another configuration. Sessions are told of it by themselves, afterwards."""
        self.snapshot = snapshot
        self.hub.bounds = Bounds.of(snapshot.settings.hub)

    async def enter(self, grant: Grant, *, is_stranger: bool) -> Entry | Refusal:
        """Let one in who was granted that, or say why there is no room.

        Args:
            grant: Its key is the one that it counts for.
            is_stranger: Whether that is to be found out.

        Cancelling it lets nobody in.
        """
        leave = self.antechamber.enter(grant.client_address) if is_stranger else _nothing
        if isinstance(leave, Refusal):
            return leave
        with ExitStack() as undo:
            undo.callback(leave)
            lease = await self.quota.take(grant)
            if isinstance(lease, Refusal):
                return lease
            undo.pop_all()
        return Entry(lease, leave)


def _nothing() -> None:
    """Who is known has not waited."""
