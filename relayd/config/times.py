"""Moments and days, as TOML writes them (TOML 1.0, "Offset Date-Time" and "Local Date")."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final

import attrs

from relayd.config.mistakes import Wrong
from relayd.config.rules import expected

if TYPE_CHECKING:
    from relayd.config.files import Surroundings

YEAR_MIN: Final = 1970
YEAR_MAX: Final = 9998
"""The last year all of whose moments are in a year that Python knows, in every zone."""

_WITH_ZONE: Final = "2027-12-31T00:00:00Z"


@attrs.frozen
class Moment:
    """A point in time: a date with time and zone, so that it is the same on every machine."""

    kind: str = attrs.field(default=f"a date with time and zone such as {_WITH_ZONE}", init=False)

    def read(self, value: object, around: Surroundings) -> datetime.datetime:
        """The moment, in UTC."""
        match value:
            case datetime.datetime(tzinfo=None):
                raise Wrong.because(f"the time zone is missing; write it as in {_WITH_ZONE}")
            case datetime.datetime():
                if not YEAR_MIN < value.year <= YEAR_MAX:
                    raise Wrong.because(f"expected a year from {YEAR_MIN + 1} to {YEAR_MAX}")
                return value.astimezone(datetime.UTC)
            case datetime.date() | datetime.time():
                raise Wrong.because(f"expected date, time and zone together, as in {_WITH_ZONE}")
            case str():
                raise expected(self.kind, value, hint="write it without quotes")
            case _:
                raise expected(self.kind, value)


@attrs.frozen
class Day:
    """A date of the calendar."""

    kind: str = attrs.field(default="a date such as 2026-11-01", init=False)

    def read(self, value: object, around: Surroundings) -> datetime.date:
        """The date."""
        match value:
            case datetime.datetime():
                raise Wrong.because("expected a date alone; leave the time out")
            case datetime.date():
                return value
            case str():
                raise expected(self.kind, value, hint="write it without quotes")
            case _:
                raise expected(self.kind, value)
