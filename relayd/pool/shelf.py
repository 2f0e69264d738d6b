"""The slots of one account: every decision about them, each in one step and without I/O.

What follows from a decision is left behind as values: a claim that has been answered is woken, and
a socket that is to be closed stands in ``Common.closings``. So nothing comes between a look and the
change it leads to, and no lock is needed.

Two things hold after every step. Whoever waits for any slot finds none: there are as many slots as
there may be, and none is unused. And who came first is served first, whether for one slot or any.
"""

from __future__ import annotations

from typing import TypeVar

from relayd.pool.claims import Claim
from relayd.pool.events import Broken, Outcome, PoolEventKind, Refused, Rotated
from relayd.pool.identity import Identity
from relayd.pool.places import Common, Places
from relayd.pool.slots import Ping, Slot, State
from relayd.pool.statistics import AccountPool

S = TypeVar("S")


class Shelf(Places[S]):
    """One account's slots and those who wait for them."""

    def __init__(self, name: str, credential: str | None, common: Common[S]) -> None:
        super().__init__(name, credential, common)
        self._leases = 0
        self._reused = 0

    @property
    def is_empty(self) -> bool:
        """Whether nobody would miss it."""
        return not len(self._lists) and not len(self._line)

    # -- acquirers

    def ask(self, claim: Claim[S], now: float) -> None:
        """Answer ``claim``, or let it wait.

        Of what it may have it gets the first: an unused socket of its identity, a place for a new
        one, the place of the socket that was unused for longest. There is none of these while
        somebody waits for any, so nobody is overtaken.
        """
        if self._common.closed:
            claim.refused = Refused.POOL_CLOSED
        elif claim.pinned is not None:
            self._ask_pinned(claim, now)
        elif (slot := self._reusable(claim, now)) is not None:
            self._lease(slot, claim, now)
        elif not self._is_full:
            self._place(claim)
        elif (slot := self._lists.least_used()) is not None:
            self._evict(slot, claim, now)
        else:
            self._line.join(claim, next(self._common.tickets))

    def warm(self, claim: Claim[S], opening: int) -> bool:
        """Give ``claim`` a place for a socket ahead of need, if one is free that would be kept.

        Args:
            claim: Its owner gives the slot back when the socket is open.
            opening: How many others are being opened so.
        """
        common = self._common
        room = common.settings.idle_max - self._lists.count(State.IDLE) - opening
        if common.closed or self._is_full or room <= 0:
            return False
        if claim.identity.credential != self.credential:
            return False
        self._place(claim)
        return True

    def opened(self, claim: Claim[S], socket: S, now: float) -> Slot[S]:
        """The place that ``claim`` was given has its socket; it is leased."""
        slot = self._owned(claim, State.LOGIN)
        slot.socket, slot.opened_at = socket, now
        noted = slot.use_lane(claim.lane)
        assert noted, "a new socket takes any lane"
        self._lists.move(slot, State.ACTIVE, now)
        self._common.timers.aging.put(slot, now)
        return slot

    def test(self, claim: Claim[S], now: float) -> Ping[S]:
        """The socket that ``claim`` was given must answer a ping first."""
        slot = self._owned(claim, State.ACTIVE)
        slot.ping = Ping(slot, slot.generation, now)
        self._lists.move(slot, State.TESTED, now)
        return slot.ping

    def tested(self, claim: Claim[S], now: float) -> None:
        """It did."""
        slot = self._owned(claim, State.TESTED)
        slot.ping = None
        self._lists.move(slot, State.ACTIVE, now)

    def replace(self, claim: Claim[S], reason: str, now: float) -> None:
        """The socket that ``claim`` was given is of no use.

        The claim keeps the place for another socket; one that is pinned is refused.
        """
        slot = self._owned(claim, State.ACTIVE)
        self._close_broken(slot, reason)
        if claim.pinned is None:
            self._renew(slot, claim, now)
            return
        claim.slot, claim.refused = None, Refused.PINNED_GONE
        self._vacate(slot, now)

    def picked_up(self, claim: Claim[S]) -> bool:
        """The lease begins; whether its socket has served another before."""
        slot = self._owned(claim, State.ACTIVE)
        slot.leases += 1
        self._leases += 1
        reused = slot.leases > 1
        self._reused += reused
        return reused

    def give_back(self, claim: Claim[S], now: float) -> None:
        """``claim`` is not wanted any more, whatever has become of it; doing so again is fine."""
        self._line.leave(claim)
        slot, claim.slot = claim.slot, None
        if slot is None:
            return
        assert slot.owner == claim.owner, "a slot has one owner"
        if slot.state is State.LOGIN:
            self._vacate(slot, now)
        elif slot.lost is not None:
            self._close_broken(slot, slot.lost)
            self._vacate(slot, now)
        else:
            self._offer(slot, now)

    # -- leases

    def yield_(self, claim: Claim[S], now: float) -> Outcome:
        """The lease is over and its socket is clean: the next one has it, or it is kept."""
        slot = self._owned(claim, State.ACTIVE)
        claim.slot = None
        return self._offer(slot, now)

    def broke(self, claim: Claim[S], reason: str, now: float) -> None:
        """The lease is over and its socket is of no more use; the next one has the place."""
        slot = self._owned(claim, State.ACTIVE)
        claim.slot = None
        self._close_broken(slot, reason)
        self._vacate(slot, now)

    # -- what happens to a socket that nobody uses

    def lost(
        self,
        slot: Slot[S],
        generation: int,
        reason: str,
        now: float,
        error: Exception | None = None,
    ) -> bool:
        """A socket was found to be of no more use.

        Returns:
            ``False`` where it had been replaced by then: nothing has changed. Where it has an
            owner, that is left to find out.
        """
        if slot.generation != generation or slot.socket is None:
            return False
        slot.error = error
        if slot.state is State.IDLE:
            self._close_broken(slot, reason)
            self._vacate(slot, now)
        else:
            slot.lost = slot.lost or reason
            self._refuse_pinned(slot)
        return True

    def judge(self, ping: Ping[S], now: float, *, alive: bool) -> bool:
        """The time of a ping is up.

        Returns:
            ``False`` where the verdict is void: the slot was leased, or has another socket, or
            was pinged again since.
        """
        slot = ping.slot
        outdated = slot.ping is not ping or slot.generation != ping.generation
        if outdated or slot.state is not State.IDLE:
            return False
        slot.ping = None
        self._common.timers.pinged.drop(slot)
        if alive:
            self._common.timers.answered.put(slot, now)
        else:
            self._close_broken(slot, Broken.PING_TIMEOUT)
            self._vacate(slot, now)
        return True

    def retire(self, slot: Slot[S], why: Rotated, now: float) -> None:
        """Close an unused socket in good order, or a leased one when its lease is over."""
        if slot.state is State.IDLE:
            self._close(slot, PoolEventKind.SLOT_ROTATED, why)
            self._vacate(slot, now)
        else:
            slot.leaving = why
            self._refuse_pinned(slot)

    # -- all at once

    def apply(self, credential: str | None, now: float) -> None:
        """The settings, or the account, may have changed: let go what they do not allow."""
        self.credential = credential
        for slot in self._lists.unused():
            if slot.identity.credential != credential:
                self.retire(slot, Rotated.ACCOUNT_CHANGED, now)
        for number in self._line.pinned_slots():
            slot = self._common.index[number]
            if self._must_leave(slot, now):
                self._refuse_pinned(slot)
        while (
            len(self._lists) > self._common.settings.slots_max
            and (least := self._lists.least_used()) is not None
        ):
            self.retire(least, Rotated.SLOTS_MAX, now)
        self._trim(now)
        while not self._is_full and (claim := self._line.first()) is not None:
            self._place(claim)

    def drain(self, now: float) -> None:
        """Close what is unused, refuse who waits. Who was given something keeps it."""
        for claim in self._line.everybody():
            self._refuse(claim, Refused.POOL_CLOSED)
        for slot in self._lists.unused():
            self.retire(slot, Rotated.DRAIN, now)

    def is_alive(self, slot: Slot[S], now: float) -> bool:
        """Whether its socket may be leased again, once it is free."""
        return slot.socket is not None and slot.lost is None and self._must_leave(slot, now) is None

    def unused_of(self, identity: Identity) -> int:
        """How many sockets of ``identity`` are ready."""
        return self._lists.count_unused(identity)

    def statistics(self, now: float) -> AccountPool:
        """The account's pool at this moment."""
        since = self._line.oldest_since()
        active = self._lists.count(State.ACTIVE)
        return AccountPool(
            account=self.name,
            cl_active=active,
            cl_waiting=len(self._line),
            sv_active=active,
            sv_idle=self._lists.count(State.IDLE),
            sv_tested=self._lists.count(State.TESTED),
            sv_login=self._lists.count(State.LOGIN),
            maxwait_s=0.0 if since is None else now - since,
            slots_max=self._common.settings.slots_max,
            leases=self._leases,
            reused=self._reused,
        )

    # -- choosing

    def _ask_pinned(self, claim: Claim[S], now: float) -> None:
        """One socket alone will do: it is leased, waited for, or gone."""
        ref = claim.pinned
        slot = None if ref is None else self._common.index.get(ref.slot)
        if (
            slot is None
            or slot.ref != ref
            or slot.identity != claim.identity
            or not self.is_alive(slot, now)
            or not slot.takes_lane(claim.lane)
        ):
            claim.refused = Refused.PINNED_GONE
        elif slot.state is State.IDLE:
            self._lease(slot, claim, now)
        else:
            self._line.join(claim, next(self._common.tickets))

    def _reusable(self, claim: Claim[S], now: float) -> Slot[S] | None:
        """The unused slot of its identity that was used last and may serve ``claim``.

        Those that may not are let go on the way, so that each is looked at once.
        """
        while (slot := self._lists.last_used(claim.identity)) is not None:
            why = self._must_leave(slot, now)
            if why is None and not slot.takes_lane(claim.lane):
                why = Rotated.LANES_MAX
            if why is None:
                return slot
            self.retire(slot, why, now)
        return None
