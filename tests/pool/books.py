"""A book of sockets that are only numbers, and what must hold of it after every step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TypeVar

import attrs

from relayd.config.pools import PoolSettings
from relayd.pool.book import Book
from relayd.pool.claims import Claim
from relayd.pool.events import PoolEventKind
from relayd.pool.identity import Identity, SlotRef
from relayd.pool.slots import LANES_MAX, Closing, Slot, State

S = TypeVar("S")

ACCOUNT = "a"
CREDENTIAL = "key-1"
SETTINGS = PoolSettings(slots_max=2, idle_max=2)


def identity(tenant: str = "t", account: str = ACCOUNT, credential: str = CREDENTIAL) -> Identity:
    return Identity(tenant=tenant, account=account, credential=credential)


@attrs.define
class Desk:
    """Acquirers' claims on a book's slots, their sockets opened at once or when a test says."""

    book: Book[int] = attrs.Factory(lambda: Book(SETTINGS, {ACCOUNT: CREDENTIAL}))
    now: float = 100.0
    opened: list[int] = attrs.Factory(list)
    closed: list[Closing[int]] = attrs.Factory(list)
    woken: list[str] = attrs.Factory(list)
    names: Iterator[int] = attrs.Factory(lambda: itertools.count(1))
    sockets: Iterator[int] = attrs.Factory(lambda: itertools.count(1))

    @classmethod
    def of(cls, settings: PoolSettings) -> Desk:
        return cls(Book(settings, {ACCOUNT: CREDENTIAL}))

    def ask(
        self,
        who: Identity | None = None,
        *,
        lane: str | None = None,
        pinned: SlotRef | None = None,
    ) -> Claim[int]:
        """A claim, answered or waiting; a place that it is given has no socket yet."""
        owner = f"o{next(self.names)}"
        claim = Claim[int](
            owner=owner, identity=who or identity(), lane=lane, pinned=pinned, since=self.now
        )
        self.book.shelf(claim.identity.account).ask(claim, self.now)
        claim.wake = lambda: self.woken.append(owner)
        return claim

    def open(self, claim: Claim[int]) -> Slot[int]:
        """The dial of a place succeeds."""
        socket = next(self.sockets)
        self.opened.append(socket)
        return self.book.shelf(claim.identity.account).opened(claim, socket, self.now)

    def lease(
        self,
        who: Identity | None = None,
        *,
        lane: str | None = None,
        pinned: SlotRef | None = None,
    ) -> Claim[int]:
        """A claim that has its socket."""
        claim = self.ask(who, lane=lane, pinned=pinned)
        assert claim.slot is not None, "it waits, or was refused"
        if claim.slot.state is State.LOGIN:
            self.open(claim)
        return claim

    def give(self, claim: Claim[int]) -> str:
        """The lease is yielded; what became of the slot."""
        return self.book.shelf(claim.identity.account).yield_(claim, self.now)

    def swept(self) -> list[tuple[PoolEventKind, str]]:
        """Close what is to be closed; how, and why."""
        found = []
        while (closing := self.book.take_closing()) is not None:
            self.closed.append(closing)
            found.append((closing.kind, closing.reason))
        return found


def slot_of(claim: Claim[int]) -> Slot[int]:
    assert claim.slot is not None
    return claim.slot


def check(book: Book[S], slots: set[Slot[S]]) -> None:
    """What holds of a book whose slots, living and dead, are all among ``slots``."""
    common = book._common
    timers = common.timers
    for shelf in book._shelves.values():
        lists, line = shelf._lists, shelf._line
        mine = [slot for slot in common.index.values() if slot.account == shelf.name]
        for state, members in lists._by_state.items():
            assert all(slot.state is state for slot in members.values())
        assert sorted(slot.number for slot in mine) == sorted(
            number for members in lists._by_state.values() for number in members
        )
        unused = list(lists._by_state[State.IDLE].values())
        by_identity = [slot for kept in lists._unused.values() for slot in kept.values()]
        assert sorted(slot.number for slot in by_identity) == sorted(s.number for s in unused)
        assert all(kept for kept in lists._unused.values()), "an empty list is dropped"
        assert len(unused) <= common.settings.idle_max
        assert not unused or len(mine) <= common.settings.slots_max
        if line.first() is not None:
            assert not unused, "somebody waits while a socket is unused"
            assert len(mine) >= common.settings.slots_max, "somebody waits while a place is free"
        tickets = [claim.ticket for claim in line.everybody()]
        assert tickets == sorted(tickets)
        assert not common.closed or not (tickets or unused)
        for claim in line.everybody():
            assert claim.slot is None
            assert claim.refused is None
            if claim.pinned is not None:
                slot = common.index[claim.pinned.slot]
                assert slot.ref == claim.pinned, "somebody waits for a socket that is gone"
                assert slot.state in {State.ACTIVE, State.TESTED}
    for slot in slots | set(common.index.values()):
        _check_slot(book, slot)
    assert len(timers.unused) == len(timers.fresh) + len(timers.answered) + len(timers.pinged)


def _check_slot(book: Book[S], slot: Slot[S]) -> None:
    timers = book._common.timers
    assert (slot.number in book._common.index) == (slot.state is not State.CLOSED)
    assert (slot.socket is None) == (slot.state in {State.LOGIN, State.CLOSED})
    assert bool(slot.owner) == (slot.state in {State.LOGIN, State.TESTED, State.ACTIVE})
    assert (slot.ping is not None) == (slot in timers.pinged or slot.state is State.TESTED)
    assert (slot in timers.unused) == (slot.state is State.IDLE)
    waits = (slot in timers.fresh) + (slot in timers.answered) + (slot in timers.pinged)
    assert waits == (slot.state is State.IDLE)
    assert slot.socket is not None or slot not in timers.aging
    assert len(slot.lanes) <= LANES_MAX
