"""The periods of budgets, in UTC: days, weeks from Monday (ISO 8601), months, or all of time.

All numbers are seconds since the epoch, in which a day always has 86,400.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from relayd.config.keys import BudgetPeriod

_DAY_S: Final = 86_400
_WEEK_S: Final = 7 * _DAY_S
_MONTH_MAX_S: Final = 31 * _DAY_S
_MONDAY_S: Final = 4 * _DAY_S
"""The first Monday of the epoch, which began on a Thursday."""


def period_start(period: BudgetPeriod, wall: float) -> int:
    """When the period that ``wall`` lies in began, in seconds since the epoch; 0 for ``total``."""
    match period:
        case BudgetPeriod.DAY:
            return int(wall // _DAY_S) * _DAY_S
        case BudgetPeriod.WEEK:
            return int((wall - _MONDAY_S) // _WEEK_S) * _WEEK_S + _MONDAY_S
        case BudgetPeriod.MONTH:
            return _first_of_month(wall)
        case BudgetPeriod.TOTAL:
            return 0


def period_end(period: BudgetPeriod, wall: float) -> int | None:
    """When the next period begins, in seconds since the epoch; ``None`` for ``total``."""
    match period:
        case BudgetPeriod.DAY:
            return period_start(period, wall) + _DAY_S
        case BudgetPeriod.WEEK:
            return period_start(period, wall) + _WEEK_S
        case BudgetPeriod.MONTH:
            return _first_of_month(_first_of_month(wall) + _MONTH_MAX_S)
        case BudgetPeriod.TOTAL:
            return None


def _first_of_month(wall: float) -> int:
    # Floored first: a datetime rounds to a microsecond, which may lie beyond the month's end.
    moment = datetime.fromtimestamp(math.floor(wall), UTC)
    start = moment.replace(day=1, hour=0, minute=0, second=0)
    return int(start.timestamp())
