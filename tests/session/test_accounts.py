"""What the log is told when the standing of an account changes."""

from __future__ import annotations

from relayd.observe.events import LogEvent
from relayd.routing.health import (
    AccountCooled,
    AccountDisabled,
    AccountEnabled,
    BreakerClosed,
    BreakerOpened,
)
from relayd.session.accounts import log_changes
from tests.conftest import LogLines


def said(log_lines: LogLines) -> list[tuple[object, ...]]:
    """Each line's level, event and fields, without the time."""
    return [tuple(value for name, value in line.items() if name != "ts") for line in log_lines.all]


def test_every_change_is_one_line_in_order(log_lines: LogLines) -> None:
    log_changes(
        (
            AccountDisabled("a", "invalid_api_key", "The key is wrong."),
            AccountCooled("b", "rate_limit_exceeded", 20.0),
            BreakerOpened("c", "closed_early", 5.0),
            BreakerClosed("c"),
            AccountEnabled("a"),
        )
    )

    assert said(log_lines) == [
        ("error", LogEvent.ACCOUNT_DISABLED, "a", "invalid_api_key", "The key is wrong."),
        ("warning", LogEvent.ACCOUNT_COOLED, "b", "rate_limit_exceeded", 20.0),
        ("warning", LogEvent.BREAKER_OPENED, "c", 5.0),
        ("info", LogEvent.BREAKER_CLOSED, "c"),
        ("info", LogEvent.ACCOUNT_ENABLED, "a", "probe"),
    ]


def test_who_enabled_an_account_is_told(log_lines: LogLines) -> None:
    log_changes([AccountEnabled("a")], cause="operator")

    assert said(log_lines) == [("info", LogEvent.ACCOUNT_ENABLED, "a", "operator")]


def test_no_change_is_no_line(log_lines: LogLines) -> None:
    log_changes(())

    assert log_lines.all == []
