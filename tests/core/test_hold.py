"""The count of held bytes."""

from __future__ import annotations

import pytest

from relayd.core.hold import HoldBudget


def test_what_fits_is_taken_and_what_does_not_changes_nothing() -> None:
    hold = HoldBudget(bytes_max=10)

    assert hold.take(10)
    assert not hold.take(1)
    assert hold.take(0)
    hold.give(4)
    assert not hold.take(5)
    assert hold.take(4)
    assert hold.bytes_held == 10


def test_more_is_never_given_back_than_was_taken() -> None:
    hold = HoldBudget(bytes_max=10)
    hold.take(3)

    with pytest.raises(AssertionError):
        hold.give(4)


@pytest.mark.parametrize(("held", "full"), [(0, False), (150, False), (151, True), (160, True)])
def test_it_is_full_when_less_than_a_sixteenth_is_left(held: int, full: bool) -> None:
    assert HoldBudget(bytes_max=160, bytes_held=held).full is full
