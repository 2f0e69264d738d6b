"""A store and a ledger whose answers the test lets through one by one, or makes fail."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from relayd.ledger.errors import LedgerError
from relayd.state.store import Counted, Store, StoreError


@attrs.define(eq=False)
class Visitor:
    """Somebody who waits at a gate."""

    gate: Gate
    error: Exception
    fails: bool = False
    _event: trio.Event = attrs.field(factory=trio.Event)

    def go(self, *, fails: bool = False) -> None:
        """Let it through, or make its call fail."""
        self.gate.visitors.remove(self)
        self.fails = fails
        self._event.set()

    async def wait(self) -> None:
        try:
            await self._event.wait()
        finally:
            if self in self.gate.visitors:
                self.gate.visitors.remove(self)
        if self.fails:
            raise self.error


@attrs.define(eq=False)
class Gate:
    """Where every call stops, before it does something and before it answers.

    Attributes:
        shut: Whether it does.
        broken: Whether every call of the store fails at once instead.
    """

    shut: bool = False
    broken: bool = False
    visitors: list[Visitor] = attrs.field(factory=list)

    async def passed(self, error: Exception) -> None:
        if self.shut:
            visitor = Visitor(self, error)
            self.visitors.append(visitor)
            await visitor.wait()

    def open(self) -> None:
        """Let everybody through, from now on."""
        self.shut = False
        for visitor in tuple(self.visitors):
            visitor.go()


@attrs.define(eq=False)
class GatedStore:
    """A :class:`Store` behind a gate.

    Attributes:
        calls: How many calls have been applied.
    """

    inner: Store
    gate: Gate
    calls: int = 0
    waits: bool = attrs.field(default=True, init=False)

    async def get(self, key: str) -> bytes | None:
        await self._enter()
        answer = await self.inner.get(key)
        await self._leave()
        return answer

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await self._enter()
        await self.inner.put(key, value, ttl_s=ttl_s)
        await self._leave()

    async def compare_and_set(
        self, key: str, expected: bytes | None, value: bytes | None, *, ttl_s: float | None = None
    ) -> bool:
        await self._enter()
        answer = await self.inner.compare_and_set(key, expected, value, ttl_s=ttl_s)
        await self._leave()
        return answer

    async def add(
        self, key: str, amount: int, *, at_most: int | None = None, ttl_s: float | None = None
    ) -> Counted:
        await self._enter()
        answer = await self.inner.add(key, amount, at_most=at_most, ttl_s=ttl_s)
        await self._leave()
        return answer

    async def _enter(self) -> None:
        if self.gate.broken:
            raise StoreError("the store is away")
        await self.gate.passed(StoreError("the question was lost"))

    async def _leave(self) -> None:
        self.calls += 1
        await self.gate.passed(StoreError("the answer was lost"))


@attrs.define(eq=False)
class FakeLedger:
    """Rows by session and entry, each kept once, and their sums.

    Attributes:
        sums: How many sums were asked for.
        unreadable: Whether sums fail at once.
    """

    gate: Gate = attrs.field(factory=Gate)
    rows: dict[tuple[str, str], tuple[str, float, int]] = attrs.field(factory=dict)
    sums: int = 0
    unreadable: bool = False

    def put(self, key: str, ended_at: float, nano: int) -> None:
        """A row that was not there yet."""
        self.rows["sess", f"response:{len(self.rows)}"] = (key, ended_at, nano)

    def replay(self) -> None:
        """The rows that are there, once more."""
        for name, row in tuple(self.rows.items()):
            self.rows.setdefault(name, row)

    def sum(self, key: str, since: float) -> int:
        return sum(
            nano for name, ended_at, nano in self.rows.values() if name == key and ended_at >= since
        )

    async def spent(self, key: str, since: float, *, counted: Callable[[], None]) -> int:
        self.sums += 1
        if self.unreadable:
            raise LedgerError("the disk is gone")
        await self.gate.passed(LedgerError("the disk is gone"))
        total = self.sum(key, since)
        counted()
        await self.gate.passed(LedgerError("the disk went away"))
        return total


@attrs.define(eq=False)
class Wall:
    """A clock that the test sets. It begins on Thursday, 2026-01-01, at noon UTC."""

    now: float = 1_767_268_800.0

    def __call__(self) -> float:
        return self.now
