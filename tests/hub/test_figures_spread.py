"""Percentiles out of counts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.hub.figures_spread import (
    BOUNDS_MS,
    COUNTS,
    added,
    bucket_of,
    no_counts,
    percentile_ms,
)

WIDTH = 2**0.25


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile_ms(no_counts(), 0.5) is None


def test_every_time_has_a_bucket_and_none_is_below_it() -> None:
    assert [bucket_of(ms) for ms in (0.0, 10.0, 10.1, BOUNDS_MS[-1], 1e9)] == [0, 0, 1, 54, 55]
    assert len(no_counts()) == COUNTS == len(BOUNDS_MS) + 1


def test_what_is_beyond_all_bounds_counts_as_the_last_one() -> None:
    counts = no_counts()
    counts[bucket_of(math.inf)] += 1

    assert percentile_ms(counts, 0.5) == BOUNDS_MS[-1]


def test_times_are_spread_evenly_within_a_bucket() -> None:
    counts = no_counts()
    counts[0] = 4  # up to 10 ms

    assert [percentile_ms(counts, share) for share in (0.25, 0.5, 1.0)] == [2.5, 5.0, 10.0]


def test_counts_add_up_bucket_by_bucket() -> None:
    one, two = no_counts(), no_counts()
    one[3], two[3], two[5] = 1, 2, 4

    assert added([one, two]) == [0, 0, 0, 3, 0, 4] + [0] * (COUNTS - 6)


@given(
    times=st.lists(st.floats(10.01, BOUNDS_MS[-1]), min_size=1, max_size=50),
    share=st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_percentile_is_no_further_off_than_a_bucket_is_wide(
    times: list[float], share: float
) -> None:
    counts = no_counts()
    for time_ms in times:
        counts[bucket_of(time_ms)] += 1

    found = percentile_ms(counts, share)

    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    assert found is not None
    assert exact / WIDTH - 0.1 <= found <= exact * WIDTH + 0.1


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_percentile_lies_in_a_bucket_that_something_fell_into(share: float) -> None:
    counts = no_counts()
    counts[bucket_of(100.0)] = 100
    counts[bucket_of(5000.0)] = 3

    expected = 100.0 if share < 0.9 else 5000.0
    assert percentile_ms(counts, share) == pytest.approx(expected, rel=WIDTH - 1)
