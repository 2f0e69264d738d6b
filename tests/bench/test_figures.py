from __future__ import annotations

import pytest

from bench.figures import medians, percentile, ratios


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (50, 50), (99, 99), (100, 100), (0, 1)])
def test_percentiles_are_nearest_ranks(percent: float, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected


def test_the_percentile_of_one_sample_is_that_sample() -> None:
    assert percentile([7], 99) == 7


def test_a_median_is_taken_over_the_runs_that_have_the_figure() -> None:
    runs = [{"a": 1.0, "b": 5.0}, {"a": 9.0}, {"a": 2.0}]

    assert medians(runs) == {"a": 2.0, "b": 5.0}


def test_a_ratio_needs_both_figures_and_a_divisor() -> None:
    assert ratios({"a": 3.0, "b": 1.0, "c": 1.0}, {"a": 2.0, "b": 0.0}) == {"a": 1.5}
