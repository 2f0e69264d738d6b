"""A simulated run-task upstream's own count of what it has told."""

from __future__ import annotations

import enum
from collections import deque

import attrs

from relayd.sim.runtask.answers import NO_USAGE, Usage
from relayd.sim.runtask.scenario import Scenario


class Ending(enum.StrEnum):
    """How a task has ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CUT = "cut"
    """By this side, without a word."""
    CANCELLED = "cancelled"
    """By the client, before it was finished."""


@attrs.frozen(kw_only=True)
class Record:
    """One task.

    Attributes:
        task_id: The client's id for it; empty where it could not be read.
        model: As asked for.
        scenario: What was played.
        ending: How it ended.
        code: ``error_code`` of one that failed.
        results: The results that were sent.
        told: The usage that ``task-finished`` told.
    """

    task_id: str
    model: str = ""
    scenario: Scenario = Scenario.NORMAL
    ending: Ending
    code: str | None = None
    results: int = 0
    told: Usage | None = None


@attrs.frozen(kw_only=True)
class Tally:
    """A sum of tasks.

    Attributes:
        completed: Tasks by ending, as the next three.
        failed: With ``task-failed``.
        cut: By this side, without a word.
        cancelled: By the client.
        results: The results that were sent.
        usage: The sum of what was told.
    """

    completed: int = 0
    failed: int = 0
    cut: int = 0
    cancelled: int = 0
    results: int = 0
    usage: Usage = NO_USAGE

    @property
    def tasks(self) -> int:
        """All of them."""
        return self.completed + self.failed + self.cut + self.cancelled

    def plus(self, record: Record) -> Tally:
        """This tally and one task more."""
        return Tally(
            completed=self.completed + (record.ending is Ending.COMPLETED),
            failed=self.failed + (record.ending is Ending.FAILED),
            cut=self.cut + (record.ending is Ending.CUT),
            cancelled=self.cancelled + (record.ending is Ending.CANCELLED),
            results=self.results + record.results,
            usage=self.usage + (record.told or NO_USAGE),
        )


@attrs.define
class Book:
    """The tasks that have ended.

    Attributes:
        records_max: How many are kept one by one; the sum forgets none.
    """

    records_max: int
    total: Tally = attrs.field(factory=Tally, init=False)
    _records: deque[Record] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._records = deque(maxlen=self.records_max)

    def add(self, record: Record) -> None:
        """Count ``record``."""
        self.total = self.total.plus(record)
        self._records.append(record)

    def records(self) -> tuple[Record, ...]:
        """The last ``records_max`` tasks, the oldest first."""
        return tuple(self._records)
