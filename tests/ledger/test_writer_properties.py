"""Whatever happens in whatever order: each row once, each receipt once, and sums that agree."""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing
from functools import partial

import attrs
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.ledger.database import Database
from relayd.ledger.errors import LedgerError
from relayd.ledger.rows import Row
from relayd.ledger.schema import RowId
from relayd.ledger.writer import BACK_OFF_S_MAX, Ledger
from tests.ledger.filled import row
from tests.ledger.scripted import Outcome, at_once

NUMBERS = 12


class Step(enum.Enum):
    """What may happen beside a put, which is a row's number."""

    IDLE = enum.auto()  # the writer does what it can at once
    WAIT = enum.auto()  # time passes
    ASK = enum.auto()  # what was spent


LIFE = st.lists(st.integers(0, NUMBERS - 1) | st.sampled_from(Step), max_size=40)
PLAN = st.lists(st.sampled_from(Outcome), max_size=30)
LONG_ENOUGH_S = BACK_OFF_S_MAX * 31
"""For every commit that a plan lets fail."""


def priced(number: int) -> Row:
    """A row whose cost shows in every sum whether it is there, and how often."""
    return row(number, cost_nano=10**number)


@attrs.define(eq=False)
class FlakyDatabase:
    """A real one, whose commits fail before or after they are made.

    Attributes:
        plan: What becomes of the next commits; later ones succeed.
        dead: Whether no commit is made any more.
    """

    database: Database
    plan: deque[Outcome]
    dead: bool = False

    def write(self, rows: Sequence[Row]) -> Sequence[Row]:
        outcome = self.plan.popleft() if self.plan else Outcome.WRITTEN
        if self.dead or outcome is Outcome.FAILED:
            raise LedgerError("the disk failed; mend it")
        assert self.database.write(rows) == ()
        if outcome is Outcome.IN_DOUBT:
            raise LedgerError("the disk failed; mend it")
        return ()

    def spent(self, key: str, since: float, *, without: Sequence[RowId]) -> int:
        return self.database.spent(key, since, without=without)


@attrs.define(eq=False)
class Life:
    """One run of a ledger.

    Attributes:
        taken: Numbers of the rows that are in the database or wait for it.
        puts: How many receipts each number has; ``told``: how many of them have told.
    """

    flaky: FlakyDatabase
    ledger: Ledger
    taken: set[int]
    puts: Counter[int] = attrs.Factory(Counter)
    told: Counter[int] = attrs.Factory(Counter)

    async def live(self, steps: Sequence[int | Step], *, killed: bool) -> None:
        self.flaky.dead = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.ledger.run)
            for step in steps:
                await self._do(step)
            if killed:
                self.flaky.dead = True
            else:
                await trio.sleep(LONG_ENOUGH_S)
                assert self.ledger.pending == 0
            nursery.cancel_scope.cancel()

    async def _do(self, step: int | Step) -> None:
        match step:
            case Step.IDLE:
                await wait_all_tasks_blocked()
            case Step.WAIT:
                await trio.sleep(BACK_OFF_S_MAX)
            case Step.ASK:
                spent = await self.ledger.spent("dev", 0.0, counted=lambda: None)
                assert spent == sum(10**number for number in self.taken)
            case number:
                self._put(number)

    def _put(self, number: int) -> None:
        lost = self.ledger.rows_lost
        receipt = self.ledger.put(priced(number))
        self.puts[number] += 1
        receipt.then(partial(self._tell, number))
        if self.ledger.rows_lost == lost:
            self.taken.add(number)

    def _tell(self, number: int) -> None:
        self.told[number] += 1


def written(database: Database) -> list[str]:
    with database._using() as connection:
        return [entry for (entry,) in connection.execute("SELECT entry FROM rows")]


def entries(numbers: set[int]) -> list[str]:
    return sorted(f"response:{number}" for number in numbers)


@given(steps=LIFE, plan=PLAN)
def test_faults_lose_double_and_forget_nothing(
    steps: list[int | Step], plan: list[Outcome]
) -> None:
    with closing(Database.open(None)) as database:
        flaky = FlakyDatabase(database, deque(plan))
        ledger = Ledger(flaky, on_failure="spill", rows_max=8, worker=at_once)
        life = Life(flaky, ledger, taken=set())

        trio.run(partial(life.live, steps, killed=False), clock=MockClock(autojump_threshold=0))

        assert sorted(written(database)) == entries(life.taken)
    assert life.told == life.puts
    assert sum(life.puts.values()) >= ledger.rows_lost + len(life.taken)
    assert not ledger.failing


@given(lives=st.lists(LIFE, min_size=2, max_size=4), plan=PLAN)
def test_who_is_killed_and_puts_every_row_again_doubles_none(
    lives: list[list[int | Step]], plan: list[Outcome]
) -> None:
    with closing(Database.open(None)) as database:
        flaky = FlakyDatabase(database, deque(plan))
        known: set[int] = set()
        for steps in lives:
            ledger = Ledger(flaky, on_failure="spill", worker=at_once)
            life = Life(flaky, ledger, taken=set(known))
            replay = [*sorted(known), *steps]
            is_last = steps is lives[-1]
            trio.run(
                partial(life.live, replay, killed=not is_last),
                clock=MockClock(autojump_threshold=0),
            )
            known |= life.taken
            assert life.told == life.puts

        assert sorted(written(database)) == entries(known)
