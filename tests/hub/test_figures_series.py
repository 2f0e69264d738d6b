"""Steps of five seconds."""

from __future__ import annotations

import random

import pytest

from relayd.hub.figures_series import RECENT_STEPS, STEP_S, STEPS, Series

BEGAN = 1_800_000_000.0
"""On the edge of a step."""


def turns(series: Series, now: float) -> list[int]:
    return [int(each or 0) for each in series.finished(now)["turns"]]


def turn(series: Series, now: float, ttft_ms: float | None = None, *, failed: bool = False) -> None:
    series.turn(now, failed=failed, ttft_ms=ttft_ms)


def test_a_step_is_shown_when_it_is_over() -> None:
    series = Series(BEGAN)
    turn(series, BEGAN + 4.9)

    assert sum(turns(series, BEGAN + 4.99)) == 0
    assert turns(series, BEGAN + STEP_S) == [0] * (STEPS - 1) + [1]
    assert series.ends_at == BEGAN + STEP_S


def test_everything_told_is_in_the_columns_of_its_step() -> None:
    series = Series(BEGAN)
    series.used(BEGAN, 10, 20, 30)
    series.used(BEGAN, 1, 2, 3)
    turn(series, BEGAN, 10.0, failed=True)
    turn(series, BEGAN)

    assert series.last(BEGAN + STEP_S) == {
        "turns": 2,
        "tokens_in": 11,
        "tokens_out": 22,
        "cost_usd": 33e-9,
        "ttft_p50_ms": 5.0,
        "ttft_p99_ms": 9.9,
        "failed": 1,
    }
    finished = series.finished(BEGAN + STEP_S)
    assert {name: column[-1] for name, column in finished.items()} == series.last(BEGAN + STEP_S)
    assert {len(column) for column in finished.values()} == {STEPS}
    assert finished["ttft_p50_ms"][-2] is None


def test_half_an_hour_is_kept_and_no_more() -> None:
    series = Series(BEGAN)
    turn(series, BEGAN)

    assert turns(series, BEGAN + STEPS * STEP_S)[0] == 1
    assert sum(turns(series, BEGAN + (STEPS + 1) * STEP_S)) == 0


def test_after_a_long_rest_everything_is_blank() -> None:
    series = Series(BEGAN)
    turn(series, BEGAN, 20.0)

    later = BEGAN + 1e7
    assert sum(turns(series, later)) == 0
    assert series.now(later)["ttft_p50_ms"] is None
    turn(series, later)
    assert turns(series, later + STEP_S)[-1] == 1


def test_a_clock_that_is_set_back_loses_nothing_and_stops_nothing() -> None:
    series = Series(BEGAN)
    turn(series, BEGAN)
    back = BEGAN - 3600

    turn(series, back)
    assert turns(series, back + STEP_S)[-1] == 2
    assert series.ends_at == back + STEP_S


def test_rates_go_by_the_last_seconds_and_the_rest_by_the_last_minute() -> None:
    series = Series(BEGAN)
    now = BEGAN + 600
    turn(series, now - 64, 1000.0, failed=True)  # beyond the minute
    turn(series, now - 60, 20.0, failed=True)
    series.used(now - 60, 0, 0, 10**9)
    turn(series, now - 10)
    series.used(now - 10, 100, 200, 0)

    assert series.now(now) == {
        "turns_per_s": 0.1,
        "tokens_in_per_s": 10.0,
        "tokens_out_per_s": 20.0,
        "cost_usd_per_min": 1.0,
        "errors_per_min": 1.0,
        "ttft_p50_ms": pytest.approx(20.0, rel=0.19),
        "ttft_p99_ms": pytest.approx(20.0, rel=0.19),
    }
    assert series.now(now + 5)["turns_per_s"] == 0.0


def test_what_has_run_for_less_is_measured_over_less() -> None:
    series = Series(BEGAN)
    turn(series, BEGAN + 1, failed=True)

    assert series.now(BEGAN + 1)["turns_per_s"] == 0.2  # over a step at least
    assert series.now(BEGAN + 8)["turns_per_s"] == 0.125
    assert series.now(BEGAN + 30)["errors_per_min"] == 2.0


def test_the_ring_agrees_with_a_list_wherever_it_stands() -> None:
    random_of = random.Random(7)
    series, now, by_step = Series(BEGAN), BEGAN, dict[int, int]()
    for _ in range(2000):
        now += random_of.choice([0.1, 1.0, 3.0, 20.0])
        turn(series, now)
        step = int(now // STEP_S)
        by_step[step] = by_step.get(step, 0) + 1
        if random_of.random() < 0.02:
            assert turns(series, now) == [by_step.get(n, 0) for n in range(step - STEPS, step)]
    recent = sum(by_step.get(int(now // STEP_S) - n, 0) for n in range(RECENT_STEPS + 1))
    assert recent > 0
