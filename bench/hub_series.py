"""Several series of numbers in the one array that a load process reports."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def pack(*series: array[int]) -> array[int]:
    """Each series with its length before it."""
    packed = array("q")
    for each in series:
        packed.append(len(each))
        packed.extend(each)
    return packed


def unpack(packed: array[int]) -> list[array[int]]:
    """What :func:`pack` was given."""
    series, start = [], 0
    while start < len(packed):
        end = start + 1 + packed[start]
        series.append(packed[start + 1 : end])
        start = end
    return series


def joined(reports: Iterable[array[int]]) -> list[array[int]]:
    """Series of the same place in each report, one behind the other; all have as many."""
    first, *others = map(unpack, reports)
    for other in others:
        for mine, more in zip(first, other, strict=True):
            mine.extend(more)
    return first
