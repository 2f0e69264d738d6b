"""Whose memories make room where there are too many: those of the tenant that has the most of them.

A memory is small and kept for a while, and nobody has a right to a number of them. But a tenant
that has no more than its share, which is an equal one among those that have any, loses none to
others, however many turns they run.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

EXPIRED_STEP: Final = 8
"""Names whose time is over that are let go when another comes. More than one, so that they never
pile up."""


class Shares:
    """The names under which each tenant's memories are kept, in the order in which they expire.

    Args:
        names_max: Of all tenants together, at least 1.
        ttl_s: How long each of them lasts, counted from when it was last kept.
    """

    def __init__(self, *, names_max: int, ttl_s: float) -> None:
        self._names_max = names_max
        self._ttl_s = ttl_s
        self._until: dict[str, OrderedDict[str, float]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many names there are."""
        return self._count

    def keep(self, tenant: str, name: str, now: float) -> str | None:
        """``tenant`` is about to keep something under ``name``.

        Returns:
            Another name, of that tenant or of one that has more, which is to be dropped for it.
        """
        names = self._until.setdefault(tenant, OrderedDict())
        if name not in names:
            self._count += 1
        names[name] = now + self._ttl_s
        names.move_to_end(name)
        for _ in range(EXPIRED_STEP):
            oldest = next(iter(names))
            if names[oldest] > now:
                break
            self.drop(tenant, oldest)
        return self._make_room(tenant) if self._count > self._names_max else None

    def drop(self, tenant: str, name: str) -> None:
        """Nothing is kept under ``name`` any more. Doing so again is fine."""
        names = self._until.get(tenant)
        if names is None or names.pop(name, None) is None:
            return
        self._count -= 1
        if not names:
            del self._until[tenant]

    def _make_room(self, tenant: str) -> str:
        """Let go the oldest name of a tenant that has more than its share."""
        if len(self._until[tenant]) * len(self._until) <= self._names_max:
            tenant = max(self._until, key=self._size)
        name = next(iter(self._until[tenant]))
        self.drop(tenant, name)
        return name

    def _size(self, tenant: str) -> int:
        return len(self._until[tenant])
