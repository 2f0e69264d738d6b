"""The pool of upstream sockets as relayd uses it: what it tells the log, and what it is made of."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.config.snapshot import Account, Snapshot
from relayd.core.hold import HoldBudget
from relayd.dialect import responses
from relayd.observe.bus import Bus
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger, shows
from relayd.pool.errors import DialTimeout
from relayd.pool.events import PoolEvent, PoolEventKind, PoolEvents
from relayd.pool.identity import Identity
from relayd.pool.pool import Pool
from relayd.pool.statistics import AccountPool
from relayd.pool.wire import ReactorWire
from relayd.session.attempts import AttemptFailed
from relayd.session.books import Books
from relayd.session.connecting import Connector
from relayd.session.entries import milliseconds
from relayd.session.responses.chains import NAMES_MAX, Chains
from relayd.session.responses.shared import Shared, opener_of
from relayd.state.memory import MemoryStore
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.reactor import Reactor

log = get_logger()

_WARNINGS: Final = frozenset({PoolEventKind.SLOT_BROKEN, PoolEventKind.LEASE_REFUSED})


@attrs.frozen
class Telling:
    """Tells of what happens in the pool: a line for each thing, and its share in the metrics.

    Attributes:
        heard: Hears of it beside the log.
        crashed: Told of each bug.
    """

    heard: PoolEvents
    crashed: Callable[[], None]

    def __call__(self, event: PoolEvent) -> None:
        """See :data:`~relayd.pool.events.PoolEvents`."""
        write_line(event)
        self.heard(event)
        match event.error:
            case None:
                pass
            case AttemptFailed(failure=failure):
                _write_failure(event.account, failure.code, failure.message)
            case DialTimeout():
                _write_failure(event.account, DialErrorKind.CONNECT_TIMEOUT, str(event.error))
            case DialError(kind=kind):
                _write_failure(event.account, kind, str(event.error))
            case _:
                self.crashed()
                log.error(
                    LogEvent.SESSION_CRASHED,
                    session_id=None,
                    dialect=responses.NAME,
                    traceback=event.error,
                )


def _write_failure(account: str, reason: str, message: str) -> None:
    """A socket could not be opened ahead of need: for no session, and so for no other line."""
    log.warning(
        LogEvent.UPSTREAM_FAILED,
        session_id=None,
        dialect=responses.NAME,
        account=account,
        reason=reason,
        message=message,
    )


def write_line(event: PoolEvent) -> None:
    """The line of one event."""
    if event.kind is PoolEventKind.LEASE_RELEASED and not shows("debug"):
        return  # there is one for each turn
    fields: dict[str, object] = {
        "account": event.account,
        "slot": event.slot,
        "generation": event.generation,
    }
    match event.kind:
        case PoolEventKind.SLOT_OPENED:
            fields["duration_ms"] = milliseconds(event.seconds)
        case PoolEventKind.SLOT_BROKEN | PoolEventKind.SLOT_ROTATED:
            fields["reason"] = event.reason
        case PoolEventKind.LEASE_WAITED:
            fields["wait_ms"] = milliseconds(event.seconds)
        case PoolEventKind.LEASE_REFUSED:
            fields = {"account": event.account, "reason": event.reason}
            fields["wait_ms"] = milliseconds(event.seconds)
        case PoolEventKind.LEASE_RELEASED:
            fields |= {"outcome": event.reason, "duration_ms": milliseconds(event.seconds)}
        case PoolEventKind.SLOT_EVICTED:
            pass
    name = LogEvent(event.kind.value)
    if event.kind is PoolEventKind.LEASE_RELEASED:
        log.debug(name, **fields)
    elif event.kind in _WARNINGS:
        log.warning(name, **fields)
    else:
        log.info(name, **fields)


def shared_of(
    snapshot: Snapshot,
    *,
    reactor: Reactor,
    books: Books,
    bus: Bus,
    hold: HoldBudget,
    connector: Connector,
    tell: PoolEvents,
) -> Shared:
    """The pool and everything beside it that sessions of the responses dialect share.

    Args:
        snapshot: The configuration to begin with.
        reactor: Serves the pool's sockets.
        books: Ledger and limits.
        bus: Hears of turns.
        hold: The process's count of held bytes.
        connector: Opens the sockets.
        tell: Hears of everything that happens in the pool.
    """
    last_used: dict[str, Identity] = {}
    pool = Pool(
        settings=snapshot.settings.pool,
        accounts=responses_accounts(snapshot),
        opener=opener_of(connector),
        wire=ReactorWire(reactor, hold, message_max_bytes=responses.MESSAGE_MAX_BYTES),
        tell=tell,
        foresight=lambda account: last_used.get(account.name),
    )
    chains = Chains(
        store=MemoryStore(trio.current_time, entries_max=NAMES_MAX, forgets=True),
        worker=secrets.token_hex(8),
        failed=books.limits.store_failed,
    )
    return Shared(
        reactor=reactor,
        books=books,
        bus=bus,
        hold=hold,
        connector=connector,
        pool=pool,
        chains=chains,
        last_used=last_used,
    )


def pools_of(pool: Pool, snapshot: Snapshot) -> tuple[AccountPool, ...]:
    """Each account's pool at this moment, by name; one that no turn has gone to yet is empty."""
    used = {each.account: each for each in pool.statistics()}
    empty = (
        AccountPool(
            account=account.name,
            cl_active=0,
            cl_waiting=0,
            sv_active=0,
            sv_idle=0,
            sv_tested=0,
            sv_login=0,
            maxwait_s=0.0,
            slots_max=snapshot.settings.pool.slots_max,
            leases=0,
            reused=0,
        )
        for account in responses_accounts(snapshot)
        if account.name not in used
    )
    return tuple(sorted((*used.values(), *empty), key=_account_of))


def _account_of(pool: AccountPool) -> str:
    return pool.account


def responses_accounts(snapshot: Snapshot) -> tuple[Account, ...]:
    """The accounts whose sockets the pool may keep."""
    return tuple(
        account
        for account in snapshot.accounts
        if account.enabled and account.speaks(responses.NAME)
    )
