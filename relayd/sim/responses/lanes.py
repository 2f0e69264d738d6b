"""Whose turn it is: lanes that run side by side, each one turn after the other.

Source: the WebSocket mode guide, "Multiplexing": 16 active responses, 32 distinct named lanes;
further creates wait, first come, first served within a lane and over all of them.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, Protocol, TypeVar

import attrs

ACTIVE_MAX: Final = 16
NAMED_MAX: Final = 32
WAITING_MAX: Final = 64
"""Creates that wait; while there are so many, nothing more is read from the connection."""
WAITING_MAX_BYTES: Final = 64 * 1024 * 1024


class LaneTurn(Protocol):
    """What stands in a lane."""

    @property
    def lane(self) -> str | None:
        """Which lane; ``None`` is the default one."""

    @property
    def size_bytes(self) -> int:
        """What it holds while it waits."""


T = TypeVar("T", bound=LaneTurn)


@attrs.define
class Lanes(Generic[T]):
    """The turns of one connection, running and waiting.

    Attributes:
        running: Those that run, the one whose move it is first.
    """

    running: deque[T] = attrs.field(factory=deque, init=False)
    _waiting: deque[T] = attrs.field(factory=deque, init=False)
    _waiting_bytes: int = attrs.field(default=0, init=False)
    _names: set[str] = attrs.field(factory=set, init=False)

    @property
    def has_room(self) -> bool:
        """Whether another create may be taken in."""
        return len(self._waiting) < WAITING_MAX and self._waiting_bytes < WAITING_MAX_BYTES

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self.running and not self._waiting

    def open(self, lane: str | None) -> bool:
        """Take note of ``lane``; ``False``: it would be one named lane too many."""
        if lane is None or lane in self._names:
            return True
        if len(self._names) >= NAMED_MAX:
            return False
        self._names.add(lane)
        return True

    def wait(self, turn: T) -> None:
        """Put ``turn`` behind all that wait."""
        self._waiting.append(turn)
        self._waiting_bytes += turn.size_bytes

    def next_waiting(self) -> T | None:
        """The next turn that may run, which runs then; ``None``: there is none."""
        if not self._waiting or len(self.running) >= ACTIVE_MAX:
            return None
        busy = {turn.lane for turn in self.running}
        found = next((turn for turn in self._waiting if turn.lane not in busy), None)
        if found is not None:
            self._waiting.remove(found)
            self._waiting_bytes -= found.size_bytes
            self.running.append(found)
        return found

    def end(self, turn: T) -> None:
        """``turn`` is over; its lane is free."""
        self.running.remove(turn)

    def succeed(self, turn: T, successor: T) -> None:
        """``successor`` runs where ``turn`` ran, before anything that waits for the lane."""
        self.running.remove(turn)
        self.running.append(successor)
