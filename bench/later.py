"""What is to be done some time from now, beside a loop."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import TYPE_CHECKING

from bench.loop import TICK_S, Loop

if TYPE_CHECKING:
    from collections.abc import Callable


class Later:
    """A loop with a memory: what has been put off is done between its turns."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()  # what is due at the same time is done in order

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call ``action`` when so many seconds have passed; at once where there are none."""
        if not delay_s:
            action()
            return
        heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._numbers), action))

    def turn(self) -> None:
        """Do what is due, and serve what is ready, waiting at most a tick for either."""
        wait_s = TICK_S
        while self._due:
            left_s = self._due[0][0] - time.monotonic()
            if left_s > 0:
                wait_s = min(wait_s, left_s)
                break
            _, _, action = heapq.heappop(self._due)
            action()
        self._loop.turn(wait_s)
