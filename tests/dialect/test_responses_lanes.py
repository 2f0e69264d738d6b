"""Which create starts, which waits and which is next."""

from __future__ import annotations

import attrs
import pytest

from relayd.dialect.responses_client import Create, Mistake
from relayd.dialect.responses_lanes import (
    ACTIVE_MAX,
    NAMES_MAX,
    QUEUED_MAX,
    QUEUED_MAX_BYTES,
    Lanes,
    Placed,
)
from tests.dialect.responses import create


def started(lanes: Lanes, stream_id: str | None = None) -> Create:
    one = create(stream_id)
    assert lanes.add(one) == Placed(starts=True)
    return one


def waiting(lanes: Lanes, stream_id: str | None = None) -> Create:
    one = create(stream_id)
    assert lanes.add(one) == Placed()
    return one


def refused(lanes: Lanes, one: Create) -> Mistake:
    answer = lanes.add(one)
    assert isinstance(answer, Mistake)
    return answer


def weighing(size: int, stream_id: str | None = None) -> Create:
    return attrs.evolve(create(stream_id), payload=b"x" * size)


def test_a_lane_runs_one_create_after_another_in_their_order() -> None:
    lanes = Lanes()
    first = started(lanes)
    second, third = waiting(lanes), waiting(lanes)

    assert lanes.running(None) is first
    assert lanes.ended(None) is second
    assert lanes.ended(None) is third
    assert lanes.busy
    assert lanes.ended(None) is None
    assert not lanes.busy


def test_lanes_run_side_by_side() -> None:
    lanes = Lanes()
    for stream_id in (None, "a", "b"):
        started(lanes, stream_id)

    assert lanes.active == 3
    assert lanes.running("a") is not lanes.running("b")
    assert lanes.running("never-named") is None


def test_beyond_sixteen_the_oldest_that_may_start_is_next() -> None:
    lanes = Lanes()
    for number in range(ACTIVE_MAX):
        started(lanes, f"lane{number}")
    behind = waiting(lanes, "lane0")
    others = [waiting(lanes, "x"), waiting(lanes, None)]

    assert lanes.ended("lane1") is others[0]
    assert lanes.ended("lane0") is behind  # it came first, but its lane was busy
    assert lanes.ended("lane2") is others[1]
    assert lanes.active == ACTIVE_MAX
    assert lanes.queued == lanes.queued_bytes == 0


def test_a_connection_names_no_more_than_32_lanes_in_its_life() -> None:
    lanes = Lanes()
    for number in range(NAMES_MAX):
        started(lanes, f"lane{number}")
        lanes.ended(f"lane{number}")

    answer = refused(lanes, create("one-more"))

    assert (answer.status, answer.code) == (400, "websocket_stream_limit_reached")
    assert (answer.stream_id, answer.param) == ("one-more", "stream_id")
    started(lanes, "lane7")
    started(lanes)


def test_a_full_queue_answers_503_and_changes_nothing() -> None:
    lanes = Lanes()
    started(lanes, "a")
    for _ in range(QUEUED_MAX):
        waiting(lanes, "a")

    answer = refused(lanes, create("a"))

    assert (answer.status, answer.code, answer.stream_id) == (503, "websocket_queue_full", "a")
    assert lanes.queued == QUEUED_MAX
    started(lanes, "b")
    waiting(lanes, "b")


def test_what_waits_is_bounded_in_bytes_over_all_lanes() -> None:
    lanes = Lanes()
    started(lanes, "a")
    started(lanes, "b")
    assert lanes.add(weighing(QUEUED_MAX_BYTES - 10, "a")) == Placed()

    assert refused(lanes, weighing(11, "b")).code == "websocket_queue_full"
    assert lanes.add(weighing(10, "b")) == Placed()
    assert lanes.queued_bytes == QUEUED_MAX_BYTES
    lanes.ended("a")
    assert lanes.queued_bytes == 10


def test_a_refused_create_names_no_lane() -> None:
    lanes = Lanes()
    for number in range(ACTIVE_MAX):
        started(lanes, f"lane{number}")
    assert lanes.add(weighing(QUEUED_MAX_BYTES, "lane0")) == Placed()
    for number in range(NAMES_MAX):
        refused(lanes, create(f"other{number}"))

    lanes.drop_all()
    assert lanes.add(create("new")) == Placed()


def test_all_that_wait_can_be_dropped_oldest_first() -> None:
    lanes = Lanes()
    running = started(lanes, "a"), started(lanes, "b")
    waits = [waiting(lanes, "b"), waiting(lanes, "a"), waiting(lanes, "b")]

    assert lanes.drop_all() == tuple(waits)
    assert (lanes.queued, lanes.queued_bytes, lanes.active) == (0, 0, 2)
    assert (lanes.running("a"), lanes.running("b")) == running
    assert lanes.ended("a") is None


def test_preempting_names_the_create_to_abort_once_and_drops_what_waited() -> None:
    lanes = Lanes(preempt=True)
    first, second, third = started(lanes), create(), create()

    assert lanes.add(second) == Placed(aborts=first)
    assert lanes.add(third) == Placed(dropped=(second,))
    assert lanes.running(None) is first
    assert lanes.ended(None) is third
    fourth = create()
    assert lanes.add(fourth) == Placed(aborts=third)
    assert lanes.queued == 1


def test_preempting_takes_the_place_in_the_order_of_what_had_not_started() -> None:
    lanes = Lanes(preempt=True)
    for number in range(ACTIVE_MAX):
        started(lanes, f"lane{number}")
    old, other, new = create("x"), create("y"), create("x")
    assert lanes.add(old) == Placed()
    assert lanes.add(other) == Placed()

    assert lanes.add(new) == Placed(dropped=(old,))
    assert lanes.ended("lane0") is new
    assert lanes.ended("lane1") is other


def test_preempting_is_bounded_in_bytes_too() -> None:
    lanes = Lanes(preempt=True)
    started(lanes, "a")
    running = started(lanes, "b")
    lanes.add(weighing(QUEUED_MAX_BYTES, "a"))

    assert refused(lanes, create("b")).code == "websocket_queue_full"
    assert isinstance(lanes.add(weighing(QUEUED_MAX_BYTES, "a")), Placed)
    assert lanes.running("b") is running


def test_the_end_of_what_does_not_run_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Lanes().ended(None)
