"""What the log is told when the standing of an account changes."""

from __future__ import annotations

from collections.abc import Iterable

from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.routing.health import (
    AccountCooled,
    AccountDisabled,
    AccountEnabled,
    BreakerClosed,
    BreakerOpened,
    Change,
)

log = get_logger()


def log_changes(changes: Iterable[Change], *, cause: str = "probe") -> None:
    """Write one line for each change.

    Args:
        changes: From a seat or the roster.
        cause: Why an account was enabled, if one was.
    """
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
