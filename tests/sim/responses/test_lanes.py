"""Whose turn it is."""

from __future__ import annotations

from random import Random

import attrs
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.responses.lanes import (
    ACTIVE_MAX,
    NAMED_MAX,
    WAITING_MAX,
    WAITING_MAX_BYTES,
    Lanes,
)


@attrs.define(eq=False)
class Turn:
    lane: str | None
    number: int = 0
    size_bytes: int = 1


def test_a_lane_runs_one_turn_at_a_time_in_order() -> None:
    lanes: Lanes[Turn] = Lanes()
    first, second, other = Turn("a"), Turn("a"), Turn(None)
    for turn in (first, second, other):
        lanes.wait(turn)

    assert [lanes.next_waiting() for _ in range(3)] == [first, other, None]
    lanes.end(first)
    assert lanes.next_waiting() is second


def test_sixteen_run_and_the_next_one_waits() -> None:
    lanes: Lanes[Turn] = Lanes()
    turns = [Turn(str(number)) for number in range(ACTIVE_MAX + 1)]
    for turn in turns:
        lanes.wait(turn)

    running = [lanes.next_waiting() for _ in turns]

    assert running == [*turns[:-1], None]
    lanes.end(turns[3])
    assert lanes.next_waiting() is turns[-1]


def test_thirty_two_lanes_are_named_for_good() -> None:
    lanes: Lanes[Turn] = Lanes()

    assert all(lanes.open(str(number)) for number in range(NAMED_MAX))
    assert not lanes.open("one more")
    assert lanes.open("0")
    assert lanes.open(None)


def test_a_successor_comes_before_what_waits() -> None:
    lanes: Lanes[Turn] = Lanes()
    turn, waiting, successor = Turn("a"), Turn("a"), Turn("a")
    lanes.wait(turn)
    lanes.wait(waiting)
    assert lanes.next_waiting() is turn

    lanes.succeed(turn, successor)

    assert lanes.next_waiting() is None
    lanes.end(successor)
    assert lanes.next_waiting() is waiting
    lanes.end(waiting)
    assert lanes.is_idle


def test_room_ends_by_number_and_by_bytes() -> None:
    many: Lanes[Turn] = Lanes()
    for number in range(WAITING_MAX):
        assert many.has_room
        many.wait(Turn(None, number))
    assert not many.has_room

    large: Lanes[Turn] = Lanes()
    large.wait(Turn(None, size_bytes=WAITING_MAX_BYTES))
    assert not large.has_room
    assert large.next_waiting() is not None
    assert large.has_room


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40), st.randoms())
def test_within_a_lane_order_is_kept_whatever_ends_when(
    names: list[str | None], random: Random
) -> None:
    lanes: Lanes[Turn] = Lanes()
    started: dict[str | None, list[int]] = {}
    for number, name in enumerate(names):
        lanes.wait(Turn(name, number))
    while not lanes.is_idle:
        while (turn := lanes.next_waiting()) is not None:
            started.setdefault(turn.lane, []).append(turn.number)
        assert len({turn.lane for turn in lanes.running}) == len(lanes.running)
        lanes.end(random.choice(list(lanes.running)))

    assert all(numbers == sorted(numbers) for numbers in started.values())
    assert sum(map(len, started.values())) == len(names)
