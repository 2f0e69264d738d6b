"""How long events wait between their publishing and their sending, as a histogram counts it.

Looking at each of a hundred thousand messages a second would cost more than it tells. So time is
cut into pieces, each about as long as one round of the delivery, and of each piece in which
something was sent the longest wait is counted: of an event for two thousand clients that is how
late its last ones were, not how soon its first.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import attrs

from relayd.observe.metrics_specs import PAUSE_S

BOUNDS: Final = PAUSE_S

PIECE_S: Final = 0.002


@attrs.frozen
class Waited:
    """Counted waits.

    Attributes:
        counts: How many fell into each bucket of :data:`BOUNDS`, the last one without a bound.
        total_s: All of them together.
    """

    counts: tuple[int, ...]
    total_s: float


class Waits:
    """Counts waits."""

    __slots__ = ("_counts", "_longest_s", "_total_s", "_until")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total_s = 0.0
        self._longest_s = -1.0
        self._until = 0.0

    def note(self, published_at: float, now: float) -> None:
        """Something is sent at ``now``, the oldest of which was published then."""
        waited_s = now - published_at
        if now >= self._until:
            self._settle()
            self._until = now + PIECE_S
        self._longest_s = max(self._longest_s, waited_s)

    def so_far(self) -> Waited:
        """What was counted; what is sent in the rest of a piece that has begun is another one."""
        self._settle()
        return Waited(tuple(self._counts), self._total_s)

    def _settle(self) -> None:
        waited_s = self._longest_s
        if waited_s >= 0:
            self._counts[bisect_left(BOUNDS, waited_s)] += 1
            self._total_s += waited_s
            self._longest_s = -1.0
