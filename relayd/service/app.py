"""relayd as one call: bind, serve, drain.

Three nurseries, inside each other: accepting ends first, connections end when they have said
goodbye, the reactor and the rest that they stand on ends last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

import attrs
import trio

import relayd
from relayd.config.snapshot import Snapshot
from relayd.dialect.meter import Refuse
from relayd.observe.bus import Bus
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger, lines_lost
from relayd.pool.pool import Pool
from relayd.protocol.frames import MASK_COMPILED
from relayd.service import watchdog
from relayd.service.acceptor import Acceptor
from relayd.service.admin.wiring import admin_of
from relayd.service.difference import ReloadOutcome
from relayd.service.hub.wiring import Files
from relayd.service.listeners import Listener, Listeners
from relayd.service.parts import (
    Ground,
    Parts,
    Trust,
    build,
    open_books,
    open_database,
    sessions_max,
)
from relayd.service.reload import Reloader, Source
from relayd.session.books import Books
from relayd.session.hub.stats import tell_stats
from relayd.session.probing import probe_disabled
from relayd.transport.reactor import Reactor

log = get_logger()

DRAIN_MARGIN_S: Final = 2.0
"""Beyond ``drain_s``: for goodbyes, and for connections that are not sessions yet."""

LAST_HEADS_S: Final = 1.0
"""A drain does not wait longer for connections that have not finished their request."""

_DRAINING: Final = Refuse(
    "server_error", "draining", "relayd is restarting; reconnect to ask for another response."
)


@attrs.frozen(kw_only=True)
class Running:
    """A relayd that accepts connections.

    Attributes:
        addresses: The bound public addresses; a reload's outcome says how they changed.
        admin: The bound admin address.
        drain: Stop accepting, and end when the sessions have: the first SIGTERM.
        stop: End every session now: the second SIGTERM.
        reload: Read the configuration again and put it in force by difference. Raises nothing;
            its result says what was changed, or why nothing was.
        apply: Use another configuration for new sessions; sessions of removed keys end.
        bus: What happens, for those who subscribe.
    """

    addresses: tuple[str, ...]
    admin: str
    drain: Callable[[], None]
    stop: Callable[[], None]
    reload: Callable[[], Awaitable[ReloadOutcome]]
    apply: Callable[[Snapshot], None]
    bus: Bus


async def serve(
    snapshot: Snapshot,
    *,
    environ: Mapping[str, str] = os.environ,
    source: Source | None = None,
    bus: Bus | None = None,
    wall: Callable[[], float] = time.time,
    files: Files = MappingProxyType({}),
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until :attr:`Running.drain` has run its course.

    Args:
        snapshot: The configuration to start with.
        environ: Where descriptors, directories and the service manager's socket are found.
        source: Where a reload gets the next one from; without it there is none.
        bus: Where sessions and turns are told.
        wall: Seconds since the epoch: budgets and expiries go by the calendar.
        files: The dashboard; without them there is none.
        task_status: Gets a :class:`Running`.

    Raises:
        LedgerError: The ledger cannot be opened.
        listeners.BindError: A listener could not be bound; nothing has been started.
        tls.TlsFileError: A certificate cannot be used.

    Cancelling it ends every session as ``drain``, within a second or two.
    """
    trust = Trust.of(snapshot)
    database = await open_database(snapshot, environ)
    reactor = Reactor()
    listeners: Listeners | None = None
    try:
        listeners = Listeners.open(snapshot.settings.server, environ)
        async with trio.open_nursery() as core:
            ground = Ground(
                core=core,
                reactor=reactor,
                books=open_books(snapshot, database, wall),
                bus=bus or Bus(),
            )
            parts = build(snapshot, ground, trust, listeners, environ, files)
            try:
                await _run(parts, source, core, task_status)
            finally:
                parts.reserve.close()
                core.cancel_scope.cancel(reason="stopped")
    finally:
        reactor.close()
        database.close()
        if listeners is not None:
            listeners.close()


async def _run(
    parts: Parts,
    source: Source | None,
    core: trio.Nursery,
    task_status: trio.TaskStatus[Running],
) -> None:
    started_at = trio.current_time()
    # Sessions that are cancelled still say goodbye, for which the reactor has to turn.
    beneath = trio.CancelScope(shield=True)
    core.start_soon(_run_within, beneath, parts.ground.reactor.run)
    writing = trio.CancelScope(shield=True)
    core.start_soon(_run_books, writing, parts.ground.books)
    pooling, pooled = trio.CancelScope(shield=True), trio.Event()
    core.start_soon(_run_pool, pooling, parts.responses.pool, pooled)
    chatting = trio.CancelScope(shield=True)
    core.start_soon(_run_within, chatting, parts.chat.run)
    parting = trio.CancelScope(shield=True)
    core.start_soon(_run_within, parting, parts.devices.run)
    try:
        core.start_soon(probe_disabled, parts.connector, parts.chat.clocks)
        core.start_soon(parts.door.slow_heads.watch)
        core.start_soon(parts.measuring.run)
        core.start_soon(parts.hub.desk.delivery.run)
        core.start_soon(tell_stats, parts.hub.sources)
        async with trio.open_nursery() as connections:
            core.start_soon(_stop_when_told, parts.stopping, connections.cancel_scope)
            async with trio.open_nursery() as accepting:

                def accept(listener: Listener) -> None:
                    accepting.start_soon(_accept, parts, listener, connections)

                for listener in parts.listeners.public:
                    accept(listener)
                reloader = Reloader(parts=parts, source=source, accept=accept)
                _start_admin(parts, reloader, core)
                _announce(parts, reloader, task_status)
                _report(parts, core)
                await parts.draining.wait()
                accepting.cancel_scope.cancel(reason="draining")
            await _drain(parts, core, connections)
    finally:
        pooling.cancel(reason="stopped")
        with trio.CancelScope(shield=True):  # it closes what it has at once, and says so
            await pooled.wait()
        chatting.cancel(reason="stopped")
        parting.cancel(reason="stopped")
        beneath.cancel(reason="stopped")
        writing.cancel(reason="stopped")
    log.info(
        LogEvent.SERVER_STOPPED,
        cause="drained" if not parts.stopping.is_set() else "stopped",
        duration_s=round(trio.current_time() - started_at, 3),
        log_lines_lost=lines_lost(),
    )


async def _accept(parts: Parts, listener: Listener, connections: trio.Nursery) -> None:
    """Accept from ``listener`` until it is closed."""
    acceptor = Acceptor(
        listener.sock, listener.address, parts.door.serve, connections, parts.reserve
    )
    with listener.scope:
        await acceptor.run()


def _start_admin(parts: Parts, reloader: Reloader, core: trio.Nursery) -> None:
    listener, admin = parts.listeners.admin, admin_of(parts, reloader)
    acceptor = Acceptor(listener.sock, listener.address, admin.serve, core, parts.reserve)
    core.start_soon(acceptor.run)


def _announce(parts: Parts, reloader: Reloader, task_status: trio.TaskStatus[Running]) -> None:
    """Say that connections are accepted: to the log, the service manager and the caller."""
    addresses = parts.listeners.addresses
    admin = parts.listeners.admin.address
    log.info(
        LogEvent.SERVER_STARTED,
        listen=list(addresses),
        admin=admin,
        version=relayd.__version__,
        accounts=sum(account.enabled for account in parts.snapshot.accounts),
        keys=sum(key.enabled for key in parts.snapshot.keys.values()),
        sessions_max=sessions_max(parts.snapshot.settings.limits),
    )
    if not MASK_COMPILED:
        log.warning(
            LogEvent.MASK_DEGRADED, message="install websockets with its compiled extension"
        )
    parts.notifier.ready(parts.status)
    task_status.started(
        Running(
            addresses=addresses,
            admin=admin,
            drain=parts.draining.set,
            stop=parts.stop,
            reload=reloader.reload,
            apply=parts.door.apply,
            bus=parts.ground.bus,
        )
    )


def _report(parts: Parts, core: trio.Nursery) -> None:
    """Keep the service manager informed, if there is one."""
    notifier = parts.notifier
    if notifier.address is not None:
        core.start_soon(watchdog.tell_status, notifier, lambda: parts.status, parts.status)
        every_s = watchdog.watchdog_interval_s(parts.environ)
        if every_s is not None:
            core.start_soon(watchdog.feed, notifier, every_s)


async def _drain(parts: Parts, core: trio.Nursery, connections: trio.Nursery) -> None:
    """Stop accepting; let running responses end; cut what is left at the deadline."""
    drain_s = parts.snapshot.settings.server.drain_s
    door = parts.door
    for listener in parts.listeners.public:
        listener.close()
    log.info(LogEvent.DRAIN_STARTED, sessions=len(door.sessions), drain_s=drain_s)
    parts.notifier.stopping()
    if parts.notifier.address is not None:
        core.start_soon(watchdog.extend_timeout, parts.notifier)
    now = trio.current_time()
    deadline = now + drain_s
    door.drain(deadline=deadline, refuse=_DRAINING)
    door.slow_heads.hasten(now + LAST_HEADS_S)
    connections.cancel_scope.deadline = deadline + DRAIN_MARGIN_S


async def _run_books(scope: trio.CancelScope, books: Books) -> None:
    """The limits end before the ledger does: what they still apply may be written down."""
    with scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(books.limits.run)
            nursery.start_soon(books.ledger.run)


async def _run_pool(scope: trio.CancelScope, pool: Pool, ended: trio.Event) -> None:
    try:
        with scope:
            await pool.run()
    finally:
        ended.set()


async def _stop_when_told(stopping: trio.Event, connections: trio.CancelScope) -> None:
    await stopping.wait()
    connections.cancel(reason="stopped")


async def _run_within(scope: trio.CancelScope, run: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await run()
