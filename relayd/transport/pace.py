"""How long one pass goes on, and whether it may wait for more instead of returning to Trio."""

from __future__ import annotations

from typing import Final

EVENTS_MAX: Final = 256
PASS_MAX_S: Final = 0.002
"""After so many events, or so long, the other tasks run."""

LINGER_S: Final = 0.001
"""Where traffic is dense and no other task has work, a pass waits this long for more of it: going
round through the event loop costs as much as relaying a message, and delays the next one."""

BUSY_S: Final = 0.05
"""How long after a connection came or went the other tasks are taken to have work."""


class Pace:
    """Keeps one reactor's passes short, and the event loop out of dense traffic."""

    __slots__ = (
        "_alone",
        "_busy_until",
        "_came_or_went",
        "_dense",
        "_served",
        "_served_at",
        "_started",
    )

    def __init__(self) -> None:
        self._started = 0.0
        self._served = 0
        self._served_at = 0.0
        self._dense = False
        self._alone = True
        self._busy_until = 0.0
        self._came_or_went = False

    def begin(self, now: float) -> None:
        """A pass begins. Traffic is dense where the one before it has only just ended."""
        self._started = now
        self._served = 0
        self._dense = now - self._served_at < LINGER_S
        self._alone = True
        if self._came_or_went:
            self._came_or_went = False
            self._busy_until = now + BUSY_S

    def woke(self) -> None:
        """This pass has woken a task, which shall run soon."""
        self._alone = False

    def came_or_went(self) -> None:
        """A connection did: others may be on their way, in tasks of their own."""
        self._came_or_went = True
        self._alone = False

    def next_wait_s(self, served: int, now: float) -> float | None:
        """A batch of ``served`` events is done: how long to wait for the next; ``None`` ends it."""
        self._served += served
        self._served_at = now
        if self._served >= EVENTS_MAX or now - self._started > PASS_MAX_S:
            return None
        return LINGER_S if self._dense and self._alone and now >= self._busy_until else 0.0
