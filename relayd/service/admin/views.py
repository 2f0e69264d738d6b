"""What runs, page by page: sessions, accounts, keys and pools.

Everything is taken at one moment per item and rendered in slices, so that a long page holds the
event loop no longer than a short one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import attrs
import msgspec
import trio

from relayd.config.providers import Dialect
from relayd.config.snapshot import Account, Key
from relayd.core.money import usd_of
from relayd.core.refusals import Refusal, RefusalCode
from relayd.observe.metrics_labels import AccountState
from relayd.pool.statistics import AccountPool
from relayd.routing.roster import AccountStatistics, Standing
from relayd.routing.roster import statistics_of as roster_statistics_of
from relayd.service.admin import paging
from relayd.service.admin.shapes import (
    ENCODER,
    AccountView,
    KeyView,
    PoolView,
    SessionView,
    dollars,
    moment,
)
from relayd.service.admin.state import LiveSession, Operations
from relayd.service.admin.usage import KeyStatistics, statistics_of
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json
from relayd.service.measuring_samples import account_state

NO_SUCH_SESSION: Final = Refusal(
    RefusalCode.NOT_FOUND, "No session of this id runs; it may have ended.", "session_id"
)
NO_STORE: Final = (("Cache-Control", "no-store"),)

_SESSION_FILTERS: Final = ("key", "account", "dialect")
_PAGE: Final = ("limit", "cursor")


def answer(value: object, status: int = 200) -> Json:
    """A response that nobody on the way keeps."""
    return Json(ENCODER.encode(value), status, NO_STORE)


@attrs.frozen
class Views:
    """Handlers of what can be looked at."""

    operations: Operations

    # -- sessions

    async def list_sessions(self, request: Request) -> Json:
        """``GET /admin/v1/sessions``."""
        given = paging.parameters(request, (*_SESSION_FILTERS, *_PAGE))
        limit, slices = paging.limit_of(given), paging.Slices()
        wanted = [(name, given[name]) for name in _SESSION_FILTERS if name in given]
        begun_after = _position(given.get("cursor"))
        shown: list[msgspec.Raw] = []
        last: LiveSession | None = None
        for session in _in_order(tuple(self.operations.sessions.values())):
            facts = session.reporter.facts
            if not (
                (begun_after is None or _place(session) > begun_after)
                and all(getattr(facts, name) == value for name, value in wanted)
            ):
                await slices.looked_at()
                continue
            if len(shown) == limit:
                assert last is not None, "a page has at least one item"
                return self._session_page(shown, _cursor(last))
            if facts.session_id in self.operations.sessions:  # else it has ended since
                shown.append(msgspec.Raw(ENCODER.encode(self.session_view(session))))
                last = session
            await slices.shown()
        return self._session_page(shown, None)

    async def show_session(self, request: Request) -> Json:
        """``GET /admin/v1/sessions/{session_id}``."""
        paging.parameters(request, ())
        session = self.operations.sessions.get(request.parameters["session_id"])
        if session is None:
            raise HttpRefused(NO_SUCH_SESSION)
        return answer(self.session_view(session))

    def session_view(self, session: LiveSession) -> SessionView:
        """One session at this moment."""
        reporter, up, down = session.reporter, session.client.flow, session.upstream.flow
        facts, meter = reporter.facts, reporter.meter
        duration_s = trio.current_time() - reporter.timing.started_at
        leaving = session.leaving
        return SessionView(
            session_id=facts.session_id,
            dialect=Dialect(facts.dialect),
            key=facts.key,
            tenant=facts.tenant,
            account=facts.account or None,
            model=facts.model,
            client_address=session.client_address,
            since=moment(self.operations.wall() - duration_s),
            duration_s=round(duration_s, 3),
            turns=reporter.turns,
            busy=session.conversation.busy,
            messages_up=0 if up is None else up.messages,
            messages_down=0 if down is None else down.messages,
            bytes_up=0 if up is None else up.bytes,
            bytes_down=0 if down is None else down.bytes,
            tokens_in=meter.tokens_in,
            tokens_out=meter.tokens_out,
            cost_usd=_dollars(meter.cost_usd),
            leaving=None if leaving is None else leaving.value,
        )

    def _session_page(self, shown: list[msgspec.Raw], next_cursor: str | None) -> Json:
        total = len(self.operations.sessions)
        return answer({"sessions": shown, "total": total, "next_cursor": next_cursor})

    # -- accounts

    async def list_accounts(self, request: Request) -> Json:
        """``GET /admin/v1/accounts``."""
        given = paging.parameters(request, _PAGE)
        limit, slices = paging.limit_of(given), paging.Slices()
        standings = self.operations.connector.roster.standings()
        rest = await paging.after(standings, _name_of_standing, given.get("cursor"))
        shown = []
        for standing in rest[:limit]:
            shown.append(msgspec.Raw(ENCODER.encode(self.account_view(standing))))
            await slices.shown()
        more = rest[limit - 1].account.name if len(rest) > limit else None
        return answer({"accounts": shown, "total": len(standings), "next_cursor": more})

    def account_view(self, standing: Standing) -> AccountView:
        """One account at this moment."""
        account, now = standing.account, trio.current_time()
        statistics = roster_statistics_of(standing)
        state = account_state(statistics, now)
        waits = statistics.retry_at is not None and statistics.retry_at > now
        retry_at = None
        if statistics.retry_at is not None and waits and state is not AccountState.OFF:
            retry_at = moment(self.operations.wall() + statistics.retry_at - now)
        reason, message = _why(state, statistics)
        return AccountView(
            name=account.name,
            provider=account.provider,
            dialects=tuple(filter(account.speaks, account.provider.dialects)),
            base_url=_url(account),
            state=state,
            overridden=statistics.overridden,
            takes_sessions=takes_sessions(standing, now),
            sessions=statistics.in_flight,
            sessions_max=account.sessions_max,
            priority=account.priority,
            weight=account.weight,
            error_average=round(statistics.error_average, 4),
            first_frame_ms=_rounded(statistics.first_frame_ms),
            reason=reason,
            message=message,
            retry_at=retry_at,
        )

    # -- keys

    async def list_keys(self, request: Request) -> Json:
        """``GET /admin/v1/keys``."""
        given = paging.parameters(request, _PAGE)
        limit, slices = paging.limit_of(given), paging.Slices()
        operations = self.operations
        keys = tuple(operations.snapshot().keys.values())
        rest = await paging.after(keys, _name_of_key, given.get("cursor"))
        shown = []
        for key in rest[:limit]:
            use = await statistics_of(key, operations.limits, operations.spent)
            view = key_view(key, use)
            shown.append(msgspec.Raw(ENCODER.encode(view)))
            await slices.shown()
        more = rest[limit - 1].name if len(rest) > limit else None
        return answer({"keys": shown, "total": len(keys), "next_cursor": more})

    # -- pools

    async def list_pools(self, request: Request) -> Json:
        """``GET /admin/v1/pools``."""
        given = paging.parameters(request, _PAGE)
        limit, slices = paging.limit_of(given), paging.Slices()
        pools = self.operations.pools()
        rest = await paging.after(pools, _name_of_pool, given.get("cursor"))
        shown = []
        for pool in rest[:limit]:
            shown.append(msgspec.Raw(ENCODER.encode(pool_view(pool))))
            await slices.shown()
        more = rest[limit - 1].account if len(rest) > limit else None
        return answer({"pools": shown, "total": len(pools), "next_cursor": more})


def pool_view(pool: AccountPool) -> PoolView:
    """The sockets of one account."""
    return PoolView(
        account=pool.account,
        cl_active=pool.cl_active,
        cl_waiting=pool.cl_waiting,
        sv_active=pool.sv_active,
        sv_idle=pool.sv_idle,
        sv_tested=pool.sv_tested,
        sv_login=pool.sv_login,
        maxwait_s=round(pool.maxwait_s, 3),
        slots_max=pool.slots_max,
        leases=pool.leases,
        reused=pool.reused,
    )


def key_view(key: Key, use: KeyStatistics) -> KeyView:
    """A key and what it uses."""
    spent, reserved, left = use.spent_nano, use.reserved_nano, None
    if spent is not None and reserved is not None:
        left = dollars(usd_of(max(key.budget_nano - spent - reserved, 0)))
    return KeyView(
        name=key.name,
        tenant=key.tenant,
        enabled=key.enabled,
        expires=key.expires,
        models=key.models,
        dialects=key.dialects,
        allowed_ips=tuple(map(str, key.allowed_ips)),
        sessions=use.sessions,
        sessions_max=key.sessions_max,
        requests_per_minute=key.requests_per_minute,
        requests_left=_rounded(use.requests_left),
        tokens_per_minute=key.tokens_per_minute,
        tokens_left=_rounded(use.tokens_left),
        budget_usd=dollars(usd_of(key.budget_nano)),
        budget_period=key.budget_period,
        price_factor=dollars(key.price_factor),
        spent_usd=None if spent is None else dollars(usd_of(spent)),
        reserved_usd=None if reserved is None else dollars(usd_of(reserved)),
        left_usd=left,
        renewed_at=None if use.renewed_at is None else moment(use.renewed_at),
    )


def takes_sessions(standing: Standing, now: float) -> bool:
    """Whether an account would be given a session now."""
    health = standing.health
    return (
        standing.account.enabled
        and health.disabled is None
        and now >= health.cooled_until
        and health.breaker.admits(now)
        and not standing.is_full
    )


def _why(state: AccountState, statistics: AccountStatistics) -> tuple[str | None, str | None]:
    """The word and the sentence for why an account is out of use."""
    match state:
        case AccountState.OFF if statistics.overridden:
            return "operator", "an operator disabled it; until the next reload or restart"
        case AccountState.OFF:
            return "configuration", "disabled in the configuration"
        case AccountState.DISABLED:
            return statistics.disabled_by, statistics.disabled_message
        case _:
            return None, None


# -- the order of sessions

Place = tuple[float, str]
"""When a session began and its id: where it stands among all, for as long as relayd runs."""


def _place(session: LiveSession) -> Place:
    return session.reporter.timing.started_at, session.reporter.facts.session_id


def _began_at(session: LiveSession) -> float:
    return session.reporter.timing.started_at


def _in_order(sessions: tuple[LiveSession, ...]) -> Iterator[LiveSession]:
    """``sessions``, which began one after the other, by their places: only ties are put right."""
    for _, together in itertools.groupby(sessions, _began_at):
        yield from sorted(together, key=_place)


def _cursor(session: LiveSession) -> str:
    began_at, session_id = _place(session)
    return f"{began_at!r}@{session_id}"


def _position(cursor: str | None) -> Place | None:
    """The place that a cursor names. Raises :class:`HttpRefused`."""
    if cursor is None:
        return None
    began_at, at, session_id = cursor.partition("@")
    try:
        return float(began_at if at else ""), session_id
    except ValueError:
        raise paging.invalid("This is no cursor that was given here.", "cursor") from None


def _name_of_standing(standing: Standing) -> str:
    return standing.account.name


def _name_of_key(key: Key) -> str:
    return key.name


def _name_of_pool(pool: AccountPool) -> str:
    return pool.account


def _url(account: Account) -> str | None:
    url = account.base_url
    return None if url is None else f"{'https' if url.tls else 'http'}://{url.authority}{url.path}"


def _dollars(usd: Decimal | None) -> Decimal | None:
    return None if usd is None else dollars(usd)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
