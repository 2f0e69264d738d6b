"""What the bench and its load processes share: a phase, a deadline, and counters.

Anonymous shared memory, made before the processes are forked. Every cell has one writer: the
bench writes the phase, each process its own counters; so reading costs nobody anything and
needs no lock.
"""

from __future__ import annotations

import contextlib
import enum
import mmap
import time
from typing import TYPE_CHECKING, Final

from bench.failures import RunFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

_CELL_BYTES: Final = 8


class Phase(enum.IntEnum):
    """What the load processes do now. It only grows."""

    CONNECT = 0  # open the row's sessions, then wait
    TRAFFIC = 1  # what the row asks
    RECORD = 2  # the same, and keep delays and lateness
    STALL = 3  # one subscriber of the hub has stopped reading; only rows that say so have
    # this and the next
    RESUME = 4  # it was cut off, and comes back
    DRAIN = 5  # send nothing more, receive what is under way
    END = 6  # report and go


class Counter(enum.IntEnum):
    """A process's counters. Each only grows."""

    SENT_BYTES = 0
    RECEIVED_BYTES = 1
    ESTABLISHED = 2  # sessions that have seen session.created
    COMPLETED = 3  # sessions opened and closed again, turns, answers or leases ended, pieces and
    # events received
    BLOCKED = 4  # paced messages that the socket did not take, turns and requests to publish that
    # met the one before
    BEGUN = 5  # turns, questions of the chat dialect, and events that were published
    ACCEPTED = 6  # sessions that the upstream has accepted
    DISORDERED = 7  # events that were not the next one of their topic
    EVICTED = 8  # subscribers that were cut as too slow, without having stopped
    RETURNED = 9  # subscribers that had stopped, and are back


_HEADER_CELLS: Final = 1
_SLOT_CELLS: Final = len(Counter)


class Board:
    """The shared memory of one run.

    Args:
        slots: How many load processes there will be.
        lifetime_s: After so many seconds every load process ends, whatever happened to the bench.
    """

    def __init__(self, slots: int, *, lifetime_s: float) -> None:
        self._memory = mmap.mmap(-1, (_HEADER_CELLS + slots * _SLOT_CELLS) * _CELL_BYTES)
        self._cells = memoryview(self._memory).cast("q")
        self._slots = slots
        self._deadline = time.monotonic() + lifetime_s

    def advance(self, phase: Phase) -> None:
        """Go on to ``phase``; the load processes follow within a tick."""
        self._cells[0] = phase

    @property
    def is_recording(self) -> bool:
        """Whether delays and lateness are kept now. Asked for every message."""
        recording: bool = self._cells[0] == Phase.RECORD
        return recording

    def has_reached(self, phase: Phase) -> bool:
        """Whether the run has come to ``phase``, or is out of time and so beyond every phase."""
        reached: bool = self._cells[0] >= phase
        return reached or time.monotonic() >= self._deadline

    @contextlib.contextmanager
    def in_traffic(self) -> Iterator[None]:
        """Forgive what fails in the block once the traffic is over: the other end left first."""
        try:
            yield
        except RunFailed:
            if not self.has_reached(Phase.DRAIN):
                raise

    def tally(self, slot: int) -> Tally:
        """The counters of the process in ``slot``."""
        start = _HEADER_CELLS + slot * _SLOT_CELLS
        return Tally(self._cells[start : start + _SLOT_CELLS])

    def total(self, counter: Counter) -> int:
        """The sum of one counter over all processes."""
        first = _HEADER_CELLS + counter
        return sum(self._cells[first + slot * _SLOT_CELLS] for slot in range(self._slots))


class Tally:
    """One process's counters."""

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def add(self, counter: Counter, amount: int = 1) -> None:
        """Count ``amount`` more."""
        self._cells[counter] += amount

    def __getitem__(self, counter: Counter) -> int:
        value: int = self._cells[counter]
        return value
