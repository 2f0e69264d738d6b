"""Token buckets on a store: so many a minute, and as many at once.

A bucket holds what may still be taken. It starts full, refills all the time and never beyond its
capacity, so in any time ``t`` at most ``capacity + capacity * t / 60`` can be taken one by one.
A debit that is known only afterwards may overdraw it. Times are whole microseconds and levels
whole parts of a unit, so all of this is exact.
"""

from __future__ import annotations

import re
from typing import Final, Self

import attrs

from relayd.state.store import Store, StoreError

ATTEMPTS_MAX: Final = 32
"""Of one change, each of which somebody else's change came before."""

DEBT_MAX_MINUTES: Final = 24 * 60
"""A debit overdraws by what so many minutes refill at most: one wrong report locks nobody out
for longer than a day."""

SKEW_MAX_US: Final = 2_000_000
"""How far a time may lie before the bucket's own and still count as another host's late clock;
farther, and the clock was set back."""

_MICROS: Final = 1_000_000
_PARTS: Final = 60 * _MICROS
"""Parts of one unit: a bucket of one a minute refills by one part in a microsecond."""

_WRITTEN: Final = re.compile(rb"(-?[0-9]{1,30}) (-?[0-9]{1,20})")


@attrs.frozen
class Taken:
    """What became of a :func:`take`.

    Attributes:
        ok: Whether there was enough, also where it was taken in any case.
        retry_after_s: If not: in how many seconds there will be, if nothing else is taken.
    """

    ok: bool
    retry_after_s: float = 0.0


@attrs.frozen
class Bucket:
    """A bucket at one moment; pure arithmetic.

    Attributes:
        per_minute: Its capacity, and what it refills by in a minute; at least 1.
        level_parts: What is in it, in parts of a unit; negative when overdrawn.
        at_us: The moment, in microseconds.
    """

    per_minute: int
    level_parts: int
    at_us: int

    @classmethod
    def full(cls, per_minute: int, at_us: int) -> Self:
        """A bucket from which nothing was taken lately."""
        return cls(per_minute, per_minute * _PARTS, at_us)

    @property
    def is_full(self) -> bool:
        """Whether it is as if it had never been used."""
        return self.level_parts >= self.per_minute * _PARTS

    def at(self, now_us: int) -> Bucket:
        """The same bucket, later. A clock that was set back refills nothing and loses nothing."""
        if self.at_us - SKEW_MAX_US <= now_us < self.at_us:
            return self
        refilled = max(now_us - self.at_us, 0) * self.per_minute
        level = _bounded(self.level_parts + refilled, self.per_minute)
        return Bucket(self.per_minute, level, now_us)

    def debited(self, amount: int) -> Bucket:
        """``amount`` units fewer; more, up to the capacity, where it is negative."""
        level = self.level_parts - amount * _PARTS
        return attrs.evolve(self, level_parts=_bounded(level, self.per_minute))

    def lacks_us(self, units: int, now_us: int) -> int:
        """Microseconds from ``now_us`` until it holds ``units``; 0 where it does."""
        missing = units * _PARTS - self.level_parts
        if missing <= 0:
            return 0
        return max(self.at_us - now_us, 0) + -(-missing // self.per_minute)

    def encoded(self) -> bytes:
        """As the store keeps it. The capacity is the configuration's to know."""
        return b"%d %d" % (self.level_parts, self.at_us)

    @classmethod
    def decoded(cls, written: bytes, per_minute: int) -> Self:
        """The inverse of :meth:`encoded`. Raises :class:`StoreError`."""
        found = _WRITTEN.fullmatch(written)
        if found is None:
            raise StoreError("a value that is no bucket was used as one")
        return cls(per_minute, _bounded(int(found[1]), per_minute), int(found[2]))


def _bounded(level_parts: int, per_minute: int) -> int:
    capacity = per_minute * _PARTS
    return max(min(level_parts, capacity), -DEBT_MAX_MINUTES * capacity)


async def take(
    store: Store, key: str, per_minute: int, amount: int, wall: float, *, need: int | None
) -> Taken:
    """Take ``amount`` out of a bucket if it holds at least ``need``.

    An idle bucket vanishes from the store when it would be full anyway. Cancelling this may or may
    not have taken the amount.

    Args:
        store: Where buckets are.
        key: Names the bucket.
        per_minute: Its capacity, at least 1. Where it has changed, the new one counts.
        amount: 0 only looks; a negative amount gives back.
        wall: Seconds since the epoch.
        need: At most ``per_minute``. ``None`` takes the amount in any case.

    Raises:
        StoreError: The store did not answer, or others were faster every time.
    """
    now_us = round(wall * _MICROS)
    for _ in range(ATTEMPTS_MAX):
        written = await store.get(key)
        if written is None:
            bucket = Bucket.full(per_minute, now_us)
        else:
            bucket = Bucket.decoded(written, per_minute).at(now_us)
        if need is not None and (lacking_us := bucket.lacks_us(need, now_us)):
            # One more than the sum says: a time in seconds may be rounded down by as much.
            return Taken(ok=False, retry_after_s=(lacking_us + 1) / _MICROS)
        if amount == 0:
            return Taken(ok=True)
        bucket = bucket.debited(amount)
        full_in_us = bucket.lacks_us(per_minute, now_us)
        value = None if bucket.is_full else bucket.encoded()
        if await store.compare_and_set(key, written, value, ttl_s=1 + full_in_us / _MICROS):
            overdrawn_us = bucket.lacks_us(0, now_us)
            return Taken(ok=not overdrawn_us, retry_after_s=overdrawn_us / _MICROS)
    raise StoreError(f"a bucket was changed by others {ATTEMPTS_MAX} times in a row")
