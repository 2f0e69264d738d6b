"""The store in this process: what one relay needs, gone with it.

Nothing here waits, so no cancellation falls between a question and its answer, and every call is
one step to all tasks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from relayd.state.store import Counted, StoreError

ENTRIES_MAX: Final = 100_000
ENTRY_MAX_BYTES: Final = 4096
"""Of a key and its value together: the store is for small values."""

PURGE_STEP: Final = 8
"""Expired entries that a write drops at most. More than one, so that they never pile up."""

INTEGER_MAX: Final = 2**63 - 1
"""Counters are signed 64-bit integers, as in Redis and SQL."""

_DIGITS: Final = re.compile(rb"-?[0-9]{1,19}")


_Entry: TypeAlias = tuple[bytes, float | None]
"""A value, and when it has outlived its time; ``None``: never."""


class MemoryStore:
    """A :class:`~relayd.state.store.Store` of at most ``entries_max`` entries.

    When it is full, what has expired makes room; a new key beyond that is refused with a
    :class:`StoreError`, while those that are there can still be changed. A store that ``forgets``
    drops what would expire first instead: right for memories, wrong for counters.
    """

    waits: Final = False

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        entries_max: int = ENTRIES_MAX,
        forgets: bool = False,
    ) -> None:
        """Start empty.

        Args:
            clock: Seconds; times to live are counted by it.
            entries_max: At least 1.
            forgets: Whether a new key takes the place of one that expires.
        """
        self._clock = clock
        self._entries_max = entries_max
        self._forgets = forgets
        self._entries: dict[str, _Entry] = {}
        self._deadlines = _Deadlines()

    def __len__(self) -> int:
        """Entries that take room, among them expired ones that were not dropped yet."""
        return len(self._entries)

    async def get(self, key: str) -> bytes | None:
        """See :class:`~relayd.state.store.Store`."""
        entry = self._live(key)
        return None if entry is None else entry[0]

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """See :class:`~relayd.state.store.Store`. Without ``ttl_s`` it stays for good."""
        self._set(key, value, ttl_s)

    async def compare_and_set(
        self, key: str, expected: bytes | None, value: bytes | None, *, ttl_s: float | None = None
    ) -> bool:
        """See :class:`~relayd.state.store.Store`. Without ``ttl_s`` it stays for good."""
        entry = self._live(key)
        if (None if entry is None else entry[0]) != expected:
            return False
        if value is None:
            self._drop(key)
        else:
            self._set(key, value, ttl_s)
        return True

    async def add(
        self, key: str, amount: int, *, at_most: int | None = None, ttl_s: float | None = None
    ) -> Counted:
        """See :class:`~relayd.state.store.Store`. Without ``ttl_s`` its time stays what it was."""
        entry = self._live(key)
        before = 0 if entry is None else _integer(entry[0])
        after = before + amount
        if at_most is not None and after > at_most:
            return Counted(before, applied=False)
        if abs(after) > INTEGER_MAX:
            raise StoreError("a counter would leave the range of a signed 64-bit integer")
        kept_until = None if entry is None or ttl_s is not None else entry[1]
        self._set(key, b"%d" % after, ttl_s, kept_until)
        return Counted(after, applied=True)

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is None or entry[1] is None or self._clock() < entry[1]:
            return entry
        self._drop(key)
        return None

    def _set(
        self, key: str, value: bytes, ttl_s: float | None, expires_at: float | None = None
    ) -> None:
        """Keep ``value`` for so long, else until then; with neither for good."""
        now = self._clock()
        if ttl_s is not None:
            expires_at = now + ttl_s
        if len(key.encode()) + len(value) > ENTRY_MAX_BYTES:
            raise StoreError(f"a key and its value are more than {ENTRY_MAX_BYTES} bytes")
        self._purge(now)
        if key not in self._entries:
            self._make_room()
        self._entries[key] = value, expires_at
        if expires_at is None:
            self._deadlines.discard(key)
        else:
            self._deadlines.set(key, expires_at)

    def _make_room(self) -> None:
        """For another key. Raises :class:`StoreError` where there is none to be had."""
        oldest = None
        if len(self._entries) >= self._entries_max and self._forgets:
            oldest = self._deadlines.first_due(math.inf)
        if oldest is not None:
            self._drop(oldest)
        if len(self._entries) >= self._entries_max:
            raise StoreError(f"the store is full: it has {self._entries_max} entries")

    def _purge(self, now: float) -> None:
        for _ in range(PURGE_STEP):
            key = self._deadlines.first_due(now)
            if key is None:
                return
            self._drop(key)

    def _drop(self, key: str) -> None:
        self._entries.pop(key, None)
        self._deadlines.discard(key)


def _integer(value: bytes) -> int:
    if _DIGITS.fullmatch(value) is None:
        raise StoreError("a value that is no integer was used as a counter")
    return int(value)


class _Deadlines:
    """The keys that expire, soonest first: a binary heap that knows where each key stands.

    ``heapq`` cannot move or remove a key, so what was set anew would pile up in it until a pass
    over everything cleared it away. Here each key stands once, and each change takes a logarithm.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._places: dict[str, int] = {}

    def first_due(self, now: float) -> str | None:
        """The key whose time is over the longest, if there is one."""
        if self._heap and self._heap[0][0] <= now:
            return self._heap[0][1]
        return None

    def set(self, key: str, at: float) -> None:
        """Add ``key``, or move it."""
        place = self._places.get(key)
        if place is None:
            place = len(self._heap)
            self._heap.append((at, key))
            if not place or self._heap[(place - 1) // 2][0] <= at:  # as where all live equally long
                self._places[key] = place
                return
        self._settle(place, (at, key))

    def discard(self, key: str) -> None:
        """Remove ``key``, if it is there. The last one takes its place."""
        place = self._places.pop(key, None)
        if place is None:
            return
        last = self._heap.pop()
        if place < len(self._heap):
            self._settle(place, last)

    def _settle(self, place: int, item: tuple[float, str]) -> None:
        """Put ``item`` where it belongs, beginning at the free ``place``."""
        heap = self._heap
        while place and item < heap[parent := (place - 1) // 2]:
            self._stand(place, heap[parent])
            place = parent
        while (child := 2 * place + 1) < len(heap):
            if child + 1 < len(heap) and heap[child + 1] < heap[child]:
                child += 1
            if item <= heap[child]:
                break
            self._stand(place, heap[child])
            place = child
        self._stand(place, item)

    def _stand(self, place: int, item: tuple[float, str]) -> None:
        self._heap[place] = item
        self._places[item[1]] = place
