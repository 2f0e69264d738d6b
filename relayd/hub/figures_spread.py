"""How times are spread, counted by size: percentiles in bounded memory, and in one step each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

BOUNDS_MS: Final = tuple(10 * 2 ** (step / 4) for step in range(55))
"""Upper bounds of the buckets: from 10 ms to two minutes, each 19 % above the one before.

A percentile is off by less than that; what took longer counts as the last bound.
"""

COUNTS: Final = len(BOUNDS_MS) + 1


def no_counts() -> array[int]:
    """Counts of nothing, the last one of what is beyond all bounds."""
    return array("Q", bytes(8 * COUNTS))


def bucket_of(time_ms: float) -> int:
    """Where a time counts."""
    return bisect_left(BOUNDS_MS, time_ms)


def added(several: Iterable[Sequence[int]]) -> list[int]:
    """Counts, bucket by bucket, as one."""
    return [sum(counts) for counts in zip(*several, strict=True)]


def percentile_ms(counts: Sequence[int], share: float) -> float | None:
    """The time that ``share`` of the counted ones did not exceed; ``None`` where there are none.

    Between its bucket's bounds the times are taken to be spread evenly.

    Args:
        counts: One for each bucket.
        share: More than 0, at most 1.
    """
    sums = list(accumulate(counts))
    rank = share * sums[-1]
    if not rank:
        return None
    bucket = bisect_left(sums, rank)
    if bucket == len(BOUNDS_MS):
        return BOUNDS_MS[-1]
    below = BOUNDS_MS[bucket - 1] if bucket else 0.0
    within = 1 - (sums[bucket] - rank) / counts[bucket]
    return round(below + within * (BOUNDS_MS[bucket] - below), 1)
