"""Which account a session goes to: filter, then priority, then a weighted draw.

One filter serves both questions, "which one?" and "why none?", so the answer to the second is
never at odds with the first. The draw is soft: a slow, failing or loaded account gets fewer
sessions, never none, so that its averages can recover.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import attrs

from relayd.config.providers import Dialect
from relayd.core.redact import redact
from relayd.core.refusals import Refusal, RefusalCode
from relayd.routing.breaker import BreakerState
from relayd.routing.roster import Seat

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from relayd.routing.roster import Roster, Standing

BUSY_RETRY_S: Final = 1.0
"""Nobody knows when a session ends; a client that asks again after this finds out cheaply."""

HALF_LOADED: Final = 200
"""Sessions at which an account without a limit counts as half loaded."""

FACTOR_MIN: Final = 0.1
"""The least that load, errors or slowness leave of a weight, each."""

_DIALECTS: Final = frozenset(map(str, Dialect))

NAMES_SHOWN_MAX: Final = 8
"""Models named in a refusal."""

MODEL_SHOWN_MAX: Final = 80
"""Characters of the client's model name that are repeated in a refusal."""


@attrs.frozen
class Demand:
    """What a session needs.

    Attributes:
        dialect: One of :class:`~relayd.config.providers.Dialect`.
        model: The name the client asked for; ``None`` where any account of the dialect will do.
        account: The only account that will do. Passthrough always names one.
        among: The only accounts that will do, where not every one that serves the model does.
    """

    dialect: str
    model: str | None = None
    account: str | None = None
    among: frozenset[str] | None = None

    def __attrs_post_init__(self) -> None:
        assert self.dialect in _DIALECTS
        assert self.dialect != Dialect.PASSTHROUGH or self.account is not None


class Bar(enum.StrEnum):
    """Why an account that serves the model cannot take the session. The value tells the client."""

    TRIED = "not able to serve it just now"
    DISABLED = "disabled after its provider refused it"
    COOLING = "resting after a rate limit"
    BROKEN = "failing and left alone for a while"
    FULL = "busy"


def choose(
    roster: Roster,
    demand: Demand,
    *,
    now: float,
    random_unit: float,
    tried: Collection[str] = (),
) -> Seat | None:
    """Take a seat at the account that the session should try next.

    Args:
        roster: The accounts.
        demand: What the session needs.
        now: Seconds.
        random_unit: At least 0, less than 1: decides the draw.
        tried: Names of accounts this session has been to.

    Returns:
        A seat, which the caller must release; ``None`` if there is none, see :func:`why_none`.
    """
    eligible = [s for s in _candidates(roster, demand) if _bar(s, tried, now) is None]
    if not eligible:
        return None
    if len(eligible) == 1:
        return Seat(eligible[0], now)
    priority = min(standing.account.priority for standing in eligible)
    tier = [standing for standing in eligible if standing.account.priority == priority]
    return Seat(_drawn(tier, random_unit), now)


def why_none(roster: Roster, demand: Demand, *, now: float, tried: Collection[str] = ()) -> Refusal:
    """The refusal for a client that :func:`choose` found no account for, with the same arguments.

    Returns:
        ``account_busy`` if a session that ends would make room, else ``no_account``; with the
        soonest time at which trying again makes sense, where there is one.
    """
    candidates = _candidates(roster, demand)
    if not candidates:
        return Refusal(RefusalCode.NO_ACCOUNT, _nobody(roster, demand))
    bars = {standing: _bar(standing, tried, now) for standing in candidates}
    kinds = sorted({bar for bar in bars.values() if bar is not None})
    waits = [wait for s, bar in bars.items() if (wait := _wait_s(s, bar, now)) is not None]
    code = RefusalCode.ACCOUNT_BUSY if Bar.FULL in kinds else RefusalCode.NO_ACCOUNT
    words = " or ".join(kinds) or "busy"
    message = f"{_everybody(demand)} is {words}; try again later."
    return Refusal(code, message, retry_after_s=min(waits, default=None))


def _candidates(roster: Roster, demand: Demand) -> Sequence[Standing]:
    """The enabled accounts that could take the session, were they free and well."""
    if demand.account is None:
        serving, among = roster.serving(demand.dialect, demand.model), demand.among
        return serving if among is None else [s for s in serving if s.account.name in among]
    standing = roster.standing(demand.account)
    serving = roster.serving(demand.dialect, demand.model)
    return (standing,) if standing is not None and standing in serving else ()


def _bar(standing: Standing, tried: Collection[str], now: float) -> Bar | None:
    health = standing.health
    if standing.account.name in tried:
        return Bar.TRIED
    if health.disabled is not None:
        return Bar.DISABLED
    if now < health.cooled_until:
        return Bar.COOLING
    if not health.breaker.admits(now):
        return Bar.BROKEN
    if standing.is_full:
        return Bar.FULL
    return None


def _drawn(tier: Sequence[Standing], random_unit: float) -> Standing:
    """One of ``tier``, by weight and what load, errors and slowness leave of it."""
    times = [s.health.first_frame_ms for s in tier if s.health.first_frame_ms is not None]
    fastest_ms = min(times, default=0.0)
    sums = list(accumulate(_chance(standing, fastest_ms) for standing in tier))
    point = random_unit * sums[-1]
    return tier[bisect_right(sums, point, hi=len(tier) - 1)]


def _chance(standing: Standing, fastest_ms: float) -> float:
    account, health = standing.account, standing.health
    limit = account.sessions_max or standing.in_flight + HALF_LOADED
    free = 1 - standing.in_flight / limit
    sound = 1 - health.error_average
    # An account that has not been measured counts as the fastest, so that it gets measured.
    swift = fastest_ms / health.first_frame_ms if health.first_frame_ms else 1.0
    return account.weight * max(free, FACTOR_MIN) * max(sound, FACTOR_MIN) * max(swift, FACTOR_MIN)


def _wait_s(standing: Standing, bar: Bar | None, now: float) -> float | None:
    """How long until the account may be of use again; ``None`` if time alone does not help."""
    health = standing.health
    match bar:
        case Bar.TRIED:
            return None
        case Bar.DISABLED:
            return max(health.probe_at - now, BUSY_RETRY_S)
        case Bar.COOLING:
            return health.cooled_until - now
        case Bar.BROKEN if health.breaker.state is BreakerState.OPEN:
            return health.breaker.retry_at - now
        case Bar.BROKEN | Bar.FULL | None:
            return BUSY_RETRY_S


def _everybody(demand: Demand) -> str:
    if demand.account is not None:
        return f"The account {_quoted(demand.account)}"
    if demand.model is not None:
        return f"Every account that serves {_quoted(demand.model)}"
    return f"Every account that speaks {demand.dialect}"


def _nobody(roster: Roster, demand: Demand) -> str:
    """Nothing in the configuration fits; name what would."""
    if demand.account is not None:
        return f"The account {_quoted(demand.account)} is not enabled for this."
    enabled = [s.account for s in roster.speaking(demand.dialect) if s.account.enabled]
    if not enabled or demand.model is None:
        return f"No account that speaks {demand.dialect} is enabled."
    names = sorted({name for account in enabled for name in (*account.models, *account.model_map)})
    served = ", ".join(names[:NAMES_SHOWN_MAX]) + (", …" if len(names) > NAMES_SHOWN_MAX else "")
    return f"No enabled account serves {_quoted(demand.model)}; accounts serve: {served}."


def _quoted(asked: str) -> str:
    """What the client asked for, in its own words: hostile, so redacted and cut."""
    return f"'{redact(asked)[:MODEL_SHOWN_MAX]}'"
