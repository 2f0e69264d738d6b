"""Things that are all due equally long after they were put in: a queue keeps them in order.

So nothing is ever sorted or searched, and a change of the delay moves all of them at once.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Delay(Generic[T]):
    """A queue of items by the time at which they were put in. Every operation takes constant time.

    Times are seconds of one clock and never go back.
    """

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: OrderedDict[T, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, item: T) -> bool:
        return item in self._since

    def put(self, item: T, now: float) -> None:
        """Let ``item`` wait from ``now`` on; one that waits already begins anew."""
        self._since[item] = now
        self._since.move_to_end(item)

    def drop(self, item: T) -> None:
        """Let ``item`` wait no longer. It need not be there."""
        self._since.pop(item, None)

    def due_at(self, delay_s: float) -> float:
        """When the first item has waited for ``delay_s``; infinity where there is none."""
        for since in self._since.values():
            return since + delay_s
        return math.inf

    def take_due(self, now: float, delay_s: float) -> T | None:
        """Take out the first item, if it has waited for ``delay_s``."""
        for item, since in self._since.items():
            if since + delay_s > now:
                return None
            del self._since[item]
            return item
        return None
