"""The periods of budgets, against the calendar."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.keys import BudgetPeriod
from relayd.ledger.periods import period_end, period_start

DAY, WEEK, MONTH, TOTAL = BudgetPeriod
WALLS = st.floats(0, 250_000_000_000)


def at(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}Z").timestamp())


@pytest.mark.parametrize(
    ("period", "moment", "start", "end"),
    [
        (DAY, "2026-03-01T00:00:00", "2026-03-01T00:00:00", "2026-03-02T00:00:00"),
        (DAY, "2026-02-28T23:59:59", "2026-02-28T00:00:00", "2026-03-01T00:00:00"),
        (WEEK, "2026-01-04T23:59:59", "2025-12-29T00:00:00", "2026-01-05T00:00:00"),  # Sunday
        (WEEK, "2026-01-05T00:00:00", "2026-01-05T00:00:00", "2026-01-12T00:00:00"),  # Monday
        (MONTH, "2025-12-31T23:59:59", "2025-12-01T00:00:00", "2026-01-01T00:00:00"),
        (MONTH, "2028-02-29T12:00:00", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        (MONTH, "2026-01-31T12:00:00", "2026-01-01T00:00:00", "2026-02-01T00:00:00"),
    ],
)
def test_a_period_has_its_borders_at_midnight(
    period: BudgetPeriod, moment: str, start: str, end: str
) -> None:
    assert period_start(period, at(moment)) == at(start)
    assert period_end(period, at(moment)) == at(end)


def test_all_of_time_has_no_end() -> None:
    assert period_start(TOTAL, at("2026-01-01T00:00:00")) == 0
    assert period_end(TOTAL, at("2026-01-01T00:00:00")) is None


@given(st.sampled_from([DAY, WEEK, MONTH]), WALLS)
def test_every_moment_lies_in_its_period_and_the_next_begins_at_its_end(
    period: BudgetPeriod, wall: float
) -> None:
    start, end = period_start(period, wall), period_end(period, wall)

    assert end is not None
    assert start <= wall < end
    assert period_start(period, start) == start
    assert period_start(period, math.nextafter(end, 0)) == start
    assert period_start(period, end) == end


@given(st.sampled_from([DAY, WEEK, MONTH]), WALLS)
def test_it_is_the_one_of_the_calendar(period: BudgetPeriod, wall: float) -> None:
    moment = datetime.fromtimestamp(math.floor(wall), UTC)
    start = datetime.fromtimestamp(period_start(period, wall), UTC)

    assert (start.hour, start.minute, start.second) == (0, 0, 0)
    match period:
        case BudgetPeriod.DAY:
            assert start.date() == moment.date()
        case BudgetPeriod.WEEK:
            assert start.isocalendar()[:2] == moment.isocalendar()[:2]
            assert start.isoweekday() == 1
        case _:
            assert (start.year, start.month, start.day) == (moment.year, moment.month, 1)
