"""How the places of an account go from hand to hand."""

from __future__ import annotations

import pytest

from relayd.config.pools import PoolSettings
from relayd.pool.events import Outcome, Refused, Rotated
from relayd.pool.slots import LANES_MAX, State
from tests.pool.books import Desk, identity, slot_of

ONE = PoolSettings(slots_max=1)


def test_a_place_has_a_generation_for_each_socket() -> None:
    desk = Desk.of(ONE)
    first = desk.lease()
    slot = slot_of(first)
    waiting = [desk.ask(identity("u")), desk.ask()]
    generations = [slot.generation]
    for claim in waiting:
        desk.give(first)
        assert claim.slot is slot
        generations.append(slot.generation)
        desk.open(claim)
        first = claim

    assert generations == [1, 2, 3]
    assert slot.number == 1


def test_a_failed_dial_passes_the_place_on_as_another_generation() -> None:
    desk = Desk.of(ONE)
    first, second, third = desk.ask(), desk.ask(), desk.ask()
    slot = slot_of(first)
    desk.book.shelf("a").give_back(first, desk.now)

    assert second.slot is slot
    assert (slot.generation, slot.owner) == (2, second.owner)
    assert third.slot is None
    assert desk.woken == [second.owner]


def test_a_place_that_nobody_wants_is_gone() -> None:
    desk = Desk()
    slot = slot_of(claim := desk.ask())
    desk.book.shelf("a").give_back(claim, desk.now)

    assert slot.state is State.CLOSED
    assert desk.book.shelf("a").is_empty


def test_nothing_of_a_socket_stays_with_its_place() -> None:
    desk = Desk.of(ONE)
    first = desk.lease(lane="x")
    slot = slot_of(first)
    waiting = desk.ask(identity("u"), lane="y")
    desk.now += ONE.age_max_s
    desk.book.expire(desk.now)
    desk.book.shelf("a").lost(slot, 1, "peer_gone", desk.now)
    desk.book.shelf("a").broke(first, "unclean", desk.now)

    assert waiting.slot is slot
    assert (slot.lost, slot.lanes, slot.identity.tenant) == (None, set(), "u")
    assert [closing.reason for closing in [desk.book.take_closing()] if closing] == ["peer_gone"]
    desk.open(waiting)
    assert slot.lanes == {"y"}
    assert desk.give(waiting) is Outcome.YIELDED


def test_waiters_that_cannot_use_the_socket_are_passed_or_given_its_place() -> None:
    desk = Desk.of(ONE)
    lease = desk.lease()
    slot = slot_of(lease)
    pinned = desk.ask(pinned=slot.ref, lane="new")
    general = desk.ask(lane="new")
    for number in range(LANES_MAX):
        slot.use_lane(str(number))

    assert desk.give(lease) is Outcome.HANDED_OVER
    assert pinned.refused is Refused.PINNED_GONE
    assert general.slot is slot
    assert slot.state is State.LOGIN
    assert desk.swept() == [("slot.rotated", "lanes_max")]


@pytest.mark.parametrize(
    ("idle_max", "kept", "outcome"), [(2, 2, Outcome.YIELDED), (0, 0, Outcome.ROTATED)]
)
def test_no_more_are_kept_than_the_settings_say(idle_max: int, kept: int, outcome: Outcome) -> None:
    desk = Desk.of(PoolSettings(slots_max=3, idle_max=idle_max))
    leases = [desk.lease() for _ in range(3)]
    sockets = [slot_of(lease).socket for lease in leases]
    outcomes = [desk.give(lease) for lease in leases]
    desk.swept()

    assert outcomes[-1] is outcome
    assert [closing.socket for closing in desk.closed] == sockets[: 3 - kept]
    assert {closing.reason for closing in desk.closed} == {Rotated.IDLE_MAX}


def test_a_broken_socket_is_closed_before_those_that_are_let_go() -> None:
    desk = Desk.of(PoolSettings(slots_max=3, idle_max=0))
    first, second = desk.lease(), desk.lease()
    desk.give(first)
    desk.book.shelf("a").broke(second, "client_gone", desk.now)

    assert desk.swept() == [("slot.broken", "client_gone"), ("slot.rotated", "idle_max")]


def test_a_slot_has_one_owner() -> None:
    desk = Desk()
    lease = desk.lease()
    slot_of(lease).owner = "somebody else"

    with pytest.raises(AssertionError, match="another owner"):
        desk.give(lease)
