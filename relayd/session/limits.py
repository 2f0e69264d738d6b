"""The limits of keys: sessions, turns and tokens a minute, and money.

What is asked before a session or a turn waits for the store; what has happened is noted without
waiting and applied by the :mod:`bookkeeper <relayd.session.bookkeeper>`. While the store does not
answer, limits let everything through or nothing, as configured; no error of its leaves this module.
A ledger that cannot be read refuses in any case, since nobody knows then what is left of a budget.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal, TypeAlias

import attrs

from relayd.config.snapshot import Key
from relayd.core.refusals import Refusal
from relayd.dialect.meter import Refuse
from relayd.ledger.budgets import Budgets, Lack, Reservation
from relayd.ledger.errors import LedgerError
from relayd.session import denials
from relayd.session.admission import Grant, Lease
from relayd.session.bookkeeper import Bookkeeper, KeyUse, RateWatch, Use
from relayd.session.denials import INSUFFICIENT_QUOTA, Denial
from relayd.state.store import Store, StoreError

__all__ = ["INSUFFICIENT_QUOTA", "Exhausted", "Hold", "Limits"]

Exhausted: TypeAlias = Callable[[Refuse], None]
"""Hears, in the event loop and outside any pass, that the key has no money left. Must not raise."""


@attrs.define(eq=False, kw_only=True)
class Limits:
    """A :class:`~relayd.session.admission.Quota`, and the limits of turns.

    Attributes:
        sessions_max: Of the process, at least 1; what a configured 0 stands for is for the caller
            to know.
        on_failure: What limits do while the store is away: ``open`` lets everything through.
        live: Leases of the process that are not released.
    """

    store: Store
    budgets: Budgets
    wall: Callable[[], float]
    sessions_max: int
    on_failure: Literal["open", "closed"]
    live: int = attrs.field(default=0, init=False)
    _uses: dict[str, KeyUse] = attrs.field(factory=dict, init=False)
    _bookkeeper: Bookkeeper = attrs.field(init=False)

    @_bookkeeper.default
    def _made_bookkeeper(self) -> Bookkeeper:
        return Bookkeeper(self.wall, self.on_failure)

    @property
    def waiting(self) -> int:
        """Keys about which something was noted that is not applied yet."""
        return self._bookkeeper.waiting

    @property
    def store_away(self) -> bool:
        """Whether the store did not answer when it was last told something."""
        return self._bookkeeper.away

    def store_failed(self, error: StoreError) -> None:
        """Somebody else's question to the store was not answered: say so, but not too often."""
        self._bookkeeper.report(error)

    async def run(self) -> None:
        """Apply what is noted; see :meth:`Bookkeeper.run`. Runs as long as there are sessions."""
        await self._bookkeeper.run()

    # -- sessions

    async def take(self, grant: Grant) -> Lease | Refusal:
        """See :class:`~relayd.session.admission.Quota`. Refusing gives back what was taken."""
        if self.live >= self.sessions_max:
            return denials.OVERLOADED.refusal()
        key, lease = grant.key, _SessionLease(self, grant.key)
        self.live += 1
        with ExitStack() as undo:
            undo.callback(lease.release)
            denial = (
                await self._deny_session(key, lease)
                or await self._deny_spending(key)
                or await self._deny_rate(key, self.wall(), turns=0)
            )
            if denial is not None:
                return denial.refusal()
            undo.pop_all()
        return lease

    async def _deny_session(self, key: Key, lease: _SessionLease) -> Denial | None:
        sessions = self.use_of(key).sessions
        try:
            lease.counted = await sessions.admit(key.sessions_max)
        except StoreError as error:
            if (denial := self.deny_while_away(error)) is not None:
                return denial
            sessions.admit_anyway()
            lease.counted = True
        return None if lease.counted else denials.too_many_sessions(key)

    async def _deny_spending(self, key: Key) -> Denial | None:
        if not key.budget_nano:
            return None
        try:
            exhausted = await self.budgets.exhausted(key)
        except (StoreError, LedgerError) as error:
            return self.deny_while_away(error)
        return self.deny_money(key) if exhausted else None

    def deny_while_away(self, error: StoreError | LedgerError) -> Denial | None:
        """What an error means: nothing, where limits are open while the store is away."""
        self._bookkeeper.report(error)
        if isinstance(error, LedgerError):
            return denials.LEDGER_AWAY
        return None if self.on_failure == "open" else denials.STORE_AWAY

    def note(self, use: Use) -> None:
        """Something was noted that is told to the store beside what keys use."""
        self._bookkeeper.post(use)

    # -- turns

    def needs_asking(self, key: Key) -> bool:
        """Whether turns of ``key`` have any limit."""
        return bool(key.budget_nano or key.requests_per_minute or key.tokens_per_minute)

    async def take_turn(
        self, key: Key, reserve_nano: int, wall: float, exhausted: Exhausted
    ) -> Hold | Refuse:
        """The right to one turn. Budget first, then tokens, then requests.

        Where only what is set aside for turns that run stands against it, it is refused as a rate
        is: what they do not use is free again when they end.

        Cancelling this, or a refusal, gives back what was set aside; only a debit that the store
        was just being asked for may stand, and is made up for within the minute.

        Args:
            key: Whose turn it is.
            reserve_nano: What it may cost.
            wall: Seconds since the epoch.
            exhausted: Called at most once per settlement, when the budget is spent then.
        """
        with ExitStack() as undo:
            reservation = None
            if key.budget_nano:
                reserved = await self._reserve(key, reserve_nano)
                if isinstance(reserved, Denial):
                    return reserved.refuse()
                reservation = reserved
            hold = Hold(self, key, reservation, exhausted)
            undo.callback(hold.void)
            denial = await self._deny_rate(key, wall, turns=1)
            if denial is not None:
                return denial.refuse()
            undo.pop_all()
        return hold

    def begin_turn(
        self,
        key: Key,
        reserve_nano: int,
        exhausted: Exhausted,
        too_fast: Exhausted | None = None,
    ) -> Hold:
        """A turn that the upstream has begun, which cannot be refused. Never waits.

        Where the budget does not bear it, ``exhausted`` is called soon; it settles all the same.
        Likewise ``too_fast``, where it is more than the requests of a minute.
        """
        reservation = None
        if key.budget_nano:
            reservation = self.budgets.begin(key, reserve_nano)
            if reservation.fits is not True:
                self._watch(_Watch(self, key, exhausted, reservation))
        if key.requests_per_minute:
            use = self.use_of(key)
            use.requests.owe(key.requests_per_minute, 1)
            if too_fast is not None:
                use.watches[too_fast, "rate"] = RateWatch(use.requests, key, too_fast)
        self.post(key)
        return Hold(self, key, reservation, exhausted)

    def charge(
        self, key: Key, nano: int, tokens: int, ended_at: float, exhausted: Exhausted
    ) -> None:
        """Something outside turns was used; its row, ended at ``ended_at``, was put just before.

        Never waits. ``exhausted`` is called soon if the budget is spent with it.
        """
        if key.budget_nano:
            self.budgets.charge(key, nano, ended_at)
        self.used(key, tokens, exhausted)

    def used(self, key: Key, tokens: int, exhausted: Exhausted) -> None:
        """The part of a charge that settling shares."""
        if key.budget_nano:
            self._watch(_Watch(self, key, exhausted))
        if key.tokens_per_minute and tokens:
            self.use_of(key).tokens.owe(key.tokens_per_minute, tokens)
        self.post(key)

    async def _reserve(self, key: Key, nano: int) -> Reservation | Denial:
        try:
            reservation = await self.budgets.reserve(key, nano)
        except (StoreError, LedgerError) as error:
            # Known here at least, for when the store is back.
            return self.deny_while_away(error) or self.budgets.begin(key, nano)
        match reservation:
            case Lack.SPENT:
                return self.deny_money(key)
            case Lack.RESERVED:
                return denials.money_set_aside(key)
        return reservation

    async def _deny_rate(self, key: Key, wall: float, *, turns: int) -> Denial | None:
        """The rate that stands against a turn; ``turns`` is how many are taken if none does."""
        use, tokens, requests = self.use_of(key), key.tokens_per_minute, key.requests_per_minute
        try:
            if tokens:
                taken = await use.tokens.take(tokens, 0, wall, need=0)
                if not taken.ok:
                    return denials.too_fast("tokens", tokens, taken.retry_after_s)
            if requests:
                taken = await use.requests.take(requests, turns, wall, need=1)
                if not taken.ok:
                    return denials.too_fast("requests", requests, taken.retry_after_s)
        except StoreError as error:
            return self.deny_while_away(error)
        return None

    # -- what they share

    def use_of(self, key: Key) -> KeyUse:
        """What is known here about a key; one per name, and names come from the configuration."""
        use = self._uses.get(key.name)
        if use is None:
            use = self._uses[key.name] = KeyUse.of(key.name, self.store, self.budgets)
        return use

    def post(self, key: Key) -> None:
        """Something was noted about ``key``."""
        self._bookkeeper.post(self.use_of(key))

    def deny_money(self, key: Key) -> Denial:
        """What the client of a key is told that has no money left."""
        return denials.out_of_money(key, self.budgets.renewed_at(key), self.wall())

    def _watch(self, watch: _Watch) -> None:
        self.use_of(watch.key).watches[watch.exhausted, watch.begun is None] = watch


@attrs.define(eq=False)
class _SessionLease:
    """A :class:`~relayd.session.admission.Lease`.

    Attributes:
        counted: Whether the key's count has it.
    """

    _limits: Limits
    _key: Key
    counted: bool = attrs.field(default=False, init=False)
    _released: bool = attrs.field(default=False, init=False)

    def release(self) -> None:
        """See :class:`~relayd.session.admission.Lease`."""
        if self._released:
            return
        self._released = True
        self._limits.live -= 1
        sessions = self._limits.use_of(self._key).sessions
        if self.counted:
            sessions.release()
        if sessions.shared:
            # Where it was not counted, the store may have counted it for all that.
            self._limits.post(self._key)


@attrs.define(eq=False)
class Hold:
    """The right to one turn, and what is set aside for it. Ends with exactly one call.

    Neither waits: both note what has happened.
    """

    _limits: Limits
    _key: Key
    _reservation: Reservation | None
    _exhausted: Exhausted
    _ended: bool = attrs.field(default=False, init=False)

    def settle(self, nano: int, tokens: int, ended_at: float) -> None:
        """The turn is over; its row was put just before.

        Args:
            nano: What it cost.
            tokens: What it used, input and output.
            ended_at: What the row says.
        """
        self._end()
        if self._reservation is not None:
            self._reservation.settle(nano, ended_at)
        self._limits.used(self._key, tokens, self._exhausted)

    def void(self) -> None:
        """Nothing was used. It counts as a turn of its minute all the same."""
        self._end()
        if self._reservation is not None:
            self._reservation.void()
            self._limits.post(self._key)

    def _end(self) -> None:
        assert not self._ended, "a hold ends once"
        self._ended = True


@attrs.define(eq=False)
class _Watch:
    """Looks, once the key's money is posted, whether there is any left.

    Attributes:
        begun: The reservation of a turn that was not asked for; ``None`` after a settlement.
    """

    _limits: Limits
    key: Key
    exhausted: Exhausted
    begun: Reservation | None = None

    def __call__(self) -> None:
        """Tell the session, if there is none."""
        budgets, begun = self._limits.budgets, self.begun
        gone = budgets.is_spent(self.key)
        if begun is not None:
            gone = gone or begun.fits is False or budgets.is_overdrawn(self.key)
        if gone:
            self.exhausted(self._limits.deny_money(self.key).refuse())
