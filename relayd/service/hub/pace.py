"""How fast each tenant may publish, so that one of them cannot take the whole process."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

EVENTS_PER_S: Final = 5000.0
"""More than one process delivers to a handful of clients each."""

BURST: Final = 20_000
TENANTS_MAX: Final = 1024
"""Those that published last. With the others a whole burst is as good as begun anew: tokens name
tenants too, but only those that somebody trusted has signed."""


@attrs.define
class _Level:
    """A bucket: what is left of it, and when that was so."""

    left: float
    at: float


@attrs.define(eq=False)
class Pace:
    """A bucket of :data:`BURST` events for each tenant, refilled at :data:`EVENTS_PER_S`.

    Attributes:
        per_s: Events a second that a tenant may publish.
        burst: Events that it may publish at once; at least as many as one request may have.
        tenants_max: Tenants that are remembered.
    """

    per_s: float = EVENTS_PER_S
    burst: int = BURST
    tenants_max: int = TENANTS_MAX
    _levels: OrderedDict[str, _Level] = attrs.field(factory=OrderedDict[str, _Level], init=False)

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, tenant: str, count: int, now: float) -> float:
        """Take ``count`` events, all or none.

        Args:
            tenant: Whose they are.
            count: At most ``burst``.
            now: Seconds of a clock that does not go back.

        Returns:
            0 where they were taken, else after how many seconds they could be.
        """
        assert count <= self.burst, "they would never fit"
        level = self._level(tenant, now)
        lack = count - level.left
        if lack > 0:
            return lack / self.per_s
        level.left -= count
        return 0.0

    def _level(self, tenant: str, now: float) -> _Level:
        level = self._levels.get(tenant)
        if level is None:
            if len(self._levels) >= self.tenants_max:
                self._levels.popitem(last=False)
            level = self._levels[tenant] = _Level(float(self.burst), now)
        else:
            self._levels.move_to_end(tenant)
            level.left = min(level.left + (now - level.at) * self.per_s, float(self.burst))
            level.at = now
        return level
