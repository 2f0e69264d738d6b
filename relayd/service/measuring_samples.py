"""What is looked at when the metrics are scraped: sessions, accounts, pools, ledger, process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import attrs
import trio

from relayd.config.providers import Dialect
from relayd.config.snapshot import Snapshot
from relayd.core.hold import HoldBudget
from relayd.hub.answers import Totals
from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import NO_ACCOUNT, AccountState
from relayd.observe.metrics_values import Registry
from relayd.pool.ready_counts import AccountReady
from relayd.pool.statistics import AccountPool
from relayd.routing.breaker import BreakerState
from relayd.routing.roster import AccountStatistics
from relayd.service.measuring_hub import sample_hub
from relayd.service.measuring_pool import sample_pools
from relayd.service.measuring_process import sample_process
from relayd.service.measuring_ready import sample_ready
from relayd.service.measuring_traffic import LiveSession, Traffic

SESSIONS_AT_ONCE: Final = 128
"""Sessions looked at between two checkpoints: about 1 ms."""


class LedgerState(Protocol):
    """What is read of the :class:`~relayd.ledger.writer.Ledger`."""

    @property
    def rows_written(self) -> int:
        """Rows that the database has taken."""

    @property
    def rows_lost(self) -> int:
        """Rows that were dropped."""

    @property
    def pending(self) -> int:
        """Rows that wait."""

    @property
    def failing(self) -> bool:
        """Whether the last commit failed."""


@attrs.frozen(kw_only=True)
class Sources:
    """Where what is sampled comes from. Each call is short, and raises nothing.

    Attributes:
        snapshot: The configuration in force.
        sessions: The open ones, by id. A session leaves in the step in which it tells the bus of
            its end, so that it is never looked at afterwards.
        sessions_max: How many this process takes.
        accounts: Each account at this moment.
        pools: Each account's sockets in the pool, likewise.
        ready: Those that are opened ahead for the chat dialect, likewise.
        hub: The event hub, likewise.
        ledger: The writer.
        hold: The process's count of held bytes.
        draining: Whether relayd ends as soon as its sessions do.
        bugs: Bugs caught at a boundary, beside those that are told.
        lines_lost: Log lines that standard output did not take.
        wall: Seconds since the epoch.
    """

    snapshot: Callable[[], Snapshot]
    sessions: Callable[[], Mapping[str, LiveSession]]
    sessions_max: Callable[[], int]
    accounts: Callable[[], Iterable[AccountStatistics]]
    pools: Callable[[], Iterable[AccountPool]]
    ready: Callable[[], Iterable[AccountReady]]
    hub: Callable[[], Totals]
    ledger: LedgerState
    hold: HoldBudget
    draining: Callable[[], bool]
    bugs: Callable[[], int]
    lines_lost: Callable[[], int]
    wall: Callable[[], float]


@attrs.define(eq=False)
class Sampler:
    """Brings up to date what is not told.

    Attributes:
        sources: Where it comes from.
        registry: Where it goes.
        traffic: Looks at each open session.
        bugs_told: Those that ended a session, a request or a connection of the admin listener.
    """

    sources: Sources
    registry: Registry
    traffic: Traffic
    bugs_told: int = attrs.field(default=0, init=False)

    async def sample(self) -> None:
        """Look at everything, in slices of about 1 ms. Cancelling it is fine."""
        await self._sample_sessions()
        self._sample_accounts()
        sample_pools(self.sources.pools(), self.registry)
        sample_ready(self.sources.ready(), self.registry)
        sample_hub(self.sources.hub(), self.registry)
        sources, ledger, hold = self.sources, self.sources.ledger, self.sources.hold
        for metric, value in (
            (Metric.SESSIONS_MAX, sources.sessions_max()),
            (Metric.LEDGER_ROWS_WRITTEN_TOTAL, ledger.rows_written),
            (Metric.LEDGER_ROWS_LOST_TOTAL, ledger.rows_lost),
            (Metric.LEDGER_PENDING_ROWS, ledger.pending),
            (Metric.LEDGER_FAILING, int(ledger.failing)),
            (Metric.HELD_BYTES, hold.bytes_held),
            (Metric.HELD_BYTES_MAX, hold.bytes_max),
            (Metric.LOG_LINES_LOST_TOTAL, sources.lines_lost()),
            (Metric.BUGS_CAUGHT_TOTAL, sources.bugs() + self.bugs_told),
            (Metric.DRAINING, int(sources.draining())),
        ):
            self.registry.numbers(metric).set(value)
        await sample_process(self.registry)

    async def _sample_sessions(self) -> None:
        sessions = self.sources.sessions()
        # An account without sessions is told with 0, not left out.
        open_ones = {
            (dialect.value, NO_ACCOUNT if dialect is Dialect.RESPONSES else account.name): 0
            for account in self.sources.snapshot().accounts
            for dialect in filter(account.speaks, account.provider.dialects)
        }
        for number, session_id in enumerate(tuple(sessions), 1):
            session = sessions.get(session_id)
            if session is not None:  # else it ended during this look, and has told the rest
                facts = session.reporter.facts
                place = facts.dialect, facts.account or NO_ACCOUNT
                open_ones[place] = open_ones.get(place, 0) + 1
                self.traffic.look_at(session)
            if number % SESSIONS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        self.traffic.forget_all_but(sessions)
        self.registry.numbers(Metric.SESSIONS_OPEN).replace(
            (count, {"dialect": dialect, "account": account})
            for (dialect, account), count in open_ones.items()
        )

    def _sample_accounts(self) -> None:
        accounts, now = tuple(self.sources.accounts()), trio.current_time()
        states = {each.name: account_state(each, now) for each in accounts}
        self.registry.numbers(Metric.ACCOUNT_STATE).replace(
            (int(state is current), {"account": name, "state": state})
            for name, current in states.items()
            for state in AccountState
        )
        self.registry.numbers(Metric.ACCOUNT_UP).replace(
            (int(is_up(each, now)), {"account": each.name})
            for each in accounts
            if states[each.name] is not AccountState.OFF
        )
        self.registry.numbers(Metric.ACCOUNT_IN_FLIGHT).replace(
            (each.in_flight, {"account": each.name}) for each in accounts
        )
        self.registry.numbers(Metric.ACCOUNT_SESSIONS_MAX).replace(
            (each.sessions_max, {"account": each.name}) for each in accounts
        )


def account_state(account: AccountStatistics, now: float) -> AccountState:
    """What ``account`` is good for at ``now``."""
    if not account.enabled:
        return AccountState.OFF
    if account.disabled_by is not None:
        return AccountState.DISABLED
    if now < account.cooled_until:
        return AccountState.COOLED
    return _BY_BREAKER[account.breaker]


def is_up(account: AccountStatistics, now: float) -> bool:
    """Whether the scheduler would give ``account`` a session at ``now``, were there room.

    A breaker stays open until a session tries the account. On a relay that nobody uses that may be
    hours, so an open one only counts until it admits that trial.
    """
    match account_state(account, now):
        case AccountState.READY:
            return True
        case AccountState.OPEN:
            return account.retry_at is not None and now >= account.retry_at
        case _:
            return False


_BY_BREAKER: Final = {
    BreakerState.CLOSED: AccountState.READY,
    BreakerState.OPEN: AccountState.OPEN,
    BreakerState.PROBATION: AccountState.PROBATION,
}
