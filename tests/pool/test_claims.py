"""The order in which those are served who wait."""

from __future__ import annotations

from itertools import islice

from relayd.pool.claims import TOKEN_BYTES, Claim, Line, tokens
from relayd.pool.identity import SlotRef
from relayd.pool.slots import Slot
from tests.pool.books import ACCOUNT, identity


def claim(name: str, pinned: SlotRef | None = None, since: float = 0.0) -> Claim[int]:
    return Claim(owner=name, identity=identity(), pinned=pinned, since=since)


def slot(number: int) -> Slot[int]:
    return Slot(ACCOUNT, number, 1, identity())


def test_the_first_of_those_that_a_slot_will_do_for_is_served() -> None:
    line = Line[int]()
    first, second, third = claim("a", SlotRef(1, 1)), claim("b"), claim("c", SlotRef(2, 1))
    for ticket, each in enumerate((first, second, third), 1):
        line.join(each, ticket)

    assert line.first() is second
    assert line.first_for(slot(1)) is first
    assert line.first_for(slot(2)) is second
    assert line.first_for(slot(3)) is second
    line.leave(second)
    assert line.first() is None
    assert line.first_for(slot(2)) is third
    assert line.first_for(slot(3)) is None


def test_it_knows_who_waits_for_a_slot_and_for_how_long_the_first_does() -> None:
    line = Line[int]()
    assert line.oldest_since() is None
    pinned = [claim(str(each), SlotRef(1, 1), since=each) for each in (3, 4)]
    for ticket, each in enumerate(pinned, 1):
        line.join(each, ticket)
    line.join(claim("x", since=5), 3)

    assert line.oldest_since() == 3
    assert line.pinned_to(slot(1)) == pinned
    assert line.pinned_slots() == [1]
    assert [each.owner for each in line.everybody()] == ["3", "4", "x"]
    for each in pinned:
        line.leave(each)
    assert line.pinned_slots() == []
    assert line.oldest_since() == 5
    assert len(line) == 1


def test_who_does_not_wait_can_leave() -> None:
    line = Line[int]()
    waiting, other = claim("a"), claim("b")
    line.join(waiting, 1)

    line.leave(other)
    assert len(line) == 1
    line.leave(waiting)
    line.leave(waiting)
    assert not len(line)


def test_no_two_tokens_are_the_same() -> None:
    drawn = list(islice(tokens(), 100))  # more than the kernel is asked for at once

    assert len(set(drawn)) == 100
    assert {len(bytes.fromhex(token)) for token in drawn} == {TOKEN_BYTES}
