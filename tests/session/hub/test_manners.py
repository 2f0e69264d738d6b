from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_topics import SELECTORS_MAX
from relayd.session.hub.manners import (
    BURST,
    MESSAGES_PER_S,
    STRANGERS_MAX,
    STRANGERS_PER_ADDRESS_MAX,
    Antechamber,
    Rate,
)


def test_a_burst_is_let_through_and_no_more() -> None:
    rate = Rate()
    assert [rate.admits(7.0) for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_a_client_that_comes_back_may_ask_for_all_its_topics_at_once() -> None:
    rate = Rate()
    connect_and_subscribes = 1 + SELECTORS_MAX
    assert all(rate.admits(0.0) for _ in range(connect_and_subscribes + 16))


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
    leaves = [chamber.enter(f"192.0.2.{number % 250}") for number in range(STRANGERS_MAX)]
    full = chamber.enter("198.51.100.1")
    assert isinstance(full, Refusal)
    assert (full.code, full.retry_after_s) == (RefusalCode.OVERLOAD, 1.0)
    for _ in range(2):
        leave = leaves[0]
        assert not isinstance(leave, Refusal)
        leave()
    assert chamber.waiting == STRANGERS_MAX - 1
    assert not isinstance(chamber.enter("198.51.100.1"), Refusal)


def test_those_of_one_address_shut_nobody_else_out() -> None:
    chamber = Antechamber()
    leaves = [chamber.enter("192.0.2.1") for _ in range(STRANGERS_PER_ADDRESS_MAX)]
    assert isinstance(chamber.enter("192.0.2.1"), Refusal)
    assert not isinstance(chamber.enter("192.0.2.2"), Refusal)
    for leave in leaves:
        assert not isinstance(leave, Refusal)
        leave()
    assert not isinstance(chamber.enter("192.0.2.1"), Refusal)
    assert chamber.waiting == 2
