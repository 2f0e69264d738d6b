"""The loop's delays under a clock that the test moves, and the collector's pauses."""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relayd.observe.metrics import Metric
from relayd.observe.metrics_values import Histogram, Registry
from relayd.service.measuring_pauses import (
    LOOK_EVERY_S,
    LOOKS_KEPT,
    LoopWatch,
    timing_collections,
)


def histogram() -> Histogram:
    return Registry().histogram(Metric.LOOP_DELAY_SECONDS)


async def watched(clock: MockClock, *late_s: float) -> LoopWatch:
    """A watch whose looks were late by so much, one after the other."""
    watch = LoopWatch(histogram())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        for seconds in late_s:
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(LOOK_EVERY_S + seconds)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return watch


async def test_a_delay_is_what_a_look_comes_too_late(mock_clock: MockClock) -> None:
    watch = await watched(mock_clock, 0.0, 0.5, 0.0)

    assert watch.delays.count() == 3
    assert watch.longest_s == pytest.approx(0.5)


async def test_reading_the_longest_delay_does_not_end_it(mock_clock: MockClock) -> None:
    watch = await watched(mock_clock, 0.5)

    assert watch.longest_s == watch.longest_s == pytest.approx(0.5)


async def test_a_delay_is_forgotten_after_a_minute(mock_clock: MockClock) -> None:
    watch = await watched(mock_clock, 0.5, *([0.0] * LOOKS_KEPT))

    assert watch.delays.count() == LOOKS_KEPT + 1
    assert watch.longest_s == pytest.approx(0.0, abs=1e-6)


def test_before_the_first_look_there_is_no_delay() -> None:
    assert LoopWatch(histogram()).longest_s == 0.0


def test_a_collection_inside_the_block_is_timed_and_none_outside() -> None:
    pauses = histogram()
    before = list(gc.callbacks)

    with timing_collections(pauses):
        gc.collect()
    inside = pauses.count()
    gc.collect()

    assert inside >= 1
    assert pauses.count() == inside
    assert gc.callbacks == before


def test_a_collection_that_was_under_way_at_the_beginning_is_not_timed() -> None:
    pauses = histogram()

    with timing_collections(pauses):
        note = gc.callbacks[-1]
        note("stop", {})

        assert pauses.count() == 0
