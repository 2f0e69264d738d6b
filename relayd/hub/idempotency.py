"""What was answered to requests that a publisher may repeat, so that nothing is published twice.

Publishing is one step, so a request is either not here or has its answer.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

import attrs

KEY_MAX_CHARS: Final = 256
"""Of an ``Idempotency-Key``; the caller looks."""

ENTRY_BYTES: Final = 512
"""What is counted for an entry beside its answer, its key and its tenant."""


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


class Answers:
    """Answers by tenant and key; the oldest go where there are too many.

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
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._size

    def find(self, tenant: str, key: str, digest: bytes, now: float) -> bytes | Reused | None:
        """What was answered to this request; ``None`` where it is the first of its key.

        Args:
            digest: Of the request, see :func:`digest_of`.
            now: The hub's clock.
        """
        self._expire(now)
        entry = self._entries.get((tenant, key))
        if entry is None:
            return None
        return entry.answer if entry.digest == digest else Reused()

    def keep(self, tenant: str, key: str, digest: bytes, answer: bytes, now: float) -> None:
        """Remember an answer, in place of an earlier one of the same key."""
        self._remove((tenant, key))
        size = ENTRY_BYTES + len(tenant) + len(key) + len(answer)
        self._entries[tenant, key] = _Entry(digest, answer, now, size)
        self._size += size
        self._expire(now)
        while len(self._entries) > self.count_max or self._size > self.bytes_max:
            self._remove(next(iter(self._entries)))

    def _expire(self, now: float) -> None:
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest].at > now - self.age_s:
                return
            self._remove(oldest)

    def _remove(self, place: tuple[str, str]) -> None:
        entry = self._entries.pop(place, None)
        if entry is not None:
            self._size -= entry.size
