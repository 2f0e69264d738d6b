"""How the places of one account go from hand to hand; who may have one stands in ``shelf.py``.

A place is a slot without a socket: whoever is given it opens one. When a socket goes, its place
stays, and the first of those who wait for any slot has it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

import attrs

from relayd.config.pools import PoolSettings
from relayd.pool.claims import Claim, Line
from relayd.pool.events import Outcome, PoolEventKind, Refused, Rotated
from relayd.pool.slots import Closing, Lists, Slot, State, Timers

S = TypeVar("S")


@attrs.define
class Common(Generic[S]):
    """What the accounts of a pool share.

    Attributes:
        closings: Sockets to be closed; broken ones come first.
        index: Every slot by its number.
        closed: No claim is accepted any more.
    """

    settings: PoolSettings
    timers: Timers[S] = attrs.Factory(Timers)
    closings: deque[Closing[S]] = attrs.Factory(deque)
    index: dict[int, Slot[S]] = attrs.Factory(dict)
    closed: bool = False
    numbers: Iterator[int] = attrs.Factory(lambda: itertools.count(1))
    tickets: Iterator[int] = attrs.Factory(lambda: itertools.count(1))


class Places(Generic[S]):
    """The slots of one account, who waits for them, and the moves between the two.

    Attributes:
        name: The account's.
        credential: That of its sockets; one with another is not leased again. ``None``: the
            account is gone.
    """

    def __init__(self, name: str, credential: str | None, common: Common[S]) -> None:
        self.name = name
        self.credential = credential
        self._common = common
        self._lists = Lists(common.timers, common.index)
        self._line = Line[S]()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {len(self._lists)}, {len(self._line)} waiting>"

    @property
    def _is_full(self) -> bool:
        return len(self._lists) >= self._common.settings.slots_max

    # -- to a claim

    def _owned(self, claim: Claim[S], state: State) -> Slot[S]:
        """The slot that ``claim`` was given, which is still its own."""
        slot = claim.slot
        assert slot is not None, "the claim has been given nothing"
        assert slot.owner == claim.owner, "the slot has another owner"
        assert slot.state is state, f"the slot is {slot.state}"
        return slot

    def _lease(self, slot: Slot[S], claim: Claim[S], now: float) -> None:
        """``claim`` gets the slot with its socket."""
        assert slot.identity == claim.identity, "a socket is leased to its own identity"
        noted = slot.use_lane(claim.lane)
        assert noted, "a socket takes a bounded number of lanes"
        slot.ping = None
        if slot.state is not State.ACTIVE:
            self._lists.move(slot, State.ACTIVE, now)
        self._answer(claim, slot)

    def _place(self, claim: Claim[S]) -> None:
        """``claim`` gets a place that nobody has."""
        assert not self._is_full, "there are as many slots as there may be"
        slot: Slot[S] = Slot(self.name, next(self._common.numbers), 1, claim.identity)
        self._lists.add(slot)
        self._answer(claim, slot)

    def _renew(self, slot: Slot[S], claim: Claim[S], now: float) -> None:
        """``claim`` gets the place of a socket that has gone."""
        self._lists.move(slot, State.LOGIN, now)
        slot.generation += 1
        slot.identity = claim.identity
        slot.lanes = set()
        slot.lost = slot.error = slot.leaving = None
        slot.leases = 0
        self._answer(claim, slot)

    def _answer(self, claim: Claim[S], slot: Slot[S]) -> None:
        self._line.leave(claim)
        slot.owner = claim.owner
        claim.slot = slot
        claim.wake()

    def _refuse(self, claim: Claim[S], why: Refused) -> None:
        self._line.leave(claim)
        claim.refused = why
        claim.wake()

    def _refuse_pinned(self, slot: Slot[S]) -> None:
        """Nobody will have this socket any more."""
        for claim in self._line.pinned_to(slot):
            self._refuse(claim, Refused.PINNED_GONE)

    # -- from whoever had it

    def _vacate(self, slot: Slot[S], now: float) -> None:
        """The slot has no socket and no owner: its place goes on, or there is one less."""
        slot.owner = ""
        claim = self._line.first()
        if claim is not None and len(self._lists) <= self._common.settings.slots_max:
            self._renew(slot, claim, now)
        else:
            self._lists.move(slot, State.CLOSED, now)

    def _offer(self, slot: Slot[S], now: float) -> Outcome:
        """The slot has a sound socket and no owner: whoever is first has it, or it is kept."""
        slot.owner = ""
        why = self._must_leave(slot, now)
        if why is None and len(self._lists) > self._common.settings.slots_max:
            why = Rotated.SLOTS_MAX
        if why is not None:
            self._close(slot, PoolEventKind.SLOT_ROTATED, why)
            self._vacate(slot, now)
            return Outcome.ROTATED
        while (claim := self._line.first_for(slot)) is not None:
            if claim.identity != slot.identity:
                self._evict(slot, claim, now)
            elif slot.takes_lane(claim.lane):
                self._lease(slot, claim, now)
            elif claim.pinned is not None:
                self._refuse(claim, Refused.PINNED_GONE)
                continue
            else:
                self._close(slot, PoolEventKind.SLOT_ROTATED, Rotated.LANES_MAX)
                self._renew(slot, claim, now)
            return Outcome.HANDED_OVER
        self._lists.move(slot, State.IDLE, now)
        self._trim(now)
        return Outcome.YIELDED if slot.state is State.IDLE else Outcome.ROTATED

    def _evict(self, slot: Slot[S], claim: Claim[S], now: float) -> None:
        """A sound socket makes room for one of another identity."""
        self._close(slot, PoolEventKind.SLOT_EVICTED, Rotated.OTHER_IDENTITY)
        self._renew(slot, claim, now)

    def _trim(self, now: float) -> None:
        """Keep no more unused sockets than the settings say."""
        while (
            self._lists.count(State.IDLE) > self._common.settings.idle_max
            and (slot := self._lists.least_used()) is not None
        ):
            self._close(slot, PoolEventKind.SLOT_ROTATED, Rotated.IDLE_MAX)
            self._vacate(slot, now)

    def _must_leave(self, slot: Slot[S], now: float) -> Rotated | None:
        """Why a sound socket is not to be leased again, if it is not."""
        if self._common.closed:
            return Rotated.DRAIN
        if slot.leaving is not None:
            return slot.leaving
        if now >= slot.opened_at + self._common.settings.age_max_s:
            return Rotated.AGE_MAX
        if slot.identity.credential != self.credential:
            return Rotated.ACCOUNT_CHANGED
        return None

    # -- sockets

    def _close_broken(self, slot: Slot[S], reason: str) -> None:
        self._close(slot, PoolEventKind.SLOT_BROKEN, slot.lost or reason)

    def _close(self, slot: Slot[S], kind: PoolEventKind, reason: str) -> None:
        """Take the socket out of the slot, to be closed; whoever waits for it is told."""
        assert slot.socket is not None, "a slot's socket is closed once"
        closing = Closing(
            slot.socket,
            kind,
            self.name,
            slot.number,
            slot.generation,
            reason,
            slot.opened_at,
            slot.error,
        )
        slot.socket = slot.ping = None
        self._common.timers.aging.drop(slot)
        if kind is PoolEventKind.SLOT_BROKEN:
            self._common.closings.appendleft(closing)
        else:
            self._common.closings.append(closing)
        self._refuse_pinned(slot)
