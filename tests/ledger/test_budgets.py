"""Budgets: what fits, and that counters and ledger never part."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.config.keys import BudgetPeriod
from relayd.config.snapshot import Key
from relayd.ledger.budgets import GRACE_S, Budgets, Lack, Reservation
from relayd.ledger.errors import LedgerError
from relayd.state.memory import MemoryStore
from relayd.state.store import StoreError
from tests.state.gates import FakeLedger, Gate, GatedStore, Wall

DAY_S = 86_400
NOON = Wall().now
START = int(NOON) - DAY_S // 2
KEY = Key(
    name="dev", tenant="t", digest=bytes(32), budget_nano=1000, budget_period=BudgetPeriod.DAY
)
TODAY = f"budget:dev:day:{START}"
TOMORROW = f"budget:dev:day:{START + DAY_S}"


@attrs.define(eq=False)
class Bench:
    """Budgets over a store and a ledger in the test's hand."""

    wall: Wall = attrs.field(factory=Wall)
    gate: Gate = attrs.field(factory=Gate)
    ledger: FakeLedger = attrs.field(factory=FakeLedger)
    store: GatedStore = attrs.field(init=False)
    budgets: Budgets = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = GatedStore(MemoryStore(self.wall), self.gate)
        self.restart()

    def restart(self) -> None:
        """As another process would begin, over the same ledger and store."""
        self.budgets = Budgets(self.store, self.ledger.spent, self.wall)

    def put(self, nano: int, ended_at: float | None = None) -> float:
        """A row in the ledger; when it ended."""
        at = self.wall() if ended_at is None else ended_at
        self.ledger.put("dev", at, nano)
        return at

    async def value(self, name: str = TODAY) -> int | None:
        value = await self.store.inner.get(name)
        return None if value is None else int(value)

    async def reserved(self, nano: int) -> Reservation:
        reservation = await self.budgets.reserve(KEY, nano)
        assert isinstance(reservation, Reservation), reservation
        return reservation

    async def post(self) -> None:
        await self.budgets.post("dev")


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- what fits


async def test_what_fits_is_set_aside_and_what_does_not_is_not(bench: Bench) -> None:
    first = await bench.reserved(600)

    assert first.fits
    assert await bench.budgets.reserve(KEY, 401) is Lack.RESERVED
    assert await bench.value() == 600
    await bench.reserved(400)
    assert await bench.value() == 1000
    assert await bench.budgets.reserve(KEY, 1) is Lack.RESERVED


async def test_what_is_not_used_is_free_again(bench: Bench) -> None:
    reservation = await bench.reserved(600)
    reservation.settle(100, bench.put(100))
    assert await bench.budgets.reserve(KEY, 901) is Lack.SPENT
    other = await bench.reserved(900)
    other.void()
    await bench.post()

    assert await bench.value() == 100
    await bench.reserved(900)


async def test_a_turn_may_cost_more_than_was_set_aside(bench: Bench) -> None:
    reservation = await bench.reserved(600)
    reservation.settle(1500, bench.put(1500))
    await bench.post()

    assert await bench.value() == 1500
    assert await bench.budgets.exhausted(KEY)
    assert await bench.budgets.reserve(KEY, 0) is Lack.SPENT


async def test_a_key_is_out_of_budget_when_it_has_spent_it_not_when_it_has_reserved_it(
    bench: Bench,
) -> None:
    reservation = await bench.reserved(1000)

    assert not await bench.budgets.exhausted(KEY)
    assert not bench.budgets.is_spent(KEY)
    reservation.settle(1000, bench.put(1000))
    assert bench.budgets.is_spent(KEY)
    assert await bench.budgets.exhausted(KEY)


async def test_a_turn_for_nothing_needs_a_budget_that_is_not_spent(bench: Bench) -> None:
    assert isinstance(await bench.budgets.reserve(KEY, 0), Reservation)
    bench.budgets.charge(KEY, 1000, bench.put(1000))

    assert await bench.budgets.reserve(KEY, 0) is Lack.SPENT


async def test_what_others_have_set_aside_is_not_spent(bench: Bench) -> None:
    """The bound between the two lies where the turn would fit beside what is spent, to the nano."""
    bench.put(300)
    running = await bench.reserved(600)

    assert await bench.budgets.reserve(KEY, 700) is Lack.RESERVED
    assert await bench.budgets.reserve(KEY, 701) is Lack.SPENT
    running.settle(301, bench.put(301))
    assert await bench.budgets.reserve(KEY, 400) is Lack.SPENT
    assert await bench.value() == 900
    await bench.reserved(399)


async def test_what_is_spent_while_the_store_answers_counts(bench: Bench) -> None:
    running = await bench.reserved(600)
    bench.gate.shut = True
    answers: list[Reservation | Lack] = []

    async def ask() -> None:
        answers.append(await bench.budgets.reserve(KEY, 500))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        running.settle(600, bench.put(600))
        bench.gate.open()

    assert answers == [Lack.SPENT]


async def test_a_reservation_ends_once(bench: Bench) -> None:
    reservation = await bench.reserved(10)
    reservation.void()

    with pytest.raises(AssertionError, match="once"):
        reservation.void()
    with pytest.raises(AssertionError, match="once"):
        reservation.settle(1, NOON)


async def test_a_turn_that_runs_already_is_set_aside_whether_it_fits_or_not(bench: Bench) -> None:
    early = bench.budgets.begin(KEY, 700)
    assert early.fits is None
    assert not bench.budgets.is_overdrawn(KEY)
    await bench.post()

    assert await bench.value() == 700
    assert not bench.budgets.is_overdrawn(KEY)
    assert bench.budgets.begin(KEY, 300).fits is True
    assert bench.budgets.begin(KEY, 1).fits is False
    assert bench.budgets.is_overdrawn(KEY)
    assert await bench.budgets.reserve(KEY, 0) is Lack.RESERVED
    early.void()
    assert not bench.budgets.is_overdrawn(KEY)
    await bench.post()
    assert await bench.value() == 301


async def test_a_budget_that_a_reload_has_raised_counts_at_once(bench: Bench) -> None:
    await bench.reserved(1000)

    assert await bench.budgets.reserve(KEY, 1) is Lack.RESERVED
    assert isinstance(
        await bench.budgets.reserve(attrs.evolve(KEY, budget_nano=1001), 1), Reservation
    )


# -- periods


@pytest.mark.parametrize(
    ("period", "renewed_at"),
    [
        (BudgetPeriod.DAY, START + DAY_S),
        (BudgetPeriod.WEEK, START + 4 * DAY_S),  # it is a Thursday
        (BudgetPeriod.MONTH, START + 31 * DAY_S),
        (BudgetPeriod.TOTAL, None),
    ],
)
async def test_it_says_when_the_next_period_begins(
    bench: Bench, period: BudgetPeriod, renewed_at: int | None
) -> None:
    assert bench.budgets.renewed_at(attrs.evolve(KEY, budget_period=period)) == renewed_at


async def test_a_new_period_begins_with_nothing_spent(bench: Bench) -> None:
    bench.budgets.charge(KEY, 1000, bench.put(1000))
    assert await bench.budgets.exhausted(KEY)
    bench.wall.now += DAY_S

    assert not await bench.budgets.exhausted(KEY)
    await bench.reserved(1000)


async def test_a_total_budget_never_begins_anew(bench: Bench) -> None:
    key = attrs.evolve(KEY, budget_period=BudgetPeriod.TOTAL)
    bench.put(999, ended_at=1.0)
    bench.wall.now += 10_000 * DAY_S

    assert await bench.budgets.reserve(key, 2) is Lack.SPENT
    assert isinstance(await bench.budgets.reserve(key, 1), Reservation)
    assert await bench.value("budget:dev:total:0") == 1000


async def test_a_counter_outlives_its_period_by_a_day(bench: Bench) -> None:
    await bench.reserved(10)
    bench.wall.now = START + DAY_S + GRACE_S - 1
    assert await bench.value() == 10
    bench.wall.now += 1

    assert await bench.value() is None


async def test_a_reservation_of_yesterday_is_given_back_to_yesterday(bench: Bench) -> None:
    kept = await bench.reserved(100)
    reservation = await bench.reserved(600)
    bench.wall.now += DAY_S
    reservation.settle(50, bench.put(50))
    await bench.post()

    assert await bench.value() == 100
    assert await bench.value(TOMORROW) == 50
    kept.void()
    await bench.post()
    assert await bench.value() == 0
    assert await bench.value(TOMORROW) == 50


async def test_a_reservation_that_outlives_its_counter_is_given_back_to_nobody(
    bench: Bench,
) -> None:
    reservation = await bench.reserved(600)
    bench.wall.now += 3 * DAY_S
    reservation.void()
    await bench.post()

    assert await bench.value() is None


async def test_counters_of_old_periods_are_forgotten(bench: Bench) -> None:
    held = await bench.reserved(1)
    for _ in range(50):
        bench.wall.now += DAY_S
        (await bench.reserved(1)).void()
        await bench.post()

    of_key = bench.budgets._keys["dev"]
    assert len(of_key.counters) == 2  # the one with the reservation, and today's
    held.void()
    await bench.post()
    bench.wall.now += DAY_S
    await bench.budgets.exhausted(KEY)
    assert len(of_key.counters) == 1


# -- priming


async def test_a_counter_is_primed_from_the_rows_of_its_period(bench: Bench) -> None:
    bench.put(7, ended_at=START - 0.001)
    bench.put(200, ended_at=START)
    bench.put(300)
    bench.ledger.put("other", NOON, 1000)

    assert await bench.budgets.reserve(KEY, 501) is Lack.SPENT
    await bench.reserved(500)
    assert await bench.value() == 1000


async def test_however_many_ask_at_once_it_is_primed_once(bench: Bench) -> None:
    bench.put(400)
    bench.ledger.gate.shut = True
    granted: list[Reservation | Lack] = []

    async def ask() -> None:
        granted.append(await bench.budgets.reserve(KEY, 100))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        bench.ledger.gate.open()

    assert bench.ledger.sums == 1
    assert sum(1 for each in granted if isinstance(each, Reservation)) == 6
    assert await bench.value() == 1000


async def test_a_new_process_takes_no_reservation_of_the_old_one_for_spent(bench: Bench) -> None:
    await bench.reserved(900)
    bench.put(50)
    bench.restart()

    assert await bench.budgets.reserve(KEY, 951) is Lack.SPENT
    await bench.reserved(950)


@pytest.mark.parametrize("when", ["before", "during", "after"])
@pytest.mark.parametrize("told", ["charge", "settle of yesterday"])
async def test_a_row_is_counted_once_wherever_it_falls_around_the_priming(
    bench: Bench, when: str, told: str
) -> None:
    """A row put before ``counted`` is in the sum; one put after it is added."""
    yesterday = await bench.reserved(500)
    bench.wall.now += DAY_S

    def tell() -> None:
        ended_at = bench.put(40)
        if told == "charge":
            bench.budgets.charge(KEY, 40, ended_at)
        else:
            yesterday.settle(40, ended_at)

    bench.ledger.gate.shut = True
    if when == "before":
        tell()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.budgets.exhausted, KEY)
        await wait_all_tasks_blocked()
        if when == "during":
            tell()  # summed when the gate lets it
        bench.ledger.gate.visitors[0].go()
        await wait_all_tasks_blocked()
        if when == "after":
            tell()  # after the sum, before the counter is written
        bench.ledger.gate.open()
    await bench.post()

    assert await bench.value(TOMORROW) == 40
    assert bench.ledger.sums == 2


async def test_a_row_told_while_the_counter_is_written_is_added(bench: Bench) -> None:
    bench.gate.shut = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.budgets.exhausted, KEY)
        await wait_all_tasks_blocked()
        bench.budgets.charge(KEY, 40, bench.put(40))
        bench.gate.open()
    await bench.post()

    assert await bench.value() == 40


async def test_a_row_told_while_another_is_posted_is_posted_next(bench: Bench) -> None:
    await bench.budgets.exhausted(KEY)
    bench.budgets.charge(KEY, 5, bench.put(5))
    bench.gate.shut = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.post)
        await wait_all_tasks_blocked()
        bench.budgets.charge(KEY, 40, bench.put(40))
        bench.gate.open()
    assert await bench.value() == 5
    await bench.post()

    assert await bench.value() == 45


async def test_reservations_that_run_while_it_is_primed_anew_are_kept(bench: Bench) -> None:
    """One is given back before the sum, one between the sum and the writing, one never."""
    before, between, _kept = [await bench.reserved(nano) for nano in (1, 20, 300)]
    bench.gate.broken = True
    bench.budgets.charge(KEY, 0, NOON)
    with pytest.raises(StoreError):
        await bench.budgets.reserve(KEY, 1)  # cut off: the counter is in doubt
    bench.gate.broken = False
    bench.ledger.gate.shut = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.post)
        await wait_all_tasks_blocked()
        before.settle(4000, bench.put(4000))
        bench.ledger.gate.visitors[0].go()
        await wait_all_tasks_blocked()
        between.settle(50_000, bench.put(50_000))
        bench.ledger.gate.open()
    await bench.post()

    assert await bench.value() == 54_300


async def test_a_ledger_that_cannot_be_read_says_so_and_is_asked_again(bench: Bench) -> None:
    bench.ledger.unreadable = True
    bench.put(1000)
    with pytest.raises(LedgerError):
        await bench.budgets.reserve(KEY, 1)
    with pytest.raises(LedgerError):
        await bench.budgets.exhausted(KEY)
    bench.budgets.charge(KEY, 5, bench.put(5))
    with pytest.raises(LedgerError):
        await bench.post()
    bench.ledger.unreadable = False
    await bench.post()

    assert await bench.value() == 1005


async def test_a_ledger_that_goes_away_after_counting_has_counted_nothing(bench: Bench) -> None:
    bench.ledger.gate.shut = True
    errors: list[Exception] = []

    async def ask() -> None:
        try:
            await bench.budgets.exhausted(KEY)
        except LedgerError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        bench.ledger.gate.visitors[0].go()
        await wait_all_tasks_blocked()
        bench.budgets.charge(KEY, 40, bench.put(40))
        bench.ledger.gate.visitors[0].go(fails=True)
    bench.ledger.gate.open()
    await bench.post()

    assert len(errors) == 1
    assert await bench.value() == 40


# -- a store that fails, and being cancelled


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("how", ["fails", "cancelled"])
async def test_a_reservation_that_was_cut_off_sets_nothing_aside(
    bench: Bench, how: str, *, applied: bool
) -> None:
    await bench.reserved(100)
    bench.gate.shut = True
    scope = trio.CancelScope()

    async def ask() -> None:
        with scope, pytest.raises(StoreError):
            await bench.budgets.reserve(KEY, 500)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        if applied:
            bench.gate.visitors[0].go()
            await wait_all_tasks_blocked()
        if how == "fails":
            bench.gate.visitors[0].go(fails=True)
        else:
            scope.cancel()
    bench.gate.open()

    await bench.reserved(900)
    assert await bench.value() == 1000
    assert await bench.budgets.reserve(KEY, 1) is Lack.RESERVED


@pytest.mark.parametrize("applied", [False, True])
async def test_what_could_not_be_posted_is_posted_the_next_time(
    bench: Bench, *, applied: bool
) -> None:
    reservation = await bench.reserved(500)
    reservation.settle(20, bench.put(20))
    bench.gate.shut = True
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.post)
            await wait_all_tasks_blocked()
            if applied:
                bench.gate.visitors[0].go()
                await wait_all_tasks_blocked()
            scope.cancel()
    bench.gate.open()
    await bench.post()

    assert await bench.value() == 20
    assert bench.ledger.sums == 2


async def test_a_counter_in_doubt_whose_period_is_over_is_left_alone(bench: Bench) -> None:
    reservation = await bench.reserved(500)
    bench.gate.broken = True
    with pytest.raises(StoreError):
        await bench.budgets.reserve(KEY, 1)
    bench.gate.broken = False
    bench.wall.now += DAY_S
    reservation.void()
    await bench.post()

    assert bench.ledger.sums == 1


async def test_a_counter_that_was_lost_is_noticed_and_counted_anew(bench: Bench) -> None:
    held = await bench.reserved(100)
    bench.budgets.charge(KEY, 300, bench.put(300))
    await bench.post()
    await bench.store.inner.compare_and_set(TODAY, b"400", None)
    with pytest.raises(StoreError, match="lost"):
        await bench.budgets.reserve(KEY, 1)

    await bench.reserved(1)
    assert await bench.value() == 401
    held.void()
    await bench.post()
    assert await bench.value() == 301


async def test_a_clock_that_is_set_back_over_midnight_breaks_nothing(bench: Bench) -> None:
    bench.budgets.charge(KEY, 100, bench.put(100))
    await bench.reserved(10)
    bench.wall.now += DAY_S
    reservation = await bench.reserved(500)
    bench.wall.now -= DAY_S
    reservation.settle(70, bench.put(70))
    await bench.post()

    assert await bench.value() == 180
    assert await bench.value(TOMORROW) == 0
