"""relayd as one call: bind, serve, drain.

Three nurseries, inside each other: accepting ends first, connections end when they have said
goodbye, the reactor and the rest that they stand on ends last.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import attrs
import trio

import relayd
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.meter import Refuse
from relayd.observe.bus import Bus
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger, lines_lost
from relayd.protocol.frames import MASK_COMPILED
from relayd.routing.roster import Roster
from relayd.service import listeners, process
from relayd.service.acceptor import Acceptor, Reserve, SlowHeads
from relayd.service.admin import Admin, Readiness
from relayd.service.door import Door
from relayd.service.notify import Notifier
from relayd.session.admission import OpenQuota
from relayd.session.connecting import Connector
from relayd.session.probing import probe_disabled
from relayd.transport import tls
from relayd.transport.reactor import Reactor
from relayd.transport.resolve import Resolver

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
        addresses: The bound public addresses.
        admin: The bound admin address.
        drain: Stop accepting, and end when the sessions have: the first SIGTERM.
        stop: End every session now: the second SIGTERM.
        bus: What happens, for those who subscribe.
    """

    addresses: tuple[str, ...]
    admin: str
    drain: Callable[[], None]
    stop: Callable[[], None]
    bus: Bus


@attrs.define(kw_only=True)
class _Parts:
    """What one run is made of."""

    snapshot: Snapshot
    bus: Bus
    reactor: Reactor
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


async def serve(
    snapshot: Snapshot,
    *,
    environ: Mapping[str, str] = os.environ,
    bus: Bus | None = None,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until :attr:`Running.drain` has run its course.

    Raises:
        listeners.BindError: A listener could not be bound; nothing has been started.
        tls.TlsFileError: A certificate cannot be used.

    Cancelling it ends every session as ``drain``, within a second or two.
    """
    contexts = {
        ca: tls.client_context(ca) for ca in {account.tls_ca for account in snapshot.accounts}
    }
    files = snapshot.settings.server.tls
    server_tls = tls.server_context(files.certificate, files.private_key) if files else None
    bound: list[socket.socket] = []
    reactor = Reactor()
    try:
        wanted = (*snapshot.settings.server.listen, snapshot.settings.server.admin)
        bound.extend(listeners.bind(where, environ) for where in wanted)
        async with trio.open_nursery() as core:
            parts = _build(
                snapshot, core, bound, reactor, contexts, server_tls, bus or Bus(), environ
            )
            try:
                await _run(parts, core, task_status)
            finally:
                parts.reserve.close()
                core.cancel_scope.cancel(reason="stopped")
    finally:
        reactor.close()
        for sock in bound:
            if sock.fileno() >= 0:
                listeners.close(sock)


def _build(
    snapshot: Snapshot,
    core: trio.Nursery,
    bound: list[socket.socket],
    reactor: Reactor,
    contexts: Mapping[str | None, ssl.SSLContext],
    server_tls: ssl.SSLContext | None,
    bus: Bus,
    environ: Mapping[str, str],
) -> _Parts:
    limits = snapshot.settings.limits
    hold = HoldBudget(limits.hold_max_bytes)
    roster = Roster.of(snapshot.accounts)
    connector = Connector(
        roster=roster, resolver=Resolver(core), contexts=contexts, hold=hold, bus=bus
    )
    door = Door(
        snapshot=snapshot,
        tls=server_tls,
        reactor=reactor,
        connector=connector,
        quota=OpenQuota(limits.sessions_max or process.sessions_max()),
        bus=bus,
        hold=hold,
        slow_heads=SlowHeads(limits.handshakes_per_ip_max),
    )
    return _Parts(
        snapshot=snapshot,
        bus=bus,
        reactor=reactor,
        door=door,
        roster=roster,
        connector=connector,
        notifier=Notifier.from_environ(environ),
        reserve=Reserve(),
        public=bound[:-1],
        admin=bound[-1],
    )


async def _run(parts: _Parts, core: trio.Nursery, task_status: trio.TaskStatus[Running]) -> None:
    started_at = trio.current_time()
    # Sessions that are cancelled still say goodbye, for which the reactor has to turn.
    beneath = trio.CancelScope(shield=True)
    core.start_soon(_run_within, beneath, parts.reactor.run)
    try:
        _start_admin(parts, core)
        core.start_soon(probe_disabled, parts.connector)
        core.start_soon(parts.door.slow_heads.watch)
        async with trio.open_nursery() as connections:
            core.start_soon(_stop_when_told, parts.stopping, connections.cancel_scope)
            async with trio.open_nursery() as accepting:
                for sock in parts.public:
                    where = listeners.address_of(sock)
                    acceptor = Acceptor(sock, where, parts.door.serve, connections, parts.reserve)
                    accepting.start_soon(acceptor.run)
                _announce(parts, task_status)
                await parts.draining.wait()
                accepting.cancel_scope.cancel(reason="draining")
            await _drain(parts, connections)
    finally:
        beneath.cancel(reason="stopped")
    log.info(
        LogEvent.SERVER_STOPPED,
        cause="drained" if not parts.stopping.is_set() else "stopped",
        duration_s=round(trio.current_time() - started_at, 3),
        log_lines_lost=lines_lost(),
    )


def _start_admin(parts: _Parts, core: trio.Nursery) -> None:
    token = parts.snapshot.settings.server.admin_token
    admin = Admin(
        token=token,
        readiness=lambda: Readiness(draining=parts.door.draining, overloaded=parts.door.hold.full),
    )
    where = listeners.address_of(parts.admin)
    acceptor = Acceptor(parts.admin, where, admin.serve, core, parts.reserve)
    core.start_soon(acceptor.run)


def _announce(parts: _Parts, task_status: trio.TaskStatus[Running]) -> None:
    """Say that connections are accepted: to the log, the service manager and the caller."""
    addresses = tuple(map(listeners.address_of, parts.public))
    admin = listeners.address_of(parts.admin)
    log.info(
        LogEvent.SERVER_STARTED,
        listen=list(addresses),
        admin=admin,
        version=relayd.__version__,
        accounts=sum(account.enabled for account in parts.snapshot.accounts),
        keys=sum(key.enabled for key in parts.snapshot.keys.values()),
        sessions_max=parts.snapshot.settings.limits.sessions_max or process.sessions_max(),
    )
    if not MASK_COMPILED:
        log.warning(
            LogEvent.MASK_DEGRADED, message="install websockets with its compiled extension"
        )
    parts.notifier.ready(f"listening on {', '.join(addresses)}")
    task_status.started(
        Running(
            addresses=addresses,
            admin=admin,
            drain=parts.draining.set,
            stop=parts.stop,
            bus=parts.bus,
        )
    )


async def _drain(parts: _Parts, connections: trio.Nursery) -> None:
    """Stop accepting; let running responses end; cut what is left at the deadline."""
    drain_s = parts.snapshot.settings.server.drain_s
    door = parts.door
    door.draining = True
    for sock in parts.public:
        listeners.close(sock)
    log.info(LogEvent.DRAIN_STARTED, sessions=len(door.sessions), drain_s=drain_s)
    parts.notifier.stopping()
    now = trio.current_time()
    door.slow_heads.hasten(now + LAST_HEADS_S)
    deadline = now + drain_s
    for session in tuple(door.sessions.values()):
        session.leave(Reason.DRAIN, at=deadline, refuse=_DRAINING)
    connections.cancel_scope.deadline = deadline + DRAIN_MARGIN_S


async def _stop_when_told(stopping: trio.Event, connections: trio.CancelScope) -> None:
    await stopping.wait()
    connections.cancel(reason="stopped")


async def _run_within(scope: trio.CancelScope, run: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await run()
