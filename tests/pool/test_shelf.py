"""Who gets which slot of an account."""

from __future__ import annotations

import pytest

from relayd.config.pools import PoolSettings
from relayd.pool.claims import Claim
from relayd.pool.events import Outcome, Refused
from relayd.pool.identity import SlotRef
from relayd.pool.slots import State
from tests.pool.books import SETTINGS, Desk, identity, slot_of


def states(*claims: Claim[int]) -> list[State | None]:
    return [None if claim.slot is None else claim.slot.state for claim in claims]


def test_an_unused_socket_comes_before_a_free_place_and_that_before_a_used_one() -> None:
    desk = Desk()
    desk.give(desk.lease())
    claims = [desk.ask(), desk.ask(), desk.ask()]

    assert states(*claims) == [State.ACTIVE, State.LOGIN, None]


def test_a_used_place_is_taken_before_anybody_waits() -> None:
    desk = Desk()
    first, second = desk.lease(), desk.lease()
    desk.give(first)
    desk.give(second)
    claim = desk.ask(identity("u"))

    assert slot_of(claim).number == 1, "the one that was used longest ago"
    assert desk.swept() == [("slot.evicted", "other_identity")]


def test_a_claim_that_gives_up_waiting_is_forgotten() -> None:
    desk = Desk()
    leases = [desk.lease(), desk.lease()]
    claim = desk.ask()
    desk.book.shelf("a").give_back(claim, desk.now)
    desk.book.shelf("a").give_back(claim, desk.now)

    assert desk.give(leases[0]) is Outcome.YIELDED
    assert claim.slot is None


def test_a_granted_socket_that_is_given_back_goes_to_the_next() -> None:
    desk = Desk()
    lease, _ = desk.lease(), desk.lease()
    first, second = desk.ask(), desk.ask()
    desk.give(lease)
    socket = slot_of(first).socket
    desk.book.shelf("a").give_back(first, desk.now)

    assert slot_of(second).socket == socket
    assert desk.swept() == []


def test_a_granted_socket_that_was_lost_before_it_is_given_back_is_closed() -> None:
    desk = Desk()
    lease = desk.lease()
    slot = slot_of(lease)
    assert desk.book.shelf("a").lost(slot, 1, "peer_gone", desk.now)
    desk.book.shelf("a").give_back(lease, desk.now)

    assert desk.swept() == [("slot.broken", "peer_gone")]


@pytest.mark.parametrize("state", ["none", "generation", "identity", "login", "lost", "leaving"])
def test_a_pinned_claim_is_refused_at_once_where_its_socket_is_not_to_be_had(state: str) -> None:
    desk = Desk()
    shelf = desk.book.shelf("a")
    lease = desk.lease()
    slot = slot_of(lease)
    ref, who = slot.ref, identity()
    match state:
        case "none":
            ref = SlotRef(99, 1)
        case "generation":
            ref = SlotRef(slot.number, 2)
        case "identity":
            who = identity("u")
        case "login":
            ref = slot_of(desk.ask()).ref
        case "lost":
            shelf.lost(slot, 1, "peer_gone", desk.now)
        case "leaving":
            desk.now += SETTINGS.age_max_s

    assert desk.ask(who, pinned=ref).refused is Refused.PINNED_GONE


def test_pinned_claims_are_told_as_soon_as_their_socket_is_to_leave() -> None:
    desk = Desk()
    lease = desk.lease()
    claim = desk.ask(pinned=slot_of(lease).ref)
    desk.now += SETTINGS.age_max_s
    desk.book.expire(desk.now)

    assert claim.refused is Refused.PINNED_GONE
    assert desk.give(lease) is Outcome.ROTATED
    assert desk.swept() == [("slot.rotated", "age_max")]


def test_pinned_claims_are_told_as_soon_as_their_socket_is_lost() -> None:
    desk = Desk()
    slot = slot_of(desk.lease())
    claim = desk.ask(pinned=slot.ref)
    desk.book.shelf("a").lost(slot, 1, "peer_gone", desk.now)

    assert claim.refused is Refused.PINNED_GONE


def test_a_test_takes_the_slot_from_everybody_else() -> None:
    desk = Desk()
    shelf = desk.book.shelf("a")
    desk.give(desk.lease())
    claim = desk.ask()
    ping = shelf.test(claim, desk.now)

    assert states(claim, desk.ask()) == [State.TESTED, State.LOGIN]
    assert not shelf.judge(ping, desk.now, alive=False), "its tester judges"
    shelf.tested(claim, desk.now)
    assert states(claim) == [State.ACTIVE]


def test_a_useless_socket_is_replaced_in_its_place_or_a_pinned_claim_refused() -> None:
    desk = Desk()
    shelf = desk.book.shelf("a")
    first, second = desk.lease(), desk.lease()
    desk.give(first)
    desk.give(second)
    general = desk.ask()
    ref = slot_of(general).ref
    shelf.replace(general, "unclean", desk.now)
    assert slot_of(general).ref == SlotRef(ref.slot, ref.generation + 1)

    pinned = desk.ask(pinned=SlotRef(1, 1))
    shelf.replace(pinned, "unclean", desk.now)
    assert (pinned.slot, pinned.refused) == (None, Refused.PINNED_GONE)
    assert desk.swept() == [("slot.broken", "unclean")] * 2


def test_a_report_about_an_earlier_socket_is_void() -> None:
    desk = Desk.of(PoolSettings(slots_max=1))
    desk.give(desk.lease())
    slot = slot_of(claim := desk.ask(identity("u")))
    assert not desk.book.shelf("a").lost(slot, 1, "peer_gone", desk.now)
    assert not desk.book.shelf("a").lost(slot, 2, "peer_gone", desk.now), "there is none yet"
    desk.open(claim)
    assert not desk.book.shelf("a").lost(slot, 1, "peer_gone", desk.now)

    assert slot.lost is None


def test_a_verdict_is_void_once_the_slot_was_leased() -> None:
    desk = Desk()
    shelf = desk.book.shelf("a")
    desk.give(desk.lease())
    desk.now += 5
    ping = desk.book.take_ping(desk.now)
    assert ping is not None
    lease = desk.lease()
    assert not shelf.judge(ping, desk.now, alive=False)
    desk.give(lease)
    assert not shelf.judge(ping, desk.now, alive=False), "also when it is unused again"

    assert desk.swept() == []


def test_a_verdict_is_void_once_the_slot_has_another_socket() -> None:
    desk = Desk.of(PoolSettings(slots_max=1))
    shelf = desk.book.shelf("a")
    desk.give(desk.lease())
    desk.now += 5
    ping = desk.book.take_ping(desk.now)
    assert ping is not None
    desk.give(desk.lease(identity("u")))
    desk.swept()

    assert not shelf.judge(ping, desk.now, alive=False)
    assert desk.swept() == []


def test_ahead_of_need_only_free_places_are_taken_and_only_what_would_be_kept() -> None:
    desk = Desk.of(PoolSettings(slots_max=3, idle_max=2))
    shelf = desk.book.shelf("a")

    def warm(opening: int, credential: str = "key-1") -> bool:
        claim = Claim[int](owner="w", identity=identity(credential=credential))
        return shelf.warm(claim, opening)

    assert not warm(0, "key-0")
    assert warm(0)
    assert not warm(2)
    desk.give(desk.lease())
    assert not warm(1)
    assert warm(0)
    desk.lease()
    assert not warm(0), "there is no free place"


def test_reuse_is_counted_when_a_lease_begins() -> None:
    desk = Desk()
    shelf = desk.book.shelf("a")
    reused = []
    for _ in range(3):
        claim = desk.lease()
        reused.append(shelf.picked_up(claim))
        desk.give(claim)

    assert reused == [False, True, True]
    statistics = shelf.statistics(desk.now)
    assert (statistics.leases, statistics.reused) == (3, 2)
    assert repr(shelf) == "<Shelf a 1, 0 waiting>"
