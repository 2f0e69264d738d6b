"""``GET /api/v1/accounts``: how each account is doing, for operators' eyes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal

import attrs
import msgspec
import trio
from msgspec import Meta

from relayd.config.providers import Dialect, Provider
from relayd.observe.metrics_labels import AccountState
from relayd.pool.statistics import AccountPool
from relayd.routing.roster import AccountStatistics, Roster, Standing, statistics_of
from relayd.service.admin import paging
from relayd.service.admin.shapes import ENCODER, Moment, PoolView, Shape, moment
from relayd.service.admin.views import answer, pool_view
from relayd.service.http.request import Request
from relayd.service.http.responses import Json
from relayd.service.hub.query import parameters
from relayd.service.measuring_samples import account_state

BreakerWord = Literal["closed", "open", "probation", "disabled"]

_WORDS: Final[dict[AccountState, BreakerWord]] = {
    AccountState.READY: "closed",
    AccountState.PROBATION: "probation",
    AccountState.OPEN: "open",
    AccountState.COOLED: "open",
    AccountState.DISABLED: "disabled",
    AccountState.OFF: "disabled",
}
"""A rate limit keeps sessions away as an open breaker does; ``reason`` tells the two apart."""


class AccountLine(Shape):
    """An account in the dashboard."""

    name: str
    provider: Provider
    dialects: tuple[Dialect, ...]
    state: Annotated[BreakerWord, Meta(description="Of its breaker; disabled takes nothing.")]
    reason: Annotated[str | None, Meta(description="The word for why it is not closed.")]
    sessions: int
    sessions_max: Annotated[int, Meta(description="0: no limit.")]
    enabled: bool
    until: Annotated[Moment | None, Meta(description="When it is tried again, if time helps.")]
    pool: Annotated[PoolView | None, Meta(description="Null where it has no pooled sockets.")]


@attrs.frozen(kw_only=True)
class Accounts:
    """Shows the accounts.

    Attributes:
        roster: Knows them.
        pools: Each account's sockets, by the account's name.
        wall: Seconds since the epoch.
    """

    roster: Roster
    pools: Callable[[], Sequence[AccountPool]]
    wall: Callable[[], float]

    async def list_accounts(self, request: Request) -> Json:
        """A page of them, in the order of the configuration. Raises ``HttpRefused`` (400)."""
        given = parameters(request, ("limit", "cursor"))
        limit, slices = paging.limit_of(given), paging.Slices()
        rest = await paging.after(self.roster.standings(), _name_of, given.get("cursor"))
        pools = {pool.account: pool for pool in self.pools()}
        shown: list[msgspec.Raw] = []
        for standing in rest[:limit]:
            line = self.line_of(standing, pools.get(standing.account.name))
            shown.append(msgspec.Raw(ENCODER.encode(line)))
            await slices.shown()
        more = rest[limit - 1].account.name if len(rest) > limit else None
        return answer({"data": shown, "next": more})

    def line_of(self, standing: Standing, pool: AccountPool | None) -> AccountLine:
        """One account at this moment."""
        account, now = standing.account, trio.current_time()
        statistics = statistics_of(standing)
        state, retry_at = account_state(statistics, now), statistics.retry_at
        until = None
        if retry_at is not None and retry_at > now and state is not AccountState.OFF:
            until = moment(self.wall() + retry_at - now)
        return AccountLine(
            name=account.name,
            provider=account.provider,
            dialects=tuple(filter(account.speaks, account.provider.dialects)),
            state=_WORDS[state],
            reason=_reason(state, statistics),
            sessions=statistics.in_flight,
            sessions_max=account.sessions_max,
            enabled=statistics.enabled,
            until=until,
            pool=None if pool is None else pool_view(pool),
        )


def _reason(state: AccountState, statistics: AccountStatistics) -> str | None:
    match state:
        case AccountState.READY:
            return None
        case AccountState.OFF:
            return "operator" if statistics.overridden else "configuration"
        case AccountState.DISABLED:
            return statistics.disabled_by
        case AccountState.COOLED:
            return "rate_limited"
        case AccountState.OPEN | AccountState.PROBATION:
            return "failures"


def _name_of(standing: Standing) -> str:
    return standing.account.name
