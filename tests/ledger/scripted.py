"""A database in a dictionary whose every answer a test decides, and workers without threads."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import trio

from relayd.ledger.errors import LedgerError
from relayd.ledger.rows import Row
from relayd.ledger.schema import RowId, row_id

T = TypeVar("T")


class Outcome(enum.Enum):
    """What becomes of a commit."""

    WRITTEN = enum.auto()
    FAILED = enum.auto()
    IN_DOUBT = enum.auto()  # an error, yet the rows are there


UNSTORABLE = "unstorable"
"""The tag of rows that cannot be stored."""


@attrs.define(eq=False)
class ScriptedDatabase:
    """Commits succeed, unless ``plan`` or ``broken`` says otherwise.

    Attributes:
        plan: What becomes of the next commits.
        broken: Whether everything fails that is not planned.
        rows: What is in it.
        commits: The rows of each attempt, and when it was.
    """

    plan: deque[Outcome] = attrs.Factory(deque)
    broken: bool = False
    rows: dict[RowId, Row] = attrs.Factory(dict)
    commits: list[tuple[float, list[Row]]] = attrs.Factory(list)

    def write(self, rows: Sequence[Row]) -> Sequence[Row]:
        assert rows
        self.commits.append((trio.current_time(), list(rows)))
        usual = Outcome.FAILED if self.broken else Outcome.WRITTEN
        outcome = self.plan.popleft() if self.plan else usual
        if outcome is not Outcome.FAILED:
            for row in rows:
                if row.tag != UNSTORABLE:
                    self.rows.setdefault(row_id(row), row)
        if outcome in {Outcome.FAILED, Outcome.IN_DOUBT}:
            raise LedgerError("the disk failed; mend it")
        return [row for row in rows if row.tag == UNSTORABLE]

    def spent(self, key: str, since: float, *, without: Sequence[RowId] = ()) -> int:
        if self.broken:
            raise LedgerError("the disk failed; mend it")
        return sum(
            row.cost_nano or 0
            for name, row in self.rows.items()
            if row.key == key and row.ended_at >= since and name not in without
        )

    @property
    def sizes(self) -> list[int]:
        """How many rows each attempt had."""
        return [len(rows) for _, rows in self.commits]


async def at_once(call: Callable[[], T], /) -> T:
    """A worker that is done before anybody else runs, but for one checkpoint."""
    await trio.lowlevel.checkpoint()
    return call()


@attrs.define(eq=False)
class SlowWorker:
    """A worker for which every call takes ``seconds``, and which is interrupted without a trace."""

    seconds: float

    async def __call__(self, call: Callable[[], T], /) -> T:
        await trio.sleep(self.seconds)
        return call()
