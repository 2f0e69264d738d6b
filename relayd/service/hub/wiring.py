"""The event hub as one relayd has it: put together before the door, opened by it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.hold import HoldBudget
from relayd.hub.bounds import Bounds
from relayd.hub.figures import Figures
from relayd.hub.hub import Hub
from relayd.hub.sources import Sources
from relayd.observe.bus import Bus
from relayd.service.admin.state import LiveSession
from relayd.service.hub.accounts import Accounts
from relayd.service.hub.api import House, HubApi
from relayd.service.hub.events import EventStreams
from relayd.service.hub.live import Live
from relayd.service.hub.publish import Publisher
from relayd.service.hub.static import StaticFiles
from relayd.session.books import Books
from relayd.session.hub.desk import HubDesk
from relayd.transport.reactor import Reactor

Files = Mapping[str, tuple[str, bytes]]
"""Files of the dashboard by name, each with its ``Content-Type``."""

EPOCH_BYTES = 8


@attrs.frozen(kw_only=True)
class HubShared:
    """What all clients of the hub share, whichever way they come.

    Attributes:
        desk: For those by WebSocket.
        sources: Tells the hub what happens in relayd; a subscriber of the bus.
        publisher: Takes events by HTTP.
        files: The dashboard.
    """

    desk: HubDesk
    sources: Sources
    publisher: Publisher
    files: StaticFiles

    @property
    def hub(self) -> Hub:
        """The topics."""
        return self.desk.hub

    def apply(self, snapshot: Snapshot) -> None:
        """Go by another configuration."""
        self.desk.apply(snapshot)
        self.sources.history_s = snapshot.settings.hub.history_s


def hub_of(
    snapshot: Snapshot,
    *,
    reactor: Reactor,
    books: Books,
    bus: Bus,
    hold: HoldBudget,
    files: Files,
) -> HubShared:
    """A hub that nobody follows yet, and that hears of what the bus tells.

    Args:
        snapshot: The configuration to begin with.
        reactor: Serves the WebSockets.
        books: Knows the time, and how many sessions there may be.
        bus: Its events are told on.
        hold: The process's count of held bytes.
        files: The dashboard.
    """
    settings, wall = snapshot.settings.hub, books.wall
    hub = Hub(os.urandom(EPOCH_BYTES).hex(), Bounds.of(settings))
    publisher = Publisher(hub=hub, wall=wall)
    sources = Sources(
        topics=hub,
        figures=Figures(wall()),
        clock=trio.current_time,
        wall=wall,
        history_s=settings.history_s,
    )
    bus.subscribe(sources.hear)
    desk = HubDesk(
        hub=hub,
        reactor=reactor,
        hold=hold,
        bus=bus,
        quota=books.limits,
        wall=wall,
        pace=publisher.pace.take,
        snapshot=snapshot,
    )
    return HubShared(desk=desk, sources=sources, publisher=publisher, files=StaticFiles(files))


def api_of(
    shared: HubShared,
    house: House,
    *,
    sessions: Mapping[str, LiveSession],
    accounts: Accounts,
    draining: Callable[[], bool],
) -> HubApi:
    """The routes of the hub.

    Args:
        shared: What they stand on.
        house: Knows the configuration in force.
        sessions: The running ones by id.
        accounts: Shows the accounts.
        draining: Whether nobody is let in any more.
    """
    desk, sources = shared.desk, shared.sources
    streams = EventStreams(
        hub=shared.hub, quota=desk.quota, snapshot=lambda: house.snapshot, wall=desk.wall
    )
    return HubApi(
        house=house,
        wall=desk.wall,
        publisher=shared.publisher,
        streams=streams,
        live=Live(
            sessions=sessions,
            streams=streams.running,
            figures=lambda tenant: sources.figures.overview(tenant, desk.wall()),
            accounts=accounts,
            draining=draining,
            wall=desk.wall,
            started_at=sources.figures.began_at,
        ),
        files=shared.files,
    )
