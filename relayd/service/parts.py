"""What one relayd is made of, and how it is put together."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Self

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.hold import HoldBudget
from relayd.ledger.budgets import Budgets
from relayd.ledger.database import Database
from relayd.ledger.location import ledger_path
from relayd.ledger.writer import Ledger
from relayd.observe.bus import Bus
from relayd.routing.roster import Roster
from relayd.service import process
from relayd.service.acceptor import Reserve, SlowHeads
from relayd.service.door import Door
from relayd.service.notify import Notifier
from relayd.session.connecting import Connector
from relayd.session.limits import Limits
from relayd.session.metering import Books
from relayd.state.memory import MemoryStore
from relayd.transport import tls
from relayd.transport.reactor import Reactor
from relayd.transport.resolve import Resolver


@attrs.frozen
class Trust:
    """TLS contexts.

    Attributes:
        upstream: For upstreams, by the file of certificates that an account trusts beside the
            system's.
        clients: For the public listeners; ``None`` where they speak plain HTTP.
    """

    upstream: Mapping[str | None, ssl.SSLContext]
    clients: ssl.SSLContext | None

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Load what ``snapshot`` names. Raises :class:`tls.TlsFileError`."""
        files = snapshot.settings.server.tls
        authorities = {account.tls_ca for account in snapshot.accounts}
        return cls(
            {ca: tls.client_context(ca) for ca in authorities},
            tls.server_context(files.certificate, files.private_key) if files else None,
        )


@attrs.frozen(kw_only=True)
class Ground:
    """What everything else stands on.

    Attributes:
        core: The nursery that ends last.
    """

    core: trio.Nursery
    reactor: Reactor
    trust: Trust
    books: Books
    bus: Bus


@attrs.define(kw_only=True)
class Parts:
    """What one run is made of."""

    snapshot: Snapshot
    ground: Ground
    door: Door
    roster: Roster
    connector: Connector
    notifier: Notifier
    reserve: Reserve
    public: list[socket.socket]
    admin: socket.socket
    draining: trio.Event = attrs.field(factory=trio.Event)
    stopping: trio.Event = attrs.field(factory=trio.Event)

    def stop(self) -> None:
        """Drain, and do not wait for it."""
        self.draining.set()
        self.stopping.set()


async def open_database(snapshot: Snapshot, environ: Mapping[str, str]) -> Database:
    """Open the ledger's file. Raises :class:`relayd.ledger.database.LedgerError`."""
    path = ledger_path(snapshot.settings.ledger.url, environ)
    return await trio.to_thread.run_sync(Database.open, path)


def open_books(snapshot: Snapshot, database: Database, wall: Callable[[], float]) -> Books:
    """Ledger and limits over an open database.

    Args:
        snapshot: The configuration.
        database: Stays the caller's to close.
        wall: Seconds since the epoch.
    """
    settings = snapshot.settings
    ledger = Ledger(database, on_failure=settings.ledger.on_failure)
    store = MemoryStore(wall)
    limits = Limits(
        store=store,
        budgets=Budgets(store, ledger.spent, wall),
        wall=wall,
        sessions_max=settings.limits.sessions_max or process.sessions_max(),
        on_failure=settings.state.on_failure,
    )
    return Books(ledger, limits, wall)


def build(
    snapshot: Snapshot, ground: Ground, bound: list[socket.socket], environ: Mapping[str, str]
) -> Parts:
    """Put one relayd together; nothing runs yet.

    Args:
        snapshot: The configuration.
        ground: What it stands on.
        bound: The public listeners, then the admin one.
        environ: Where the service manager's socket is named.
    """
    limits = snapshot.settings.limits
    hold = HoldBudget(limits.hold_max_bytes)
    roster = Roster.of(snapshot.accounts)
    connector = Connector(
        roster=roster,
        resolver=Resolver(ground.core),
        contexts=ground.trust.upstream,
        hold=hold,
        bus=ground.bus,
    )
    door = Door(
        snapshot=snapshot,
        tls=ground.trust.clients,
        reactor=ground.reactor,
        connector=connector,
        quota=ground.books.limits,
        books=ground.books,
        bus=ground.bus,
        hold=hold,
        slow_heads=SlowHeads(limits.handshakes_per_ip_max),
    )
    return Parts(
        snapshot=snapshot,
        ground=ground,
        door=door,
        roster=roster,
        connector=connector,
        notifier=Notifier.from_environ(environ),
        reserve=Reserve(),
        public=bound[:-1],
        admin=bound[-1],
    )
