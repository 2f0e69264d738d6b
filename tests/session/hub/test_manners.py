from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayd.core.refusals import Refusal, RefusalCode
from relayd.session.hub.manners import BURST, MESSAGES_PER_S, STRANGERS_MAX, Antechamber, Rate


def test_a_burst_is_let_through_and_no_more() -> None:
    rate = Rate()
    assert [rate.admits(7.0) for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_it_goes_on_at_its_pace() -> None:
    rate = Rate()
    while rate.admits(0.0):
        pass
    assert not rate.admits(0.05)
    assert rate.admits(0.11)
    assert not rate.admits(0.11)
    assert [rate.admits(1000.0) for _ in range(BURST + 1)] == [True] * BURST + [False]


@given(st.lists(st.floats(0, 2, allow_subnormal=False), max_size=400))
def test_no_more_than_that_whatever_the_rhythm(steps: list[float]) -> None:
    rate, now, let = Rate(), 0.0, 0
    for step in steps:
        now += step
        let += rate.admits(now)
    assert let <= BURST + now * MESSAGES_PER_S + 1e-6


def test_only_so_many_strangers_wait() -> None:
    chamber = Antechamber()
    leaves = [chamber.enter() for _ in range(STRANGERS_MAX)]
    full = chamber.enter()
    assert isinstance(full, Refusal)
    assert (full.code, full.retry_after_s) == (RefusalCode.OVERLOAD, 1.0)
    for _ in range(2):
        leave = leaves[0]
        assert not isinstance(leave, Refusal)
        leave()
    assert chamber.waiting == STRANGERS_MAX - 1
    assert not isinstance(chamber.enter(), Refusal)
