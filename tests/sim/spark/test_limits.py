"""How much an application may ask."""

from __future__ import annotations

import pytest

from relayd.sim.spark.errors import Rejected
from relayd.sim.spark.limits import APPS_MAX, Gate, Limits
from tests.sim.spark.stage import NOW


def code(gate: Gate, limits: Limits, *, app: str = "a", now: float = 0.0, wall: float = NOW) -> int:
    try:
        gate.enter(app, limits, now=now, wall=wall)
    except Rejected as rejected:
        return rejected.error.code
    return 0


def test_without_limits_everyone_passes() -> None:
    gate = Gate()

    assert {code(gate, Limits()) for _ in range(100)} == {0}


def test_a_second_is_any_second() -> None:
    gate, limits = Gate(), Limits(per_second=2)

    got = [code(gate, limits, now=now) for now in (0.0, 0.9, 0.95, 1.0, 1.1, 1.95)]

    assert got == [0, 0, 11202, 0, 11202, 0]


def test_a_place_is_free_again_when_its_answer_has_ended() -> None:
    gate, limits = Gate(), Limits(at_a_time=1)

    assert [code(gate, limits), code(gate, limits)] == [0, 11203]
    gate.leave("a")
    assert code(gate, limits) == 0


@pytest.mark.parametrize(
    ("later_s", "expected"), [(60, 11201), (8 * 3600 - 1, 11201), (8 * 3600, 0)]
)
def test_a_day_ends_at_midnight_in_shanghai(later_s: float, expected: int) -> None:
    gate, limits = Gate(), Limits(per_day=1)  # NOW is 16:00 there
    code(gate, limits)

    assert code(gate, limits, wall=NOW + later_s) == expected


def test_what_is_refused_does_not_count() -> None:
    gate = Gate()
    for _ in range(3):
        code(gate, Limits(per_second=1, per_day=2))

    assert code(gate, Limits(per_day=2)) == 0
    assert code(gate, Limits(per_day=2)) == 11201


def test_applications_are_counted_apart() -> None:
    gate, limits = Gate(), Limits(per_day=1)

    assert [code(gate, limits, app=app) for app in ("a", "b", "a")] == [0, 0, 11201]


def test_applications_without_end_are_forgotten_the_idle_ones_first() -> None:
    gate, limits = Gate(), Limits(at_a_time=1)
    code(gate, limits, app="busy")
    for number in range(APPS_MAX + 10):
        code(gate, limits, app=str(number))
        gate.leave(str(number))

    assert code(gate, limits, app="busy") == 11203
