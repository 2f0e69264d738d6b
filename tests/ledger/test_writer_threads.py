"""The ledger over a real database, in a real thread, in real time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from relayd.ledger import writer
from relayd.ledger.database import Database
from relayd.ledger.rows import Row
from relayd.ledger.schema import RowId
from relayd.ledger.writer import Ledger, WorkerThread
from tests.ledger.filled import row

PATIENCE_S = 20.0


async def becomes(condition: Callable[[], bool]) -> None:
    """Wait for another thread's work to show."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a thread sets no event of Trio's
            await trio.sleep(0.001)


@attrs.define(eq=False)
class HeldDatabase:
    """A real database whose next commit waits until it is let go, as on a disk that hangs."""

    database: Database
    begun: threading.Event = attrs.Factory(threading.Event)
    let_go: threading.Event = attrs.Factory(threading.Event)
    at_once: int = 0
    at_once_max: int = 0

    def write(self, rows: Sequence[Row]) -> Sequence[Row]:
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        self.begun.set()
        assert self.let_go.wait(PATIENCE_S)
        try:
            return self.database.write(rows)
        finally:
            self.at_once -= 1

    def spent(self, key: str, since: float, *, without: Sequence[RowId]) -> int:
        return self.database.spent(key, since, without=without)


async def test_rows_reach_the_file(tmp_path: Path) -> None:
    told: list[int] = []
    with closing(Database.open(tmp_path / "relayd.db")) as database:
        ledger = Ledger(database, on_failure="refuse")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.run)
            for number in range(700):
                ledger.put(row(number, cost_nano=1)).then(partial(told.append, number))
            await becomes(lambda: len(told) == 700)
            assert await ledger.spent("dev", 0.0, counted=lambda: None) == 700
            nursery.cancel_scope.cancel()

        assert database.spent("dev", 0.0) == 700
    assert told == list(range(700))


async def test_the_loop_goes_on_while_a_commit_hangs(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path / "relayd.db")) as database:
        held = HeldDatabase(database)
        ledger = Ledger(held, on_failure="refuse")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.run)
            ledger.put(row(1))
            await becomes(held.begun.is_set)
            ledger.put(row(2))
            assert ledger.pending == 2
            held.let_go.set()
            await becomes(lambda: ledger.rows_written == 2)
            nursery.cancel_scope.cancel()


async def test_a_commit_that_was_cut_off_is_waited_for_and_made_again(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path / "relayd.db")) as database:
        held = HeldDatabase(database)
        ledger = Ledger(held, on_failure="refuse")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.run)
            ledger.put(row(1, cost_nano=1))
            await becomes(held.begun.is_set)
            ledger.put(row(2, cost_nano=10))
            nursery.cancel_scope.cancel()
            held.let_go.set()

        assert database.spent("dev", 0.0) == 11
    assert (ledger.rows_written, ledger.rows_lost) == (2, 0)
    assert held.at_once_max == 1


async def test_a_commit_that_hangs_to_the_end_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LAST_S", 0.05)
    with closing(Database.open(tmp_path / "relayd.db")) as database:
        held = HeldDatabase(database)
        ledger = Ledger(held, on_failure="refuse")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.run)
            ledger.put(row(1))
            await becomes(held.begun.is_set)
            nursery.cancel_scope.cancel()

        assert (ledger.rows_written, ledger.rows_lost) == (0, 1)
        held.let_go.set()
        await becomes(lambda: held.at_once == 0)


async def test_a_call_that_was_left_behind_keeps_the_next_one_out() -> None:
    worker = WorkerThread()
    begun, let_go = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert let_go.wait(PATIENCE_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker, hang)
        await becomes(begun.is_set)
        nursery.cancel_scope.cancel()
    with trio.move_on_after(0.02) as scope:
        await worker(lambda: None)
    assert scope.cancelled_caught
    let_go.set()

    assert await worker(lambda: "next") == "next"


async def test_the_disk_fills_up_and_has_room_again(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path / "relayd.db")) as database:
        limit(database, 1)
        ledger = Ledger(database, on_failure="spill")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.run)
            for number in range(200):
                ledger.put(row(number, tag="x" * 500, cost_nano=1))
            await becomes(lambda: ledger.failing)
            assert await ledger.spent("dev", 0.0, counted=lambda: None) == 200
            limit(database, 100_000)
            await becomes(lambda: not ledger.failing and ledger.pending == 0)
            nursery.cancel_scope.cancel()

        assert database.spent("dev", 0.0) == 200
    assert (ledger.rows_written, ledger.rows_lost) == (200, 0)


def limit(database: Database, pages: int) -> None:
    with database._using() as connection:
        connection.execute(f"PRAGMA max_page_count = {pages}")
