"""How long relayd stands still: the event loop's delays, and the garbage collector's pauses."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from relayd.observe.metrics_values import Histogram

LOOK_EVERY_S: Final = 0.1
"""Often enough to meet the pauses that matter, for less than a thousandth of a core."""

LOOKS_KEPT: Final = 600
"""A minute of looks: no pause is missed by who scrapes at least once a minute."""


@attrs.define(eq=False)
class LoopWatch:
    """Asks to be woken at regular times, and notes by how much it was late.

    The longest delay is that of the last minute, not the one since it was last asked for: reading
    it changes nothing, so that several may read.
    """

    delays: Histogram
    _late_s: deque[float] = attrs.field(factory=lambda: deque(maxlen=LOOKS_KEPT), init=False)

    @property
    def longest_s(self) -> float:
        """The longest delay of the last minute, in seconds."""
        return max(self._late_s, default=0.0)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            due = trio.current_time() + LOOK_EVERY_S
            await trio.sleep_until(due)
            late_s = trio.current_time() - due
            self.delays.observe(late_s)
            self._late_s.append(late_s)


@contextmanager
def timing_collections(pauses: Histogram) -> Iterator[None]:
    """Note each garbage collection inside the block, of whatever generation.

    The interpreter calls it wherever something is allocated, in any thread, never twice at once:
    it may only add numbers.
    """
    began_at: float | None = None

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal began_at
        if phase == "start":
            began_at = time.perf_counter()
        elif began_at is not None:
            pauses.observe(time.perf_counter() - began_at)
            began_at = None

    gc.callbacks.append(note)
    try:
        yield
    finally:
        gc.callbacks.remove(note)
