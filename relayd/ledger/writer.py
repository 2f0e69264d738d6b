"""The ledger as the rest of relayd sees it: rows are put without waiting, one task commits them.

A row commits at once while the writer is idle. Under load commits begin a fixed time apart, and
what came meanwhile goes into one: each costs a hand-over to the thread and a wait for the disk,
whatever it holds. What cannot be written is kept, in order and bounded, and tried again for
as long as relayd runs. Writing a row twice leaves it there once, so whatever became of a commit
that failed or was given up, its rows are simply written again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal, Protocol, TypeVar

import trio

from relayd.ledger.errors import LedgerError
from relayd.ledger.notices import Notices
from relayd.ledger.rows import Row
from relayd.ledger.schema import RowId, row_id
from relayd.ledger.spill import RowReceipt, Spill

T = TypeVar("T")

ROWS_MAX: Final = 16_384
"""Rows that are kept while they cannot be written: some 16 MB."""

HEADROOM_ROWS: Final = 4096
"""Of these, for the turns that still run when no more are accepted, and for those of upstreams
that ask nobody."""

COMMIT_ROWS_MAX: Final = 512
"""Rows of one commit: it takes some 5 ms, and what comes meanwhile goes into the next."""

COMMIT_EVERY_S: Final = 0.05
"""From one commit's beginning to the next one's, unless a whole batch waits. A commit costs 0.4 ms
of CPU whatever it holds, and three times as much behind other work; at hundreds of turns a second
each would pay more for its row than for all of its events. A crash loses the turns of as long."""

ANSWER_S: Final = 5.0
"""A database that does not answer for so long, as on a disk that hangs, has failed."""

LAST_S: Final = 5.0
"""At the end: how long is spent on writing what is left."""

BACK_OFF_S_MIN: Final = 0.1
BACK_OFF_S_MAX: Final = 5.0
_DOUBLINGS_MAX: Final = 6
"""The rest after a failed commit: doubled each time, less a random part of up to a half, so that
programs that wait for one lock do not wait in step."""


class RowDatabase(Protocol):
    """What :class:`relayd.ledger.database.Database` does, one call at a time, in a thread."""

    def write(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Write ``rows``, all or none; returns those that cannot be stored at all.

        Raises :class:`LedgerError`; they may have been written nevertheless.
        """

    def spent(self, key: str, since: float, *, without: Sequence[RowId]) -> int:
        """Nano-dollars of ``key``'s rows from ``since`` on. Raises :class:`LedgerError`."""


class Worker(Protocol):
    """Runs what blocks, one call at a time. Cancelled, it may leave a call behind that goes on."""

    async def __call__(self, call: Callable[[], T], /) -> T:
        """What ``call`` returns or raises."""


class WorkerThread:
    """A :class:`Worker` with one thread at a time."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)  # a thread that is left keeps its place

    async def __call__(self, call: Callable[[], T], /) -> T:
        """See :class:`Worker`."""
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)


class Ledger:
    """Takes rows, writes them, and says what was spent.

    Attributes:
        rows_written: Rows that the database has taken.
        rows_lost: Rows that were dropped: no room, no end of a fault, or a value that cannot be
            stored.
    """

    def __init__(
        self,
        database: RowDatabase,
        *,
        on_failure: Literal["refuse", "spill"],
        rows_max: int = ROWS_MAX,
        worker: Worker | None = None,
    ) -> None:
        """Take rows, and write them once :meth:`run` runs.

        Args:
            database: Stays the caller's to close, after :meth:`run` has ended.
            on_failure: Whether turns are still accepted while commits fail and there is room.
            rows_max: How many rows are kept while they cannot be written.
            worker: Where the database is called; a thread, unless a test says otherwise.
        """
        self.rows_written = 0
        self.rows_lost = 0
        self._database = database
        self._worker = WorkerThread() if worker is None else worker
        self._spills = on_failure == "spill"
        self._spill = Spill(rows_max)
        self._room_for_turns = rows_max - min(HEADROOM_ROWS, rows_max // 4)
        self._notices = Notices()
        self._wake = trio.Event()
        self._turn = trio.Lock()  # at the database: while a sum is read, no row moves into it
        self._next_at = -math.inf  # when a commit may begin
        self._begun = False
        self._over = False

    @property
    def pending(self) -> int:
        """Rows that wait to be written."""
        return len(self._spill)

    @property
    def failing(self) -> bool:
        """Whether the last commit failed."""
        return self._notices.failing_since is not None

    @property
    def accepts_turns(self) -> bool:
        """Whether there will be a place for the row of another turn."""
        if self._over or (self.failing and not self._spills):
            return False
        return len(self._spill) < self._room_for_turns

    def put(self, row: Row) -> RowReceipt:
        """Have ``row`` written. Never waits; a row that waits already is not put again.

        Its receipt tells when it is committed, or at once when it is clear that this takes longer:
        commits fail, or the row is lost because there is no room.
        """
        receipt = None if self._over else self._spill.add(row)
        if receipt is None:
            receipt = RowReceipt(row)
            self._lose(1, "relayd has stopped" if self._over else self._full_message)
            receipt.resolve()
        elif self.failing:
            receipt.resolve()
        self._wake.set()
        return receipt

    async def spent(self, key: str, since: float, *, counted: Callable[[], None]) -> int:
        """Nano-dollars of ``key``'s rows that ended at ``since`` or later, written or not.

        Args:
            key: The key's name.
            since: Seconds since the epoch.
            counted: Called at the moment that divides the rows: one that was put before is in the
                sum, one put after it is not.

        Raises:
            LedgerError: The database cannot be read, or does not answer; ``counted`` was not
                called.

        Cancelling it changes nothing; a query that has begun goes on in its thread.
        """
        async with self._turn:
            # Rows of a commit that failed may be in the database all the same. A commit takes the
            # first rows, and they stay the first until one has succeeded.
            first = (receipt.row for receipt in self._spill.first(COMMIT_ROWS_MAX))
            twice = [row_id(row) for row in first if row.key == key]
            written = await self._ask(partial(self._database.spent, key, since, without=twice))
            counted()
            return written + self._spill.spent(key, since)

    async def run(self) -> None:
        """Write what is put, until cancelled. To be called once.

        Cancelling it writes what is still pending, for at most ``LAST_S`` seconds. What is left
        after that counts as lost, and is said to be; a commit that hangs may still write it.
        """
        assert not self._begun, "one task writes"
        self._begun = True
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                await self._write_all()
        finally:
            with trio.move_on_after(LAST_S, shield=True):
                while self._spill and await self._commit():
                    pass
            self._end()

    async def _write_all(self) -> None:
        failures = 0
        while self._spill:
            await self._gather()
            if await self._commit():
                failures = 0
            else:
                await trio.sleep(back_off_s(failures))
                failures += 1

    async def _gather(self) -> None:
        """Wait until a commit may begin; what comes meanwhile goes into it."""
        if trio.current_time() < self._next_at and len(self._spill) < COMMIT_ROWS_MAX:
            await trio.sleep_until(self._next_at)
        self._next_at = trio.current_time() + COMMIT_EVERY_S

    async def _commit(self) -> bool:
        """Try to write the first rows; whether that succeeded. Cancelled, they are all pending."""
        async with self._turn:
            batch = self._spill.first(COMMIT_ROWS_MAX)
            rows = [receipt.row for receipt in batch]
            started_at = trio.current_time()
            try:
                unstorable = await self._ask(partial(self._database.write, rows))
            except LedgerError as error:
                self._failed(error)
                return False
            self._committed(batch, len(unstorable), started_at)
            return True

    async def _ask(self, call: Callable[[], T]) -> T:
        with trio.move_on_after(ANSWER_S):
            return await self._worker(call)
        raise LedgerError(f"the ledger gave no answer for {ANSWER_S:.0f} s; see what its disk does")

    def _committed(self, batch: Sequence[RowReceipt], unstorable: int, started_at: float) -> None:
        self._spill.remove_first(len(batch))
        written = len(batch) - unstorable
        self.rows_written += written
        self._notices.committed(written, len(self._spill), started_at, trio.current_time())
        if unstorable:
            self._lose(
                unstorable,
                "a value in them cannot be stored: a number out of range, or text"
                " that is not Unicode; their upstream sent nonsense",
            )
        for receipt in batch:
            receipt.resolve()

    def _failed(self, error: LedgerError) -> None:
        was_failing = self.failing
        self._notices.failed(error, len(self._spill), trio.current_time())
        if not was_failing:
            # Those that this commit did not hold cannot be written before it either.
            for receipt in tuple(self._spill):
                receipt.resolve()

    def _end(self) -> None:
        self._over = True
        left = self._spill.first(len(self._spill))
        self._spill.remove_first(len(left))
        if left:
            self._lose(len(left), "relayd stopped before they could be written")
        self._notices.ended(trio.current_time())
        for receipt in left:
            receipt.resolve()

    @property
    def _full_message(self) -> str:
        return (
            f"{self._spill.rows_max:,} rows wait already and no more are kept; see ledger.failed"
            " for what to mend"
        )

    def _lose(self, rows: int, message: str) -> None:
        self.rows_lost += rows
        self._notices.lost(rows, message, trio.current_time())


def back_off_s(failures: int) -> float:
    """How long to rest after a failed commit, of which there were ``failures`` before in a row."""
    longest = BACK_OFF_S_MIN * 2.0 ** min(failures, _DOUBLINGS_MAX)
    return min(longest, BACK_OFF_S_MAX) * random.uniform(0.5, 1.0)
