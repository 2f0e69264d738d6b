"""What the log and the bus are told when the standing of an account changes."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.snapshot import Account
from relayd.config.url import Url
from relayd.observe.bus import AccountChanged, AccountStanding, Bus, BusEvent
from relayd.observe.events import LogEvent
from relayd.routing.breaker import DEFAULT_POLICY
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.routing.health import (
    PROBE_EVERY_S,
    AccountCooled,
    AccountDisabled,
    AccountEnabled,
    BreakerClosed,
    BreakerOpened,
)
from relayd.routing.roster import Roster, Seat
from relayd.session.accounts import log_changes, tell_changes, tell_standing
from tests.conftest import LogLines

URL = Url(tls=False, host="127.0.0.1", port=1, path="/v1", is_literal=True)
FATAL = Failure(FailureKind.FATAL, "invalid_api_key", "The key is wrong.")
LIMITED = Failure(FailureKind.RATE_LIMITED, "rate_limit_exceeded", "Slower.", 17.0)
LOST = unreachable("connection_refused", "no")


@attrs.define
class Told:
    """One account, and what the bus hears of it."""

    roster: Roster = attrs.field(
        factory=lambda: Roster.of([Account(name="a", provider="compatible", base_url=URL)])
    )
    bus: Bus = attrs.field(factory=Bus)
    events: list[BusEvent] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.bus.subscribe(self.events.append)

    def seat(self) -> Seat:
        standing = self.roster.standing("a")
        assert standing is not None
        return Seat(standing, trio.current_time())

    def fail(self, failure: Failure, *, times: int = 1) -> None:
        for _ in range(times):
            with self.seat() as seat:
                tell_changes(seat.fail(failure, trio.current_time()), self.roster, self.bus)

    def succeed(self) -> None:
        with self.seat() as seat:
            changes = seat.succeed(first_frame_ms=None, now=trio.current_time())
            tell_changes(changes, self.roster, self.bus)


@pytest.fixture
def told() -> Told:
    return Told()


def changed(
    state: AccountStanding, reason: str | None = None, retry_in_s: float | None = None
) -> AccountChanged:
    return AccountChanged(account="a", state=state, reason=reason, retry_in_s=retry_in_s)


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


async def test_who_enabled_an_account_is_in_its_line(
    autojump_clock: MockClock, told: Told, log_lines: LogLines
) -> None:
    told.fail(FATAL)
    tell_changes(told.roster.enable("a"), told.roster, told.bus, cause="operator")

    assert said(log_lines)[1:] == [("info", LogEvent.ACCOUNT_ENABLED, "a", "operator")]
    assert told.events == [
        changed(AccountStanding.DISABLED, "invalid_api_key", PROBE_EVERY_S),
        changed(AccountStanding.CLOSED),
    ]


async def test_no_change_is_no_line_and_no_event(
    autojump_clock: MockClock, told: Told, log_lines: LogLines
) -> None:
    tell_changes((), told.roster, told.bus)

    assert log_lines.all == []
    assert told.events == []


async def test_a_rest_is_told_with_its_length(
    autojump_clock: MockClock, told: Told, log_lines: LogLines
) -> None:
    told.fail(LIMITED)

    assert told.events == [changed(AccountStanding.OPEN, "rate_limit_exceeded", 17.0)]


async def test_a_breaker_is_told_when_it_opens_and_when_a_trial_has_closed_it(
    autojump_clock: MockClock, told: Told, log_lines: LogLines
) -> None:
    told.fail(LOST, times=DEFAULT_POLICY.failures_in_a_row_max)
    await trio.sleep(DEFAULT_POLICY.open_s_min)
    told.succeed()

    assert told.events == [
        changed(AccountStanding.OPEN, "connection_refused", DEFAULT_POLICY.open_s_min),
        changed(AccountStanding.CLOSED),
    ]


async def test_an_account_is_told_as_it_stands_when_several_things_stand_against_it(
    autojump_clock: MockClock, told: Told, log_lines: LogLines
) -> None:
    told.fail(FATAL)
    told.fail(LIMITED)  # a session that was under way

    assert [event for event in told.events if isinstance(event, AccountChanged)] == [
        changed(AccountStanding.DISABLED, "invalid_api_key", PROBE_EVERY_S),
        changed(AccountStanding.DISABLED, "invalid_api_key", PROBE_EVERY_S),
    ]


async def test_an_account_that_is_switched_off_is_tried_at_no_time(
    autojump_clock: MockClock, told: Told
) -> None:
    told.fail(LIMITED)
    told.events.clear()
    told.roster.override("a", enabled=False)
    tell_standing("a", told.roster, told.bus, reason="operator")

    assert told.events == [changed(AccountStanding.DISABLED, "operator")]


async def test_an_account_that_is_gone_has_a_line_and_no_standing(
    autojump_clock: MockClock, told: Told, log_lines: LogLines
) -> None:
    with told.seat() as seat:
        told.roster.update([])
        tell_changes(seat.fail(FATAL, trio.current_time()), told.roster, told.bus)

    assert len(log_lines.all) == 1
    assert told.events == []
