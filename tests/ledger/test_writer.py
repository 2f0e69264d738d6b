"""Rows on their way into the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Literal

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.ledger.errors import LedgerError
from relayd.ledger.rows import Row
from relayd.ledger.writer import (
    ANSWER_S,
    BACK_OFF_S_MAX,
    BACK_OFF_S_MIN,
    COMMIT_EVERY_S,
    COMMIT_ROWS_MAX,
    HEADROOM_ROWS,
    LAST_S,
    ROWS_MAX,
    Ledger,
    Worker,
    back_off_s,
)
from relayd.observe.events import LogEvent
from tests.conftest import LogLines
from tests.ledger.filled import at, row
from tests.ledger.scripted import UNSTORABLE, Outcome, ScriptedDatabase, SlowWorker, at_once


def ledger_over(
    database: ScriptedDatabase,
    *,
    on_failure: Literal["refuse", "spill"] = "refuse",
    rows_max: int = ROWS_MAX,
    worker: Worker = at_once,
) -> Ledger:
    return Ledger(database, on_failure=on_failure, rows_max=rows_max, worker=worker)


@asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[None]:
    """The ledger writes inside, and has ended outside."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.run)
        yield
        nursery.cancel_scope.cancel(reason="the test is over")


def put(ledger: Ledger, rows: list[Row], told: list[str]) -> None:
    for each in rows:
        ledger.put(each).then(partial(told.append, each.entry))


def rows(*numbers: int) -> list[Row]:
    return [row(number) for number in numbers]


def entries(*numbers: int) -> list[str]:
    return [f"response:{number}" for number in numbers]


# -- groups


async def test_an_idle_writer_commits_at_once(autojump_clock: MockClock) -> None:
    database, told = ScriptedDatabase(), list[str]()
    ledger = ledger_over(database)

    async with running(ledger):
        for number in (1, 2):
            put(ledger, rows(number), told)
            await wait_all_tasks_blocked()
            assert told == entries(*range(1, number + 1))
            await trio.sleep(COMMIT_EVERY_S)

    assert database.sizes == [1, 1]
    assert (ledger.rows_written, ledger.rows_lost, ledger.pending) == (2, 0, 0)


async def test_rows_that_come_soon_after_a_commit_go_together_into_the_next(
    autojump_clock: MockClock,
) -> None:
    database, told = ScriptedDatabase(), list[str]()
    ledger = ledger_over(database)

    async with running(ledger):
        for number in range(4):
            put(ledger, rows(number), told)
            await trio.sleep(COMMIT_EVERY_S / 4)
            assert told == entries(0)
        await wait_all_tasks_blocked()
        assert told == entries(0, 1, 2, 3)

    assert database.sizes == [1, 3]
    assert trio.current_time() == pytest.approx(COMMIT_EVERY_S)


async def test_a_whole_batch_waits_for_nothing(autojump_clock: MockClock) -> None:
    database, told = ScriptedDatabase(), list[str]()
    ledger = ledger_over(database)

    async with running(ledger):
        put(ledger, rows(0), told)
        await wait_all_tasks_blocked()
        put(ledger, rows(*range(1, 2 * COMMIT_ROWS_MAX + 1)), told)
        await wait_all_tasks_blocked()

        assert database.sizes == [1, COMMIT_ROWS_MAX, COMMIT_ROWS_MAX]
        assert trio.current_time() == 0.0


async def test_rows_that_come_during_a_commit_go_together_into_the_next(
    autojump_clock: MockClock,
) -> None:
    database, told = ScriptedDatabase(), list[str]()
    ledger = ledger_over(database, worker=SlowWorker(1.0))

    async with running(ledger):
        put(ledger, rows(0), told)
        await trio.sleep(0.5)
        put(ledger, rows(*range(1, COMMIT_ROWS_MAX + 11)), told)
        assert ledger.pending == COMMIT_ROWS_MAX + 11
        await trio.sleep(3.0)

    assert database.sizes == [1, COMMIT_ROWS_MAX, 10]
    assert told == entries(*range(COMMIT_ROWS_MAX + 11))


async def test_rows_that_were_put_before_it_runs_are_written(autojump_clock: MockClock) -> None:
    database = ScriptedDatabase()
    ledger = ledger_over(database)
    ledger.put(row(1))
    assert ledger.accepts_turns

    async with running(ledger):
        await wait_all_tasks_blocked()

        assert list(database.rows.values()) == rows(1)


async def test_a_receipt_asked_late_tells_at_once(autojump_clock: MockClock) -> None:
    told: list[str] = []
    ledger = ledger_over(ScriptedDatabase())

    async with running(ledger):
        receipt = ledger.put(row(1))
        await wait_all_tasks_blocked()
        receipt.then(lambda: told.append("told"))

    assert told == ["told"]


async def test_a_row_that_is_put_again_is_written_once(autojump_clock: MockClock) -> None:
    database, told = ScriptedDatabase(), list[str]()
    ledger = ledger_over(database)

    async with running(ledger):
        put(ledger, rows(1, 1), told)
        await wait_all_tasks_blocked()
        put(ledger, rows(1), told)
        await wait_all_tasks_blocked()

    assert database.sizes == [1, 1]
    assert told == entries(1, 1, 1)
    assert list(database.rows.values()) == rows(1)


async def test_a_row_may_be_put_while_another_is_told_of(autojump_clock: MockClock) -> None:
    database = ScriptedDatabase()
    ledger = ledger_over(database)

    async with running(ledger):
        ledger.put(row(1)).then(lambda: put(ledger, rows(2), []))
        await wait_all_tasks_blocked()

    assert list(database.rows.values()) == rows(1, 2)


async def test_a_commit_is_logged(autojump_clock: MockClock, log_lines: LogLines) -> None:
    ledger = ledger_over(ScriptedDatabase(), worker=SlowWorker(0.25))

    async with running(ledger):
        ledger.put(row(1))
        await trio.sleep(1.0)

    (line,) = log_lines.of(LogEvent.LEDGER_COMMITTED)
    assert (line["rows"], line["pending"], line["duration_ms"]) == (1, 0, 250.0)


# -- faults


async def test_a_failed_commit_is_tried_again_until_it_succeeds(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    database, told = ScriptedDatabase(broken=True), list[str]()
    ledger = ledger_over(database)

    async with running(ledger):
        put(ledger, rows(1, 2), told)
        await trio.sleep(110.0)
        assert ledger.failing
        database.broken = False
        await trio.sleep(BACK_OFF_S_MAX)
        assert not ledger.failing
        assert list(database.rows.values()) == rows(1, 2)

    tries = [when for when, _ in database.commits]
    rests = [later - when for when, later in pairwise(tries)]
    assert all(BACK_OFF_S_MIN / 2 <= rest <= BACK_OFF_S_MAX for rest in rests)
    assert rests[0] <= BACK_OFF_S_MIN
    assert max(rests) >= BACK_OFF_S_MAX / 2
    assert 110 / BACK_OFF_S_MAX < len(tries) < 110 / (BACK_OFF_S_MAX / 2) + 10
    assert [line["pending"] for line in log_lines.of(LogEvent.LEDGER_FAILED)] == [2] * 4
    (recovered,) = log_lines.of(LogEvent.LEDGER_RECOVERED)
    assert recovered["rows"] == 2
    assert recovered["duration_s"] == pytest.approx(tries[-1] - tries[0], abs=0.001)
    assert log_lines.of(LogEvent.LEDGER_LOST) == []


async def test_a_fault_that_comes_back_is_tried_again_quickly(autojump_clock: MockClock) -> None:
    database = ScriptedDatabase(broken=True)
    ledger = ledger_over(database)

    async with running(ledger):
        ledger.put(row(1))
        await trio.sleep(60.0)
        database.broken = False
        await trio.sleep(BACK_OFF_S_MAX)
        database.broken = True
        ledger.put(row(2))
        await wait_all_tasks_blocked()
        database.broken = False
        await trio.sleep(BACK_OFF_S_MIN)
        assert ledger.pending == 0


async def test_all_are_told_that_their_rows_are_late(autojump_clock: MockClock) -> None:
    """Also those that the failed commit did not hold, and those that come later."""
    database, told = ScriptedDatabase(broken=True), list[str]()
    ledger = ledger_over(database)
    first = range(COMMIT_ROWS_MAX + 5)

    async with running(ledger):
        put(ledger, rows(*first), told)
        assert told == []
        await wait_all_tasks_blocked()
        assert told == entries(*first)
        put(ledger, rows(9999), told)
        assert told == entries(*first, 9999)
        database.broken = False
        await trio.sleep(BACK_OFF_S_MAX)

    assert told == entries(*first, 9999)
    assert [each.entry for each in database.rows.values()] == entries(*first, 9999)
    assert ledger.rows_written == len(database.rows)


async def test_rows_stay_in_order_through_a_fault(autojump_clock: MockClock) -> None:
    outcomes = [Outcome.FAILED, Outcome.IN_DOUBT, Outcome.WRITTEN, Outcome.FAILED]
    database = ScriptedDatabase()
    database.plan.extend(outcomes)
    ledger = ledger_over(database)

    async with running(ledger):
        for number in range(20):
            ledger.put(row(number))
            await trio.sleep(0.05)
        await trio.sleep(10.0)

    assert [each.entry for each in database.rows.values()] == entries(*range(20))
    assert ledger.rows_written == 20


async def test_a_database_that_does_not_answer_has_failed(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    database, told = ScriptedDatabase(), list[str]()
    worker = SlowWorker(60.0)
    ledger = ledger_over(database, worker=worker)

    async with running(ledger):
        put(ledger, rows(1), told)
        await trio.sleep(ANSWER_S - 0.1)
        assert not ledger.failing
        await trio.sleep(0.2)
        assert ledger.failing
        assert told == entries(1)
        worker.seconds = 0.0
        await trio.sleep(ANSWER_S + BACK_OFF_S_MAX)
        assert not ledger.failing

    assert list(database.rows.values()) == rows(1)
    (line,) = log_lines.of(LogEvent.LEDGER_FAILED)
    assert "no answer for 5 s" in line["message"]


async def test_a_row_that_cannot_be_stored_is_lost_and_said_to_be(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    database, told = ScriptedDatabase(), list[str]()
    ledger = ledger_over(database)

    async with running(ledger):
        put(ledger, [row(1), row(2, tag=UNSTORABLE), row(3)], told)
        await wait_all_tasks_blocked()
        assert not ledger.failing

    assert told == entries(1, 2, 3)
    assert list(database.rows.values()) == rows(1, 3)
    assert (ledger.rows_written, ledger.rows_lost) == (2, 1)
    (line,) = log_lines.of(LogEvent.LEDGER_LOST)
    assert line["rows"] == 1
    assert "cannot be stored" in line["message"]


# -- whether there is room


async def test_turns_are_refused_while_commits_fail(autojump_clock: MockClock) -> None:
    database = ScriptedDatabase(broken=True)
    ledger = ledger_over(database, on_failure="refuse")

    async with running(ledger):
        ledger.put(row(1))
        assert ledger.accepts_turns
        await wait_all_tasks_blocked()
        assert not ledger.accepts_turns
        database.broken = False
        await trio.sleep(BACK_OFF_S_MAX)
        assert ledger.accepts_turns


async def test_or_until_the_spill_is_full_but_for_its_headroom(autojump_clock: MockClock) -> None:
    database = ScriptedDatabase(broken=True)
    ledger = ledger_over(database, on_failure="spill", rows_max=8)

    async with running(ledger):
        accepted = []
        for number in range(8):
            accepted.append(ledger.accepts_turns)
            ledger.put(row(number))
            await wait_all_tasks_blocked()
        database.broken = False
        await trio.sleep(BACK_OFF_S_MAX)
        assert ledger.accepts_turns

    assert accepted == [True] * 6 + [False] * 2
    assert ledger.rows_written == 8


@pytest.mark.parametrize("on_failure", ["refuse", "spill"])
async def test_a_nearly_full_spill_refuses_turns_though_commits_succeed(
    on_failure: Literal["refuse", "spill"], autojump_clock: MockClock
) -> None:
    ledger = ledger_over(ScriptedDatabase(), on_failure=on_failure)
    for number in range(ROWS_MAX - HEADROOM_ROWS - 1):
        ledger.put(row(number))
    assert ledger.accepts_turns

    ledger.put(row(ROWS_MAX))

    assert not ledger.accepts_turns
    assert not ledger.failing
    async with running(ledger):
        await wait_all_tasks_blocked()
        assert ledger.accepts_turns


async def test_a_row_too_many_is_lost_counted_and_said(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    database, told = ScriptedDatabase(broken=True), list[str]()
    ledger = ledger_over(database, rows_max=3)

    async with running(ledger):
        put(ledger, rows(1, 2, 3, 4, 3), told)
        assert told == entries(4)
        assert (ledger.rows_lost, ledger.pending) == (1, 3)
        database.broken = False
        await trio.sleep(BACK_OFF_S_MAX)

    assert list(database.rows.values()) == rows(1, 2, 3)
    (line,) = log_lines.of(LogEvent.LEDGER_LOST)
    assert (line["rows"], line["level"]) == (1, "error")
    assert line["message"].startswith("3 rows wait already")


# -- what was spent


async def test_what_was_spent_is_what_is_written_and_what_waits(autojump_clock: MockClock) -> None:
    database = ScriptedDatabase()
    ledger = ledger_over(database)
    async with running(ledger):
        ledger.put(row(1, "2026-11-01", cost_nano=1))
        ledger.put(row(2, "2026-11-02", cost_nano=10))
        ledger.put(row(3, "2026-11-02", cost_nano=500, key="other"))
        await wait_all_tasks_blocked()
        ledger.put(row(4, "2026-11-02", cost_nano=100))
        ledger.put(row(5, "2026-11-02", cost_nano=None))

        spent = await ledger.spent("dev", at("2026-11-02"), counted=lambda: None)

    assert spent == 110


async def test_a_row_is_in_the_sum_if_it_was_put_before_the_counting(
    autojump_clock: MockClock,
) -> None:
    ledger = ledger_over(ScriptedDatabase(), worker=SlowWorker(1.0))
    sums: list[int] = []

    async def ask() -> None:
        sums.append(await ledger.spent("dev", 0.0, counted=lambda: sums.append(ledger.pending)))

    async with trio.open_nursery() as nursery, running(ledger):
        ledger.put(row(1, cost_nano=1))
        await trio.sleep(0.5)  # its commit is under way
        nursery.start_soon(ask)
        await trio.sleep(1.0)  # the sum is being read
        ledger.put(row(2, cost_nano=10))
        await trio.sleep(10.0)
        assert ledger.pending == 0

    assert sums == [1, 11]


async def test_a_row_that_is_there_against_all_appearances_counts_once(
    autojump_clock: MockClock,
) -> None:
    database = ScriptedDatabase(broken=True)
    database.plan.append(Outcome.IN_DOUBT)
    ledger = ledger_over(database)

    async with running(ledger):
        ledger.put(row(1, cost_nano=7))
        await wait_all_tasks_blocked()
        assert (ledger.pending, len(database.rows)) == (1, 1)
        database.broken = False

        assert await ledger.spent("dev", 0.0, counted=lambda: None) == 7


async def test_what_was_spent_is_known_while_commits_fail(autojump_clock: MockClock) -> None:
    database = ScriptedDatabase()
    database.plan.extend([Outcome.WRITTEN, *[Outcome.FAILED] * 50])
    ledger = ledger_over(database)

    async with running(ledger):
        ledger.put(row(1, cost_nano=1))
        await trio.sleep(COMMIT_EVERY_S)
        ledger.put(row(2, cost_nano=10))
        await wait_all_tasks_blocked()
        assert ledger.failing

        assert await ledger.spent("dev", 0.0, counted=lambda: None) == 11


@pytest.mark.parametrize("fault", ["broken", "hanging"])
async def test_what_was_spent_may_be_unknown(fault: str, autojump_clock: MockClock) -> None:
    counted: list[bool] = []
    worker = SlowWorker(60.0 if fault == "hanging" else 0.0)
    ledger = ledger_over(ScriptedDatabase(broken=fault == "broken"), worker=worker)

    with pytest.raises(LedgerError):
        await ledger.spent("dev", 0.0, counted=lambda: counted.append(True))

    assert counted == []
    assert trio.current_time() <= ANSWER_S


async def test_one_who_no_longer_asks_keeps_nobody_from_writing(autojump_clock: MockClock) -> None:
    database = ScriptedDatabase()
    ledger = ledger_over(database, worker=SlowWorker(1.0))

    async with running(ledger):
        with trio.move_on_after(0.5):
            await ledger.spent("dev", 0.0, counted=lambda: None)
        ledger.put(row(1))
        await trio.sleep(1.1)

        assert list(database.rows.values()) == rows(1)


# -- the end


async def test_the_end_writes_what_is_left(autojump_clock: MockClock) -> None:
    database, told = ScriptedDatabase(), list[str]()
    ledger = ledger_over(database, worker=SlowWorker(0.5))

    async with running(ledger):
        put(ledger, rows(*range(COMMIT_ROWS_MAX * 2 + 1)), told)
        await trio.sleep(0.25)

    assert told == entries(*range(COMMIT_ROWS_MAX * 2 + 1))
    assert len(database.rows) == ledger.rows_written == COMMIT_ROWS_MAX * 2 + 1
    assert (ledger.pending, ledger.rows_lost) == (0, 0)


async def test_the_end_tries_once_more_after_a_fault(autojump_clock: MockClock) -> None:
    database = ScriptedDatabase(broken=True)
    ledger = ledger_over(database)

    async with running(ledger):
        ledger.put(row(1))
        await trio.sleep(20.0)
        database.broken = False

    assert list(database.rows.values()) == rows(1)
    assert trio.current_time() == 20.0


@pytest.mark.parametrize(("fault", "takes_s"), [("broken", 0.0), ("hanging", LAST_S)])
async def test_what_is_still_left_is_lost_and_said_to_be(
    fault: str, takes_s: float, autojump_clock: MockClock, log_lines: LogLines
) -> None:
    told: list[str] = []
    worker = SlowWorker(60.0 if fault == "hanging" else 0.0)
    ledger = ledger_over(ScriptedDatabase(broken=fault == "broken"), worker=worker)

    async with running(ledger):
        put(ledger, rows(1, 2), told)
        await trio.sleep(1.0)

    assert trio.current_time() == 1.0 + takes_s
    assert told == entries(1, 2)
    assert (ledger.pending, ledger.rows_lost) == (0, 2)
    (line,) = log_lines.of(LogEvent.LEDGER_LOST)
    assert (line["rows"], line["level"]) == (2, "error")
    assert line["message"].startswith("relayd stopped before")


async def test_after_the_end_a_row_is_lost_and_said_to_be(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    told: list[str] = []
    ledger = ledger_over(ScriptedDatabase())
    async with running(ledger):
        await wait_all_tasks_blocked()

    put(ledger, rows(1), told)

    assert told == entries(1)
    assert not ledger.accepts_turns
    assert ledger.rows_lost == 1
    assert len(log_lines.of(LogEvent.LEDGER_LOST)) == 1


async def test_one_task_writes(autojump_clock: MockClock) -> None:
    ledger = ledger_over(ScriptedDatabase())

    async with running(ledger):
        await wait_all_tasks_blocked()
        with pytest.raises(AssertionError):
            await ledger.run()


@pytest.mark.parametrize("failures", [0, 1, 3, 6, 7, 10_000])
def test_rests_grow_to_a_bound(failures: int) -> None:
    longest = min(BACK_OFF_S_MIN * 2 ** min(failures, 20), BACK_OFF_S_MAX)

    rests = {back_off_s(failures) for _ in range(50)}

    assert all(longest / 2 <= rest <= longest for rest in rests)
    assert len(rests) > 1
