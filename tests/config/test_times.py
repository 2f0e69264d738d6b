"""Moments and days."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.files import Surroundings
from relayd.config.mistakes import Wrong
from relayd.config.rules import Rule
from relayd.config.times import YEAR_MAX, Day, Moment

AROUND = Surroundings(environ={}, directory=Path("/nonexistent"))


def toml(text: str) -> object:
    return tomllib.loads(f"a = {text}")["a"]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2027-12-31T00:00:00Z", "2027-12-31T00:00:00+00:00"),
        ("2027-12-31 23:59:59.5-01:00", "2028-01-01T00:59:59.500000+00:00"),
        (f"{YEAR_MAX}-12-31T23:59:59-23:59", "9999-01-01T23:58:59+00:00"),
    ],
)
def test_a_moment_is_kept_in_utc(text: str, read: str) -> None:
    assert Moment().read(toml(text), AROUND).isoformat() == read


def test_a_day_is_read() -> None:
    assert Day().read(toml("2026-11-01"), AROUND) == datetime.date(2026, 11, 1)


@pytest.mark.parametrize(
    ("rule", "text", "remedy"),
    [
        (Moment(), "2027-12-31T00:00:00", "the time zone is missing"),
        (Moment(), "2027-12-31", "time and zone together"),
        (Moment(), "00:00:00", "time and zone together"),
        (Moment(), '"2027-12-31T00:00:00Z"', "without quotes"),
        (Moment(), "1830297600", "expected a date with time and zone"),
        (Moment(), "1970-12-31T00:00:00Z", "a year from 1971"),
        (Moment(), "9999-12-31T23:59:59-23:59", "to 9998"),
        (Day(), "2026-11-01T00:00:00Z", "leave the time out"),
        (Day(), "2026-11-01T00:00:00", "leave the time out"),
        (Day(), "12:00:00", "expected a date such as"),
        (Day(), '"2026-11-01"', "without quotes"),
        (Day(), "2026", "expected a date such as"),
    ],
)
def test_other_values_are_refused_with_the_remedy(
    rule: Rule[object], text: str, remedy: str
) -> None:
    with pytest.raises(Wrong, match=remedy):
        rule.read(toml(text), AROUND)


ZONES = st.timedeltas(
    datetime.timedelta(hours=-23, minutes=-59), datetime.timedelta(hours=23, minutes=59)
).map(datetime.timezone)


@given(st.datetimes(timezones=ZONES | st.none()))
def test_a_moment_is_the_one_that_was_written_or_none(value: datetime.datetime) -> None:
    try:
        read = Moment().read(value, AROUND)
    except Wrong:
        assert value.tzinfo is None or not 1971 <= value.year <= YEAR_MAX
    else:
        assert read == value
        assert read.utcoffset() == datetime.timedelta(0)
