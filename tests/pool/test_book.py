"""What becomes due, and what concerns all accounts."""

from __future__ import annotations

import math

import pytest

from relayd.config.pools import PoolSettings
from relayd.pool.book import Book
from relayd.pool.events import Refused
from relayd.pool.identity import SlotRef
from tests.pool.books import ACCOUNT, CREDENTIAL, SETTINGS, Desk, check, identity, slot_of


def test_a_slot_is_pinged_once_after_its_last_yield_and_then_every_so_often() -> None:
    desk = Desk()
    for _ in range(3):
        desk.give(desk.lease())
        desk.now += 4
    yielded_at = desk.now - 4
    assert desk.book.due_at() == yielded_at + SETTINGS.ping_after_s
    assert desk.book.take_ping(desk.now) is None
    desk.now = yielded_at + SETTINGS.ping_after_s
    ping = desk.book.take_ping(desk.now)
    assert ping is not None
    assert desk.book.take_ping(desk.now) is None
    assert desk.book.due_at() == desk.now + SETTINGS.ping_timeout_s
    desk.now += SETTINGS.ping_timeout_s
    assert desk.book.take_verdict(desk.now) is ping
    desk.book.shelf(ACCOUNT).judge(ping, desk.now, alive=True)
    assert desk.book.due_at() == desk.now + SETTINGS.ping_every_s
    desk.now += SETTINGS.ping_every_s

    assert desk.book.take_ping(desk.now) is not None


def test_a_leased_slot_is_never_pinged_nor_judged() -> None:
    desk = Desk()
    desk.give(desk.lease())
    desk.now += SETTINGS.ping_after_s
    assert desk.book.take_ping(desk.now) is not None
    desk.lease()
    check(desk.book, set())
    desk.now += 100

    assert desk.book.take_ping(desk.now) is None
    assert desk.book.take_verdict(desk.now) is None
    assert desk.book.due_at() == 100 + SETTINGS.age_max_s


def test_what_is_unused_for_too_long_or_too_old_is_let_go() -> None:
    desk = Desk()
    old = desk.lease()
    desk.now += SETTINGS.age_max_s - SETTINGS.idle_ttl_s - 1
    young = desk.lease()
    desk.give(young)
    desk.now += SETTINGS.idle_ttl_s - 1
    desk.book.expire(desk.now)
    assert not desk.book.has_closings
    desk.now += 1
    desk.book.expire(desk.now)
    assert desk.swept() == [("slot.rotated", "idle_ttl")]
    desk.now += 1
    desk.book.expire(desk.now)
    assert not desk.book.has_closings, "a leased socket is not closed for its age"
    assert not desk.book.is_alive(slot_of(old).ref, desk.now)
    desk.give(old)

    assert desk.swept() == [("slot.rotated", "age_max")]
    assert desk.book.due_at() == math.inf


def test_a_socket_is_too_old_at_its_age_even_if_nobody_has_looked() -> None:
    desk = Desk()
    desk.give(first := desk.lease())
    desk.now += SETTINGS.age_max_s
    second = desk.lease()

    assert desk.swept() == [("slot.rotated", "age_max")]
    assert slot_of(second).number == 2
    assert first.slot is None


def test_other_delays_hold_for_what_waits_already() -> None:
    desk = Desk()
    desk.give(desk.lease())
    quick = PoolSettings(ping_after_s=1)
    desk.book.apply(quick, {ACCOUNT: CREDENTIAL}, desk.now)

    assert desk.book.settings is quick
    assert desk.book.due_at() == desk.now + 1


@pytest.mark.parametrize("account", ["a", "b"])
def test_accounts_do_not_share_places(account: str) -> None:
    desk = Desk(Book(PoolSettings(slots_max=1), {"a": CREDENTIAL, "b": CREDENTIAL}))
    claims = [desk.ask(identity(account=name)) for name in ("a", "b")]

    assert all(claim.slot is not None for claim in claims)
    assert desk.ask(identity(account=account)).slot is None


def test_a_reference_lives_as_long_as_its_socket() -> None:
    desk = Desk()
    claim = desk.ask()
    ref = slot_of(claim).ref
    assert not desk.book.is_alive(ref, desk.now), "it is being opened"
    desk.open(claim)
    assert desk.book.is_alive(ref, desk.now)
    assert not desk.book.is_alive(SlotRef(ref.slot, ref.generation + 1), desk.now)
    assert not desk.book.is_alive(SlotRef(ref.slot + 1, 1), desk.now)
    desk.book.shelf(ACCOUNT).broke(claim, "x", desk.now)

    assert not desk.book.is_alive(ref, desk.now)


def test_a_drained_book_gives_nothing_and_keeps_nothing() -> None:
    desk = Desk()
    lease, dialling, waiting = desk.lease(), desk.ask(), desk.ask()
    desk.book.drain(desk.now)
    desk.book.drain(desk.now)

    assert desk.book.is_closed
    assert waiting.refused is Refused.POOL_CLOSED
    assert desk.woken == [waiting.owner]
    assert desk.ask().refused is Refused.POOL_CLOSED
    desk.open(dialling)
    desk.give(dialling)
    desk.give(lease)
    assert desk.swept() == [("slot.rotated", "drain")] * 2
    assert repr(desk.book) == "<Book slots=0 accounts=1>"


def test_an_account_that_is_gone_is_forgotten_with_its_last_slot() -> None:
    desk = Desk()
    lease = desk.lease()
    desk.book.apply(SETTINGS, {}, desk.now)
    assert len(desk.book.statistics(desk.now)) == 1
    desk.give(lease)
    assert desk.swept() == [("slot.rotated", "account_changed")]

    assert desk.book.statistics(desk.now) == ()
    desk.book.apply(SETTINGS, {}, desk.now)
    assert repr(desk.book) == "<Book slots=0 accounts=0>"


def test_statistics_are_by_account() -> None:
    desk = Desk(Book(SETTINGS, {"a": CREDENTIAL, "b": CREDENTIAL}))
    desk.lease(identity(account="b"))
    desk.lease()

    assert [pool.account for pool in desk.book.statistics(desk.now)] == ["a", "b"]
