"""What the log and the bus are told when the standing of an account changes."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from relayd.observe.bus import AccountChanged, AccountStanding, Bus
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.routing.breaker import BreakerState
from relayd.routing.health import (
    AccountCooled,
    AccountDisabled,
    AccountEnabled,
    BreakerClosed,
    BreakerOpened,
    Change,
)
from relayd.routing.roster import Roster, Standing

log = get_logger()

_BY_BREAKER = {
    BreakerState.CLOSED: AccountStanding.CLOSED,
    BreakerState.OPEN: AccountStanding.OPEN,
    BreakerState.PROBATION: AccountStanding.PROBATION,
}


def tell_changes(
    changes: Iterable[Change], roster: Roster, bus: Bus, *, cause: str = "probe"
) -> None:
    """Write one line for each change, and tell the bus once how each account stands now.

    Args:
        changes: From a seat or the roster.
        roster: Knows how accounts stand.
        bus: Hears of it.
        cause: Why an account was enabled, if one was.
    """
    changes = tuple(changes)
    if not changes:
        return
    log_changes(changes, cause=cause)
    reasons = {change.account: _reason(change) for change in changes}
    for name, reason in reasons.items():
        tell_standing(name, roster, bus, reason=reason)


def tell_standing(name: str, roster: Roster, bus: Bus, *, reason: str | None) -> None:
    """Tell the bus how an account stands now; nothing of one that the roster has no more.

    Args:
        name: The account's.
        roster: As above.
        bus: As above.
        reason: Why it stands so, should it take no sessions.
    """
    standing = roster.standing(name)
    if standing is None:
        return
    now = trio.current_time()
    state, retry_at = _state(standing, now), standing.health.retry_at
    is_closed, disabled = state is AccountStanding.CLOSED, standing.health.disabled
    if standing.account.enabled and disabled is not None:  # whatever else stands against it
        reason = disabled.code
    waits = not is_closed and standing.account.enabled and retry_at is not None and retry_at > now
    bus.publish(
        AccountChanged(
            account=name,
            state=state,
            reason=None if is_closed else reason,
            retry_in_s=retry_at - now if waits and retry_at is not None else None,
        )
    )


def log_changes(changes: Iterable[Change], *, cause: str = "probe") -> None:
    """Write one line for each change; the arguments are those of :func:`tell_changes`."""
    for change in changes:
        match change:
            case AccountDisabled(account, code, message):
                log.error(LogEvent.ACCOUNT_DISABLED, account=account, reason=code, message=message)
            case AccountEnabled(account):
                log.info(LogEvent.ACCOUNT_ENABLED, account=account, cause=cause)
            case AccountCooled(account, code, seconds):
                log.warning(
                    LogEvent.ACCOUNT_COOLED, account=account, reason=code, until_s=round(seconds, 1)
                )
            case BreakerOpened(account, _, seconds):
                log.warning(LogEvent.BREAKER_OPENED, account=account, until_s=round(seconds, 1))
            case BreakerClosed(account):
                log.info(LogEvent.BREAKER_CLOSED, account=account)


def _reason(change: Change) -> str | None:
    match change:
        case AccountDisabled(_, code, _) | AccountCooled(_, code, _) | BreakerOpened(_, code, _):
            return code
        case AccountEnabled() | BreakerClosed():
            return None


def _state(standing: Standing, now: float) -> AccountStanding:
    health = standing.health
    if not standing.account.enabled or health.disabled is not None:
        return AccountStanding.DISABLED
    if now < health.cooled_until:
        return AccountStanding.OPEN
    return _BY_BREAKER[health.breaker.state]
