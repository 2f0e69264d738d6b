"""Devices as one relayd has them: put together before the door, opened by it."""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.pool.parting import Partings
from relayd.service.xiaozhi.api import House, OtaApi
from relayd.session.books import Books
from relayd.session.connecting import Connector
from relayd.session.xiaozhi.desk import DeviceDesk
from relayd.state.memory import MemoryStore
from relayd.state.store import Store
from relayd.transport.reactor import Reactor


@attrs.frozen(kw_only=True)
class DevicesShared:
    """What all devices share.

    Attributes:
        desk: Those that are here.
        partings: Where servers are told goodbye; its ``run`` goes on in a task of its own.
        activations: Keeps which server waits for a device's activation; it forgets, since
            anybody may ask for one, and apart from the tokens, which outlast them.
    """

    desk: DeviceDesk
    partings: Partings
    activations: Store

    async def run(self) -> None:
        """Do what is left of sockets whose use is over, until cancelled."""
        await self.partings.run()

    def ota(self, house: House) -> OtaApi:
        """What devices ask by HTTP."""
        desk = self.desk
        return OtaApi(
            house=house,
            connector=desk.means.surroundings.connector,
            tokens=desk.tokens,
            store=self.activations,
            wall=desk.books.wall,
        )


def devices_of(
    snapshot: Snapshot, *, reactor: Reactor, books: Books, connector: Connector
) -> DevicesShared:
    """No device is here yet.

    Args:
        snapshot: The configuration to begin with.
        reactor: Serves the sockets.
        books: Ledger and limits.
        connector: Opens sockets to servers.
    """
    partings = Partings(reactor)
    desk = DeviceDesk.of(
        reactor=reactor,
        books=books,
        connector=connector,
        partings=partings,
        store=MemoryStore(trio.current_time, forgets=True),
        snapshot=snapshot,
    )
    activations = MemoryStore(trio.current_time, forgets=True)
    return DevicesShared(desk=desk, partings=partings, activations=activations)
