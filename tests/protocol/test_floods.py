"""How many frames that carry nothing one peer may send."""

from __future__ import annotations

from relayd.protocol.floods import CONTROL_FRAMES_PER_S_MAX, EMPTY_FRAMES_MAX, FloodGuard


def test_the_bounds_are_those_that_are_promised() -> None:
    assert (EMPTY_FRAMES_MAX, CONTROL_FRAMES_PER_S_MAX) == (64, 100)


def test_a_hundred_control_frames_a_second_are_fine() -> None:
    guard = FloodGuard()

    for second in range(3):
        assert [guard.control(10.0 + second) for _ in range(100)] == [None] * 100


def test_one_more_is_a_flood() -> None:
    guard = FloodGuard()
    for _ in range(100):
        guard.control(10.0)

    assert guard.control(10.99) is not None
    assert guard.control(11.0) is None


def test_sixty_four_empty_frames_in_a_row_are_fine_and_one_more_is_a_flood() -> None:
    guard = FloodGuard()

    assert [guard.empty(5) for _ in range(64)] == [None] * 64
    assert guard.empty(5) is not None


def test_a_frame_that_carries_something_ends_the_row() -> None:
    guard = FloodGuard()
    for carried in range(200):
        assert guard.empty(carried) is None
        assert guard.empty(carried) is None
