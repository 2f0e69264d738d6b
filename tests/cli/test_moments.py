"""Times as they are typed."""

from __future__ import annotations

import datetime
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.cli.moments import parse, shown
from tests.ledger.filled import at

NOW = at("2026-11-21T14:30")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01", "2026-11-01"),
        ("2024-02-29", "2024-02-29"),
        ("today", "2026-11-21"),
        ("2026-11-01T12:00", "2026-11-01T12:00"),
        ("2026-11-01 12:00:07", "2026-11-01T12:00:07"),
        ("2026-11-01T12:00:07.25", "2026-11-01T12:00:07.25"),
        ("2026-11-01T12:00Z", "2026-11-01T12:00"),
        ("2026-11-01t12:00z", "2026-11-01T12:00"),
        ("2026-11-01T00:30+01:00", "2026-10-31T23:30"),
        ("2026-11-01T12:00:00-05:30", "2026-11-01T17:30"),
        ("90s", "2026-11-21T14:28:30"),
        ("30m", "2026-11-21T14:00"),
        ("24h", "2026-11-20T14:30"),
        ("7d", "2026-11-14T14:30"),
        ("2w", "2026-11-07T14:30"),
    ],
)
def test_every_form_there_is(text: str, moment: str) -> None:
    assert parse(text, NOW, is_end=False) == at(moment)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2026-11-30", "2026-12-01"),
        ("today", "2026-11-22"),
        ("2026-11-30T00:00", "2026-11-30"),
        ("1h", "2026-11-21T13:30"),
    ],
)
def test_only_a_day_has_an_end_of_its_own(text: str, end: str) -> None:
    assert parse(text, NOW, is_end=True) == at(end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a date"),
        ("yesterday", "expected a date"),
        ("2026-11", "expected a date"),
        ("20261101", "expected a date"),
        ("2026-11-01T12", "expected a date"),
        ("2026-11-01T12:00+1", "expected a date"),
        ("٣d", "expected a date"),
        ("-1d", "expected a date"),
        ("1.5h", "expected a date"),
        ("7 d", "expected a date"),
        ("2026-11-31", "no such date"),
        ("2026-11-01T24:01", "no such date"),
        ("2026-11-01T12:00+25:00", "no such date"),
        ("1969-12-31", "a year from 1970"),
        ("9999-01-01", "a year from 1970"),
        ("1970-01-01T00:00+01:00", "before 1970"),
        ("999999999w", "before 1970"),
    ],
)
def test_anything_else_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text, NOW, is_end=False)


@given(st.text(max_size=30), st.booleans())
def test_no_text_is_anything_but_a_moment_or_a_value_error(text: str, is_end: bool) -> None:
    try:
        moment = parse(text, NOW, is_end=is_end)
    except ValueError:
        return
    assert 0 <= moment < at("9999-12-31")


MOMENTS = st.datetimes(
    datetime.datetime(1971, 1, 1),
    datetime.datetime(9998, 1, 1),
    timezones=st.integers(-1439, 1439).map(
        lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes))
    ),
)


@given(MOMENTS)
def test_what_rfc_3339_writes_is_read(moment: datetime.datetime) -> None:
    assert parse(moment.isoformat(), NOW, is_end=True) == moment.timestamp()


@pytest.mark.parametrize(
    ("since", "until", "text"),
    [
        ("2026-11-01", None, "since 2026-11-01 UTC"),
        ("2026-11-01T12:05", None, "since 2026-11-01 12:05 UTC"),
        ("2026-11-01", "2026-11-02", "2026-11-01 UTC"),
        ("2026-11-01", "2026-12-01", "2026-11-01 to 2026-11-30 UTC"),
        ("2026-11-01", "2026-11-02T06:00", "2026-11-01 00:00 to 2026-11-02 06:00 UTC"),
    ],
)
def test_a_time_is_shown_as_short_as_it_can_be_said(
    since: str, until: str | None, text: str
) -> None:
    assert shown(at(since), math.inf if until is None else at(until)) == text
