"""Medians, percentiles and ratios of what was measured."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The nearest-rank percentile of a sorted, non-empty sequence."""
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over the runs that have it."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run[name] for run in runs if name in run) for name in names}


def ratios(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Our figures divided by theirs, where both exist and theirs is not zero."""
    return {name: ours[name] / theirs[name] for name in ours if theirs.get(name)}
