"""What one relayd is made of, and how it is put together."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Self

import attrs
import trio

from relayd.config.schema import LimitSettings
from relayd.config.snapshot import Snapshot
from relayd.core.hold import HoldBudget
from relayd.ledger.budgets import Budgets
from relayd.ledger.database import Database
from relayd.ledger.location import ledger_path
from relayd.ledger.writer import Ledger
from relayd.observe import logs
from relayd.observe.bus import Bus
from relayd.routing.roster import Roster
from relayd.service import process
from relayd.service.acceptor import Reserve, SlowHeads
from relayd.service.door import Door
from relayd.service.hub.wiring import Files, HubShared, hub_of
from relayd.service.listeners import Listeners
from relayd.service.measuring import Measuring
from relayd.service.measuring_samples import Sources
from relayd.service.notify import Notifier
from relayd.service.pooling import Telling, pools_of, shared_of
from relayd.service.xiaozhi.wiring import DevicesShared, devices_of
from relayd.session.books import Books
from relayd.session.chat.shared import ChatShared, chat_of
from relayd.session.connecting import Connector
from relayd.session.limits import Limits
from relayd.session.responses.shared import Shared
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
    _made: Mapping[tuple[str | None, ...], tuple[bytes, ssl.SSLContext]] = attrs.field(repr=False)
    """Each context with what stood in its files, by what it is for."""

    @classmethod
    def of(cls, snapshot: Snapshot, before: Self | None = None) -> Self:
        """Load what ``snapshot`` names. Blocks: some 20 ms for each file that accounts trust.

        Args:
            snapshot: The configuration.
            before: What is in use. A context whose files are as they were is used on, since each
                takes 2 MB for as long as a session has it.

        Raises:
            tls.TlsFileError: A file cannot be used.
        """
        earlier = before._made if before else {}
        made: dict[tuple[str | None, ...], tuple[bytes, ssl.SSLContext]] = {}

        def context(
            use: str, files: tuple[str | None, ...], make: Callable[[], ssl.SSLContext]
        ) -> ssl.SSLContext:
            # Read before the context is: what changes in between is seen the next time.
            content = _digest(files)
            known = earlier.get((use, *files))
            entry = known if known and known[0] == content else (content, make())
            made[use, *files] = entry
            return entry[1]

        system = ssl.get_default_verify_paths().cafile
        upstream = {
            ca: context("upstream", (system, ca), partial(tls.client_context, ca))
            for ca in {account.tls_ca for account in snapshot.accounts}
        }
        clients = None
        if (files := snapshot.settings.server.tls) is not None:
            pair = (files.certificate, files.private_key)
            clients = context("clients", pair, partial(tls.server_context, *pair))
        return cls(upstream, clients, made)


def _digest(files: Iterable[str | None]) -> bytes:
    """Stands for the files' content. Of one that cannot be read its user says why."""
    digest = hashlib.sha256()
    for file in files:
        if file is not None:
            try:
                content = Path(file).read_bytes()
            except OSError:
                continue
            digest.update(b"%d:%b" % (len(content), content))
    return digest.digest()


@attrs.frozen(kw_only=True)
class Ground:
    """What everything else stands on.

    Attributes:
        core: The nursery that ends last.
    """

    core: trio.Nursery
    reactor: Reactor
    books: Books
    bus: Bus


@attrs.define(eq=False, kw_only=True)
class Parts:
    """What one run is made of.

    Attributes:
        started_with: The configuration that relayd was started with; the one in force is
            :attr:`snapshot`.
        environ: Where descriptors, directories and the service manager's socket are found.
        trust: The TLS contexts in use.
        loaded_at: When the configuration in force was read, in seconds since the epoch.
        draining: Nothing is accepted any more.
        stopping: No session is waited for.
    """

    started_with: Snapshot
    environ: Mapping[str, str]
    ground: Ground
    trust: Trust
    door: Door
    roster: Roster
    connector: Connector
    responses: Shared
    chat: ChatShared
    hub: HubShared
    devices: DevicesShared
    notifier: Notifier
    reserve: Reserve
    listeners: Listeners
    measuring: Measuring
    loaded_at: float
    draining: trio.Event = attrs.field(factory=trio.Event, init=False)
    stopping: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""
        return self.door.snapshot

    @property
    def status(self) -> str:
        """What ``systemctl status`` shows."""
        count = len(self.door.sessions)
        sessions = f"{count} session{'' if count == 1 else 's'}"
        if self.door.draining:
            return f"draining, {sessions}"
        return f"{sessions}, listening on {', '.join(self.listeners.addresses)}"

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
    store = MemoryStore(trio.current_time)
    limits = Limits(
        store=store,
        budgets=Budgets(store, ledger.spent, wall),
        wall=wall,
        sessions_max=sessions_max(settings.limits),
        on_failure=settings.state.on_failure,
    )
    return Books(ledger, limits, wall)


def sessions_max(limits: LimitSettings) -> int:
    """What ``limits.sessions_max`` means."""
    return limits.sessions_max or process.sessions_max()


def build(
    snapshot: Snapshot,
    ground: Ground,
    trust: Trust,
    listeners: Listeners,
    environ: Mapping[str, str],
    files: Files = MappingProxyType({}),
) -> Parts:
    """Put one relayd together; nothing runs yet.

    Args:
        snapshot: The configuration.
        ground: What it stands on.
        trust: The TLS contexts to begin with.
        listeners: What it listens on; they stay the caller's to close.
        environ: Where the service manager's socket is named.
        files: The dashboard.
    """
    limits = snapshot.settings.limits
    hold = HoldBudget(limits.hold_max_bytes)
    roster = Roster.of(snapshot.accounts)
    connector = Connector(
        roster=roster,
        resolver=Resolver(ground.core),
        contexts=trust.upstream,
        hold=hold,
        bus=ground.bus,
    )
    hub = _hub(snapshot, ground, hold, files)
    devices = devices_of(snapshot, reactor=ground.reactor, books=ground.books, connector=connector)
    measuring = _measuring(ground, hold, roster, hub, lambda: door)
    responses, chat = _turns(snapshot, ground, hold, connector, measuring)
    door = Door(
        responses=responses,
        chat=chat,
        hub=hub,
        devices=devices,
        snapshot=snapshot,
        tls=trust.clients,
        reactor=ground.reactor,
        connector=connector,
        quota=ground.books.limits,
        books=ground.books,
        bus=ground.bus,
        hold=hold,
        slow_heads=SlowHeads(limits.handshakes_per_ip_max),
    )
    ground.bus.subscribe(measuring.hear)
    door.on_refused = measuring.refused
    door.http.on_request = partial(measuring.request_ended, listener="public")
    return Parts(
        measuring=measuring,
        loaded_at=ground.books.wall(),
        started_with=snapshot,
        environ=environ,
        ground=ground,
        trust=trust,
        door=door,
        roster=roster,
        connector=connector,
        responses=responses,
        chat=chat,
        hub=hub,
        devices=devices,
        notifier=Notifier.from_environ(environ),
        reserve=Reserve(),
        listeners=listeners,
    )


def _turns(
    snapshot: Snapshot,
    ground: Ground,
    hold: HoldBudget,
    connector: Connector,
    measuring: Measuring,
) -> tuple[Shared, ChatShared]:
    """What the dialects share whose turns find their own upstreams."""
    responses = shared_of(
        snapshot,
        reactor=ground.reactor,
        books=ground.books,
        bus=ground.bus,
        hold=hold,
        connector=connector,
        tell=Telling(measuring.hear_pool, measuring.crashed),
    )
    chat = chat_of(
        snapshot,
        reactor=ground.reactor,
        books=ground.books,
        bus=ground.bus,
        hold=hold,
        connector=connector,
        crashed=measuring.crashed,
    )
    return responses, chat


def _hub(snapshot: Snapshot, ground: Ground, hold: HoldBudget, files: Files) -> HubShared:
    return hub_of(
        snapshot,
        reactor=ground.reactor,
        books=ground.books,
        bus=ground.bus,
        hold=hold,
        files=files,
    )


def _measuring(
    ground: Ground, hold: HoldBudget, roster: Roster, hub: HubShared, door: Callable[[], Door]
) -> Measuring:
    """The metrics. They ask for the door when somebody looks, and by then it has been made."""
    return Measuring(
        Sources(
            snapshot=lambda: door().snapshot,
            sessions=lambda: door().sessions,
            sessions_max=lambda: sessions_max(door().snapshot.settings.limits),
            accounts=roster.statistics,
            pools=lambda: pools_of(door().responses.pool, door().snapshot),
            ready=lambda: tuple(door().chat.ready.statistics()),
            hub=hub.hub.totals,
            ledger=ground.books.ledger,
            hold=hold,
            draining=lambda: door().draining,
            bugs=lambda: door().crashes + hub.desk.delivery.crashes + ground.bus.failures,
            lines_lost=logs.lines_lost,
            wall=ground.books.wall,
        )
    )
