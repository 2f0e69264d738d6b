"""Half an hour in steps of five seconds: what was added up in each, and how fast answers began.

A ring of steps turns with the clock that it is told. It goes by the calendar, since it is drawn
over the hours of a day; should that clock be set back, the steps go on from where it stands then.
"""

from __future__ import annotations

import math
from array import array
from typing import Final, TypeVar

import attrs

from relayd.core.money import NANO
from relayd.hub.figures_spread import added, bucket_of, no_counts, percentile_ms

STEP_S: Final = 5
STEPS: Final = 360
"""Finished steps that are kept; one more is being filled."""

RECENT_STEPS: Final = 12
"""What "now" looks back on for what is rare: a minute, and the step being filled."""

RATE_STEPS: Final = 2
"""Likewise for what is counted by the second."""

_N = TypeVar("_N", int, float)
_RING: Final = STEPS + 1
_SPREADS: Final = RECENT_STEPS + 1


def _column() -> array[int]:
    return array("q", bytes(8 * _RING))


def _blank_column() -> array[float]:
    return array("d", [math.nan]) * _RING


@attrs.define(eq=False)
class Series:
    """What one tenant did, or all of them.

    Attributes:
        began_at: When it was begun, in seconds since the epoch.
    """

    began_at: float
    _number: int = attrs.field(init=False)  # of the step being filled, since the epoch
    _at: int = attrs.field(default=0, init=False)  # its place in the ring
    _turns: array[int] = attrs.field(factory=_column, init=False)
    _failed: array[int] = attrs.field(factory=_column, init=False)
    _tokens_in: array[int] = attrs.field(factory=_column, init=False)
    _tokens_out: array[int] = attrs.field(factory=_column, init=False)
    _cost_nano: array[int] = attrs.field(factory=_column, init=False)
    _p50_ms: array[float] = attrs.field(factory=_blank_column, init=False)
    _p99_ms: array[float] = attrs.field(factory=_blank_column, init=False)
    _spreads: list[array[int]] = attrs.field(init=False)  # of the last steps, in a ring too
    _spread_at: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._number = int(self.began_at // STEP_S)
        self._spreads = [no_counts() for _ in range(_SPREADS)]

    # -- what is told

    def turn(self, now: float, *, failed: bool, ttft_ms: float | None) -> None:
        """A turn has ended."""
        self.turn_to(now)
        self._turns[self._at] += 1
        if failed:
            self._failed[self._at] += 1
        if ttft_ms is not None:
            self._spreads[self._spread_at][bucket_of(ttft_ms)] += 1

    def used(self, now: float, tokens_in: int, tokens_out: int, cost_nano: int) -> None:
        """Something was used."""
        self.turn_to(now)
        self._tokens_in[self._at] += tokens_in
        self._tokens_out[self._at] += tokens_out
        self._cost_nano[self._at] += cost_nano

    def turn_to(self, now: float) -> None:
        """Turn to the step of ``now``: within a step one comparison, after a rest 360 steps."""
        number = int(now // STEP_S)
        passed, self._number = number - self._number, number
        if passed <= 0:
            return  # also where the clock was set back
        for _ in range(min(passed, _RING)):
            self._finish()

    def _finish(self) -> None:
        """The step being filled is over, and the oldest one is forgotten."""
        spread = self._spreads[self._spread_at]
        if any(spread):
            self._p50_ms[self._at] = percentile_ms(spread, 0.5) or 0.0
            self._p99_ms[self._at] = percentile_ms(spread, 0.99) or 0.0
        self._at = (self._at + 1) % _RING
        self._spread_at = (self._spread_at + 1) % _SPREADS
        self._spreads[self._spread_at] = no_counts()
        for column in self._columns():
            column[self._at] = 0
        self._p50_ms[self._at] = self._p99_ms[self._at] = math.nan

    def _columns(self) -> tuple[array[int], ...]:
        return self._turns, self._failed, self._tokens_in, self._tokens_out, self._cost_nano

    # -- what is asked

    @property
    def ends_at(self) -> int:
        """When the last finished step ended, in seconds since the epoch."""
        return self._number * STEP_S

    def now(self, now: float) -> dict[str, float | None]:
        """What the dashboard calls ``now``: rates over some 12 s, the rest over some 66 s."""
        self.turn_to(now)
        since = now - self.began_at
        fast_s = min(RATE_STEPS * STEP_S + now - self.ends_at, max(since, STEP_S))
        slow_s = min(RECENT_STEPS * STEP_S + now - self.ends_at, max(since, STEP_S))
        spread = added(self._spreads)
        cost_usd = self._sum(self._cost_nano, RECENT_STEPS) / NANO
        return {
            "turns_per_s": round(self._sum(self._turns, RATE_STEPS) / fast_s, 3),
            "tokens_in_per_s": round(self._sum(self._tokens_in, RATE_STEPS) / fast_s, 3),
            "tokens_out_per_s": round(self._sum(self._tokens_out, RATE_STEPS) / fast_s, 3),
            "cost_usd_per_min": round(cost_usd * 60 / slow_s, 9),
            "errors_per_min": round(self._sum(self._failed, RECENT_STEPS) * 60 / slow_s, 3),
            "ttft_p50_ms": percentile_ms(spread, 0.5),
            "ttft_p99_ms": percentile_ms(spread, 0.99),
        }

    def finished(self, now: float) -> dict[str, list[int] | list[float] | list[float | None]]:
        """Every finished step, the oldest first; ``None`` where no answer began."""
        self.turn_to(now)
        return {
            "turns": self._unrolled(self._turns),
            "tokens_in": self._unrolled(self._tokens_in),
            "tokens_out": self._unrolled(self._tokens_out),
            "cost_usd": [nano / NANO for nano in self._unrolled(self._cost_nano)],
            "ttft_p50_ms": [_known(value) for value in self._unrolled(self._p50_ms)],
            "ttft_p99_ms": [_known(value) for value in self._unrolled(self._p99_ms)],
            "failed": self._unrolled(self._failed),
        }

    def last(self, now: float) -> dict[str, float | None]:
        """The last finished step, by the same names."""
        self.turn_to(now)
        at = self._at - 1  # of the first, Python's last
        return {
            "turns": self._turns[at],
            "tokens_in": self._tokens_in[at],
            "tokens_out": self._tokens_out[at],
            "cost_usd": self._cost_nano[at] / NANO,
            "ttft_p50_ms": _known(self._p50_ms[at]),
            "ttft_p99_ms": _known(self._p99_ms[at]),
            "failed": self._failed[at],
        }

    def _sum(self, column: array[int], steps: int) -> int:
        """Of so many finished steps and the one being filled."""
        first = self._at - steps
        if first >= 0:
            return sum(column[first : self._at + 1])
        return sum(column[first:]) + sum(column[: self._at + 1])

    def _unrolled(self, column: array[_N]) -> list[_N]:
        return (column[self._at + 1 :] + column[: self._at]).tolist()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
