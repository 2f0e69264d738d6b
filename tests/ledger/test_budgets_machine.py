"""Any interleaving of reservations, rows, failures and crashes: the counter is the ledger's sum."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from relayd.config.keys import BudgetPeriod
from relayd.config.snapshot import Key
from relayd.ledger.budgets import Budgets, Reservation
from relayd.ledger.errors import LedgerError
from relayd.ledger.periods import period_start
from relayd.state.memory import MemoryStore
from relayd.state.store import StoreError
from tests.state.gates import FakeLedger, Gate, GatedStore, Wall

BUDGET = 1000
KEY = Key(
    name="dev", tenant="t", digest=bytes(32), budget_nano=BUDGET, budget_period=BudgetPeriod.DAY
)
LEAST = 30
"""Steps: Hypothesis would else try short scripts, in which little happens."""

STEPS = st.tuples(
    st.sampled_from(
        [
            *("reserve", "reserve", "begin", "settle", "settle", "void"),
            *("charge", "charge", "charge", "post", "post", "post", "look", "go", "go", "go"),
            *("fail", "cancel", "day", "replay", "crash"),
        ]
    ),
    st.integers(0, 7),  # which of those there are
    st.sampled_from([0, 1, 7, 300, 999, 1000, 2500]),  # nano-dollars
    st.booleans(),  # whether all that waits goes through afterwards
)


@attrs.define(eq=False)
class Process:
    """One relay over the ledger, whose store and ledger answer when the script says so."""

    nursery: trio.Nursery
    ledger: FakeLedger
    wall: Wall
    gate: Gate = attrs.field(factory=lambda: Gate(shut=True))
    held: list[Reservation] = attrs.field(factory=list)
    scopes: list[trio.CancelScope] = attrs.field(factory=list)
    store: MemoryStore = attrs.field(init=False)
    budgets: Budgets = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ledger.gate = self.gate
        self.store = MemoryStore(self.wall)
        self.budgets = Budgets(GatedStore(self.store, self.gate), self.ledger.spent, self.wall)

    def start(self, ask: Callable[[], Awaitable[object]]) -> None:
        async def run() -> None:
            with trio.CancelScope() as scope:
                self.scopes.append(scope)
                try:
                    answer = await ask()
                    if isinstance(answer, Reservation):
                        self.held.append(answer)
                except (StoreError, LedgerError):
                    pass  # the script made it fail
            self.scopes.remove(scope)

        self.nursery.start_soon(run)

    def row(self, nano: int) -> float:
        self.ledger.put("dev", self.wall(), nano)
        return self.wall()

    def step(self, verb: str, which: int, nano: int) -> None:
        """Do one thing, if there is something to do it with."""
        budgets, held, visitors = self.budgets, self.held, self.gate.visitors
        match verb:
            case "reserve":
                self.start(lambda: budgets.reserve(KEY, nano))
            case "look":
                self.start(lambda: budgets.exhausted(KEY))
            case "post":
                self.start(lambda: budgets.post("dev"))
            case "begin":
                held.append(budgets.begin(KEY, nano))
            case "settle" if held:
                held.pop(which % len(held)).settle(nano, self.row(nano))
            case "void" if held:
                held.pop(which % len(held)).void()
            case "charge":
                budgets.charge(KEY, nano, self.row(nano))
            case "go" | "fail" if visitors:
                visitors[which % len(visitors)].go(fails=verb == "fail")
            case "cancel" if self.scopes:
                self.scopes[which % len(self.scopes)].cancel()
            case "day":
                self.wall.now += 86_400 / 2
            case "replay":
                self.ledger.replay()
            case _:
                pass

    async def go_on(self) -> None:
        """Let everything through that waits, or comes while this does."""
        self.gate.open()
        await wait_all_tasks_blocked()
        self.gate.shut = True

    async def counter(self) -> int | None:
        name = f"budget:dev:day:{period_start(BudgetPeriod.DAY, self.wall())}"
        value = await self.store.get(name)
        return None if value is None else int(value)

    async def settle_down(self) -> None:
        """Let everything end, and nothing be left set aside."""
        self.gate.open()
        await wait_all_tasks_blocked()
        while self.held:
            self.held.pop().void()
        await self.budgets.post("dev")
        await self.budgets.exhausted(KEY)


async def check_never_negative(process: Process) -> None:
    for name in tuple(process.store._entries):
        value = await process.store.get(name)
        assert value is None or int(value) >= 0


@settings(max_examples=100)
@given(st.lists(STEPS, min_size=LEAST, max_size=60))
def test_when_nothing_is_in_flight_the_counter_is_the_sum_of_the_rows(
    steps: list[tuple[str, int, int, bool]],
) -> None:
    ledger, wall = FakeLedger(), Wall()

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            process = Process(nursery, ledger, wall)
            for verb, which, nano, at_once in steps:
                if verb == "crash":
                    for scope in process.scopes:
                        scope.cancel()
                    await wait_all_tasks_blocked()
                    process = Process(nursery, ledger, wall)
                process.step(verb, which, nano)
                await wait_all_tasks_blocked()
                if at_once:
                    await process.go_on()
                await check_never_negative(process)
            await process.settle_down()

            since = period_start(BudgetPeriod.DAY, wall())
            assert await process.counter() == ledger.sum("dev", since)
            assert not process.scopes

    trio.run(play)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "settle", "void", "go", "go", "go", "fail", "cancel"]),
            st.integers(0, 7),
            st.integers(0, 600),
            st.booleans(),
        ),
        min_size=LEAST,
        max_size=60,
    )
)
def test_a_turn_that_costs_what_was_set_aside_at_most_never_goes_beyond_the_budget(
    steps: list[tuple[str, int, int, bool]],
) -> None:
    ledger, wall = FakeLedger(), Wall()

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            process = Process(nursery, ledger, wall)
            for verb, which, nano, at_once in steps:
                most = process.held[which % len(process.held)].nano if process.held else 0
                process.step(verb, which, min(nano, most) if verb == "settle" else nano)
                await wait_all_tasks_blocked()
                if at_once:
                    await process.go_on()
                in_flight = sum(reservation.nano for reservation in process.held)
                assert ledger.sum("dev", 0) + in_flight <= BUDGET
            await process.settle_down()

    trio.run(play)
