"""What was answered to requests that a publisher may repeat, so that nothing is published twice.

Publishing is one step, so a request is either not here or has its answer.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, NamedTuple

import attrs

from relayd.hub.shares import Shares

KEY_MAX_CHARS: Final = 256
"""Of an ``Idempotency-Key``; the caller looks."""

ENTRY_BYTES: Final = 512
"""What is counted for an entry beside its answer and the names of its place."""


def digest_of(body: bytes) -> bytes:
    """What tells a request from another one."""
    return hashlib.sha256(body).digest()


@attrs.frozen
class _Entry:
    digest: bytes
    answer: bytes
    at: float
    size: int


@attrs.frozen
class Reused:
    """The key came with another request before: this one is refused."""


class Place(NamedTuple):
    """Where an answer is kept: two programs of a tenant may use the same key.

    Attributes:
        tenant: Whose it is.
        publisher: What the one is called that sent the request.
        key: Its ``Idempotency-Key``.
    """

    tenant: str
    publisher: str
    key: str


class Answers:
    """Answers by their places; where there are too many, a tenant that has many loses its oldest.

    Args:
        count_max: How many.
        bytes_max: How much.
        age_s: What is as old as this is forgotten.
    """

    def __init__(
        self, *, count_max: int = 10_000, bytes_max: int = 16 << 20, age_s: float = 300.0
    ) -> None:
        self.count_max = count_max
        self.bytes_max = bytes_max
        self.age_s = age_s
        self._size = 0
        self._entries: OrderedDict[Place, _Entry] = OrderedDict()
        self._tenants: dict[str, OrderedDict[Place, None]] = {}
        self._counts, self._sizes = Shares(), Shares()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._size

    def find(self, place: Place, digest: bytes, now: float) -> bytes | Reused | None:
        """What was answered to this request; ``None`` where it is the first of its key.

        Args:
            place: Where its answer would be.
            digest: Of the request, see :func:`digest_of`.
            now: The hub's clock.
        """
        self._expire(now)
        entry = self._entries.get(place)
        if entry is None:
            return None
        return entry.answer if entry.digest == digest else Reused()

    def keep(self, place: Place, digest: bytes, answer: bytes, now: float) -> None:
        """Remember an answer, in place of an earlier one of the same key."""
        if place in self._entries:
            self._remove(place)
        size = ENTRY_BYTES + sum(map(len, place)) + len(answer)
        self._entries[place] = _Entry(digest, answer, now, size)
        self._tenants.setdefault(place.tenant, OrderedDict())[place] = None
        self._count(place, 1, size)
        self._expire(now)
        while len(self._entries) > self.count_max:
            self._remove(self._oldest_of(self._counts.most(preferred=place.tenant)))
        while self._size > self.bytes_max:
            self._remove(self._oldest_of(self._sizes.most(preferred=place.tenant)))

    def _expire(self, now: float) -> None:
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest].at > now - self.age_s:
                return
            self._remove(oldest)

    def _oldest_of(self, tenant: str) -> Place:
        return next(iter(self._tenants[tenant]))

    def _remove(self, place: Place) -> None:
        entry, places = self._entries.pop(place), self._tenants[place.tenant]
        del places[place]
        if not places:
            del self._tenants[place.tenant]
        self._count(place, -1, -entry.size)

    def _count(self, place: Place, count: int, size: int) -> None:
        self._size += size
        self._counts.add(place.tenant, count)
        self._sizes.add(place.tenant, size)
