"""Budgets: what a key has spent in a period, and what is set aside for turns that still run.

The ledger is the truth. A counter in the store follows it: primed once with what the ledger holds
for the period, then moved with every reservation, settlement and charge. Three rules keep the two
equal, to the nano-dollar.

A row is put into the ledger before its cost is told here, in one step. So a cost belongs on top of
the counter exactly if it is told after the moment at which priming summed the rows (``counted``);
one that is told earlier, or while nothing was primed, is in the sum that priming finds.

What is told is only noted, without waiting; a later :meth:`Budgets.post` brings the store up to
date. So telling cannot fail or be cancelled, and happens exactly once.

A counter whose change was cut off, or failed, is in doubt: it may have been applied. It is not
repaired but primed anew when it is needed next, with the reservations that are known here. That
makes this process the only one to keep a key's counters.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import attrs
import trio

from relayd.config.keys import BudgetPeriod
from relayd.config.snapshot import Key
from relayd.ledger.periods import period_end, period_start
from relayd.state.store import Counted, Store, StoreError

GRACE_S: Final = 86_400.0
"""How long a counter outlives its period: the longest turn, and a clock that is set back."""


class Lack(enum.Enum):
    """Why a budget does not bear a turn.

    Attributes:
        SPENT: It would not even if nothing were set aside.
        RESERVED: It would once enough of what is set aside is free again.
    """

    SPENT = enum.auto()
    RESERVED = enum.auto()


class Spent(Protocol):
    """What the ledger says a key has spent: see ``Ledger.spent``."""

    async def __call__(self, key: str, since: float, *, counted: Callable[[], None]) -> int:
        """Nano-dollars of the key's rows that ended at ``since`` or later.

        ``counted`` is called at the moment that divides the rows: one put before is in the sum.
        Raises :class:`relayd.ledger.errors.LedgerError`.
        """


@attrs.define(eq=False)
class Counter:
    """Spent and reserved nano-dollars of one key in one period, here and in the store.

    Attributes:
        name: Its key in the store.
        since: When the period began, in seconds since the epoch.
        until: When it ends; ``None``: never.
        reserved_nano: Set aside by reservations that have not ended.
        primed: Whether the store holds what is known here, but for what is not posted yet.
    """

    name: str
    key_name: str
    since: int
    until: int | None
    _store: Store
    _spent: Spent
    _wall: Callable[[], float]
    reserved_nano: int = attrs.field(default=0, init=False)
    primed: bool = attrs.field(default=False, init=False)
    _stored: int = attrs.field(default=0, init=False)
    _unposted: int = attrs.field(default=0, init=False)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    @property
    def total_nano(self) -> int:
        """Spent and reserved, once primed."""
        return self._stored + self._unposted

    @property
    def spent_nano(self) -> int:
        """Spent, once primed."""
        return self.total_nano - self.reserved_nano

    @property
    def is_over(self) -> bool:
        """Whether its period has ended."""
        return self.until is not None and self._wall() >= self.until

    # -- what is told, without waiting

    def charge(self, nano: int) -> None:
        """A row of so much was put just now."""
        self._unposted += nano

    def set_aside(self, nano: int) -> None:
        """Reserve without asking; a negative amount gives back."""
        self.reserved_nano += nano
        self._unposted += nano

    # -- what is asked and written

    async def look(self) -> None:
        """Make sure that it is primed."""
        async with self._lock:
            if not self.primed:
                await self._prime()

    async def reserve(self, nano: int, budget_nano: int) -> Lack | None:
        """Set ``nano`` aside if the budget bears it and is not spent. Cancelled, it sets none."""
        async with self._lock:
            if not self.primed:
                await self._prime()
            if self.spent_nano >= budget_nano:
                return Lack.SPENT
            posting = self._unposted
            with self._in_doubt_unless_done():
                done = await self._store.add(
                    self.name, posting + nano, at_most=budget_nano, ttl_s=self._ttl_s()
                )
                self._stored += self._checked(done, posting + nano)
            if not done.applied:
                is_spent = self.spent_nano + nano > budget_nano
                return Lack.SPENT if is_spent else Lack.RESERVED
            self.reserved_nano += nano
            self._unposted -= posting
            return None

    async def post(self) -> None:
        """Bring the store up to date. The counter of a period that is over is not primed again."""
        async with self._lock:
            if not self.primed:
                if not self.is_over:
                    await self._prime()
                return
            posting, ttl_s = self._unposted, self._ttl_s()
            if ttl_s is not None and ttl_s <= 0:
                self.primed = False
            elif posting:
                with self._in_doubt_unless_done():
                    done = await self._store.add(self.name, posting, ttl_s=ttl_s)
                    self._stored += self._checked(done, posting)
                self._unposted -= posting

    async def _prime(self) -> None:
        """Count the rows, and write that down with what is reserved."""
        reserved: int | None = None

        def counted() -> None:
            # All costs that were told until now are in the sum, so they are not to be added to it.
            nonlocal reserved
            self._unposted, reserved = 0, self.reserved_nano

        spent = await self._spent(self.key_name, self.since, counted=counted)
        assert reserved is not None, "the moment of counting was told"
        await self._store.put(self.name, b"%d" % (spent + reserved), ttl_s=self._ttl_s())
        self._stored, self.primed = spent + reserved, True

    def _checked(self, done: Counted, amount: int) -> int:
        """What the store's answer moves the counter by, if it is the answer that was due."""
        moved = amount if done.applied else 0
        if done.value != self._stored + moved:
            raise StoreError("a budget's counter was lost, or changed by somebody else")
        return moved

    @contextmanager
    def _in_doubt_unless_done(self) -> Iterator[None]:
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                self.primed = False

    def _ttl_s(self) -> float | None:
        return None if self.until is None else self.until + GRACE_S - self._wall()


@attrs.define(eq=False)
class Reservation:
    """Money that is set aside for one turn. Ends with exactly one call; neither waits.

    Attributes:
        fits: Whether the budget bears it; ``None`` where that was not known when it was made.
    """

    nano: int
    fits: bool | None
    _counter: Counter
    _of_key: _OfKey
    _period: BudgetPeriod
    _budgets: Budgets
    _ended: bool = attrs.field(default=False, init=False)

    def settle(self, nano: int, ended_at: float) -> None:
        """The turn cost ``nano``; its row, which ended at ``ended_at``, was put just before."""
        self.void()
        self._budgets.charge_period(self._of_key, self._period, nano, ended_at)

    def void(self) -> None:
        """Nothing was spent on it that has no row of its own."""
        assert not self._ended, "a reservation ends once"
        self._ended = True
        self._counter.set_aside(-self.nano)
        self._of_key.unposted[self._counter] = None


@attrs.define(eq=False)
class _OfKey:
    """The counters of one key.

    Attributes:
        counters: By period and start.
        unposted: Those that :meth:`Budgets.post` has to look at, in order.
    """

    name: str
    counters: dict[tuple[BudgetPeriod, int], Counter] = attrs.field(factory=dict, init=False)
    unposted: dict[Counter, None] = attrs.field(factory=dict, init=False)

    def forget_old(self) -> None:
        """Drop what no reservation and no posting needs any more."""
        for place, counter in tuple(self.counters.items()):
            if counter.is_over and not counter.reserved_nano and counter not in self.unposted:
                del self.counters[place]


@attrs.define(eq=False)
class Budgets:
    """The budgets of all keys.

    Keys are told by name; a key without a budget has no business here. What is asked may raise
    :class:`StoreError`, or :class:`relayd.ledger.errors.LedgerError` where the ledger cannot be
    read for priming.
    """

    _store: Store
    _spent: Spent
    _wall: Callable[[], float]
    _keys: dict[str, _OfKey] = attrs.field(factory=dict, init=False)

    async def reserve(self, key: Key, nano: int) -> Reservation | Lack:
        """Set ``nano`` aside, or say why it does not fit. Cancelling this sets none aside."""
        of_key, counter = self._now(key)
        lack = await counter.reserve(nano, key.budget_nano)
        if lack is not None:
            return lack
        return Reservation(nano, True, counter, of_key, key.budget_period, self)

    def begin(self, key: Key, nano: int) -> Reservation:
        """Set ``nano`` aside for a turn that runs already, whether it fits or not."""
        of_key, counter = self._now(key)
        counter.set_aside(nano)
        of_key.unposted[counter] = None
        fits = None
        if counter.primed:
            fits = not (self.is_spent(key) or self.is_overdrawn(key))
        return Reservation(nano, fits, counter, of_key, key.budget_period, self)

    def charge(self, key: Key, nano: int, ended_at: float) -> None:
        """What nothing was set aside for cost ``nano``; its row was put just before."""
        self.charge_period(self._of(key.name), key.budget_period, nano, ended_at)

    def charge_period(
        self, of_key: _OfKey, period: BudgetPeriod, nano: int, ended_at: float
    ) -> None:
        """The part of a charge that settling shares."""
        counter = self._counter(of_key, period, ended_at)
        counter.charge(nano)
        of_key.unposted[counter] = None

    async def exhausted(self, key: Key) -> bool:
        """Whether what is spent has reached the budget."""
        _, counter = self._now(key)
        await counter.look()
        return counter.spent_nano >= key.budget_nano

    async def look(self, key: Key) -> tuple[int, int]:
        """What is spent and what is set aside in the current period, in nano-dollars."""
        _, counter = self._now(key)
        await counter.look()
        return counter.spent_nano, counter.reserved_nano

    def is_spent(self, key: Key) -> bool:
        """The same as far as it is known; ``False`` while it is not."""
        _, counter = self._now(key)
        return counter.primed and counter.spent_nano >= key.budget_nano

    def is_overdrawn(self, key: Key) -> bool:
        """Whether more is spent and set aside than the budget has, as far as it is known."""
        _, counter = self._now(key)
        return counter.primed and counter.total_nano > key.budget_nano

    def renewed_at(self, key: Key) -> int | None:
        """When the next period begins, in seconds since the epoch; ``None``: never."""
        return period_end(key.budget_period, self._wall())

    async def post(self, key_name: str) -> None:
        """Write what was told since the last time. What fails, or is cancelled, is still to post.

        Afterwards the counters that were looked at are primed, unless their period is over.
        """
        of_key = self._of(key_name)
        for counter in tuple(of_key.unposted):
            del of_key.unposted[counter]
            posted = False
            try:
                await counter.post()
                posted = True
            finally:
                if not posted:
                    of_key.unposted[counter] = None

    def _now(self, key: Key) -> tuple[_OfKey, Counter]:
        of_key = self._of(key.name)
        return of_key, self._counter(of_key, key.budget_period, self._wall())

    def _of(self, key_name: str) -> _OfKey:
        of_key = self._keys.get(key_name)
        if of_key is None:
            of_key = self._keys[key_name] = _OfKey(key_name)
        return of_key

    def _counter(self, of_key: _OfKey, period: BudgetPeriod, wall: float) -> Counter:
        start = period_start(period, wall)
        counter = of_key.counters.get((period, start))
        if counter is None:
            of_key.forget_old()
            name = f"budget:{of_key.name}:{period}:{start}"
            end = period_end(period, wall)
            counter = Counter(name, of_key.name, start, end, self._store, self._spent, self._wall)
            of_key.counters[period, start] = counter
        return counter
