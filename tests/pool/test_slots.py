"""Slots and their lists."""

from __future__ import annotations

import itertools

import pytest

from relayd.pool.slots import LANES_MAX, Lists, Ping, Slot, State, Timers
from tests.pool.books import ACCOUNT, identity

MOVES = {
    (State.LOGIN, State.LOGIN),
    (State.LOGIN, State.ACTIVE),
    (State.LOGIN, State.CLOSED),
    (State.IDLE, State.ACTIVE),
    (State.IDLE, State.LOGIN),
    (State.IDLE, State.CLOSED),
    (State.TESTED, State.ACTIVE),
    (State.TESTED, State.IDLE),
    (State.TESTED, State.LOGIN),
    (State.TESTED, State.CLOSED),
    (State.ACTIVE, State.ACTIVE),
    (State.ACTIVE, State.TESTED),
    (State.ACTIVE, State.IDLE),
    (State.ACTIVE, State.LOGIN),
    (State.ACTIVE, State.CLOSED),
}
PATHS = {
    State.LOGIN: [],
    State.ACTIVE: [State.ACTIVE],
    State.IDLE: [State.ACTIVE, State.IDLE],
    State.TESTED: [State.ACTIVE, State.TESTED],
    State.CLOSED: [State.CLOSED],
}


def listed(number: int = 1, state: State = State.LOGIN) -> tuple[Lists[int], Slot[int]]:
    """A slot in ``state``."""
    lists = Lists[int](Timers(), {})
    slot = Slot[int](ACCOUNT, number, 1, identity())
    lists.add(slot)
    for each in PATHS[state]:
        go(lists, slot, each)
    return lists, slot


def go(lists: Lists[int], slot: Slot[int], to: State) -> None:
    slot.socket = None if to in {State.LOGIN, State.CLOSED} else 7
    lists.move(slot, to, 0.0)


@pytest.mark.parametrize(("start", "to"), list(itertools.product(State, State)))
def test_a_slot_moves_as_the_table_says_and_else_stays(start: State, to: State) -> None:
    lists, slot = listed(state=start)
    counts = [lists.count(state) for state in State if state is not State.CLOSED]
    if (start, to) in MOVES:
        go(lists, slot, to)
        assert slot.state is to
        assert to is State.CLOSED or lists.count(to) == 1
        assert len(lists) == (to is not State.CLOSED)
    else:
        with pytest.raises(AssertionError):
            go(lists, slot, to)
        assert slot.state is start
        assert [lists.count(state) for state in State if state is not State.CLOSED] == counts


def test_a_list_tells_whether_there_is_a_socket() -> None:
    lists, slot = listed()

    with pytest.raises(AssertionError, match="sockets"):
        lists.move(slot, State.ACTIVE, 0.0)
    assert slot.state is State.LOGIN


def test_unused_slots_are_found_by_identity_and_by_last_use() -> None:
    lists, first = listed(1, State.IDLE)
    others = [Slot[int](ACCOUNT, number, 1, identity(who)) for number, who in ((2, "t"), (3, "u"))]
    for slot in others:
        lists.add(slot)
        go(lists, slot, State.ACTIVE)
        go(lists, slot, State.IDLE)

    assert lists.last_used(identity("t")) is others[0]
    assert lists.last_used(identity("u")) is others[1]
    assert lists.last_used(identity("v")) is None
    assert lists.least_used() is first
    assert lists.count_unused(identity("t")) == 2
    assert lists.unused() == [first, *others]
    go(lists, first, State.ACTIVE)
    assert lists.least_used() is others[0]
    assert lists.count_unused(identity("t")) == 1


def test_an_unused_slot_waits_for_one_ping_or_one_verdict() -> None:
    timers = Timers[int]()
    lists = Lists[int](timers, {})
    slot = Slot[int](ACCOUNT, 1, 1, identity())
    lists.add(slot)
    go(lists, slot, State.ACTIVE)
    go(lists, slot, State.IDLE)
    assert (slot in timers.fresh, slot in timers.pinged, slot in timers.unused) == (
        True,
        False,
        True,
    )

    go(lists, slot, State.ACTIVE)
    assert (slot in timers.fresh, slot in timers.unused) == (False, False)

    slot.ping = Ping(slot, 1, 0.0)
    go(lists, slot, State.IDLE)
    assert (slot in timers.fresh, slot in timers.pinged) == (False, True)


def test_a_socket_takes_32_names() -> None:
    slot = Slot[int](ACCOUNT, 1, 1, identity())

    assert all(slot.use_lane(str(number)) for number in range(LANES_MAX))
    assert slot.use_lane("3")
    assert slot.use_lane(None)
    assert slot.takes_lane("3")
    assert slot.takes_lane(None)
    assert not slot.takes_lane("other")
    assert not slot.use_lane("other")
    assert len(slot.lanes) == 32
