"""Points in time as people type and read them on a command line."""

from __future__ import annotations

import datetime
import math
import re
from typing import Final

DAY_S: Final = 86_400
FORMS: Final = (
    "a date (2026-11-01), a date and time (2026-11-01T12:00Z), a time back from now (30m, 24h, 7d,"
    " 4w) or today"
)
YEAR_MIN: Final = 1970
YEAR_MAX: Final = 9998
"""The last year all of whose moments are in a year that Python knows, in every zone."""

_SPAN: Final = re.compile(r"(?P<count>[0-9]{1,9})(?P<unit>[smhdw])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME: Final = re.compile(
    _DATE.pattern
    + r"[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


def parse(text: str, now: float, *, is_end: bool) -> float:
    """The moment that ``text`` names, in seconds since the epoch.

    A date-time is one of RFC 3339 (section 5.6), whose seconds and zone may be left out. Where
    no zone is given, and for days, it is UTC.

    Args:
        text: One of ``FORMS``.
        now: What spans go back from.
        is_end: A day means its end, not its beginning.

    Raises:
        ValueError: With a message for the person who typed it.
    """
    if span := _SPAN.fullmatch(text):
        back = now - int(span["count"]) * _UNIT_S[span["unit"]]
        return _within(back, text)
    whole_day = DAY_S if is_end else 0
    if text == "today":
        return now // DAY_S * DAY_S + whole_day
    if not (_DATE.fullmatch(text) or _DATE_TIME.fullmatch(text)):
        raise ValueError(f"expected {FORMS}")
    try:
        moment = datetime.datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"{text}: there is no such date or time") from None
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValueError(f"expected a year from {YEAR_MIN} to {YEAR_MAX}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return _within(moment.timestamp() + whole_day * bool(_DATE.fullmatch(text)), text)


def shown(since: float, until: float) -> str:
    """The time from ``since`` to before ``until``, as short as it can be said.

    Whole days are named by the first and the last one; ``until`` may be infinite.
    """
    days_only = since % DAY_S == 0 and (math.isinf(until) or until % DAY_S == 0)
    first = day(since) if days_only else _minute(since)
    if math.isinf(until):
        return f"since {first} UTC"
    last = day(until - DAY_S) if days_only else _minute(until)
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"


def day(moment: float) -> str:
    """The day that ``moment`` is in, in UTC."""
    return f"{_utc(moment):%Y-%m-%d}"


def _within(moment: float, text: str) -> float:
    if moment < 0:
        raise ValueError(f"{text}: that is before {YEAR_MIN}")
    return moment


def _utc(moment: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC)


def _minute(moment: float) -> str:
    return f"{_utc(moment):%Y-%m-%d %H:%M}"
