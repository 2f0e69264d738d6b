"""Any interleaving of sessions, turns, failures and cancellations leaks nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.keys import BudgetPeriod
from relayd.config.providers import Dialect
from relayd.config.snapshot import Key
from relayd.dialect.meter import Refuse
from relayd.ledger.budgets import Budgets
from relayd.session.admission import Grant, Lease
from relayd.session.limits import Hold, Limits
from relayd.state.memory import MemoryStore
from tests.state.gates import FakeLedger, Gate, GatedStore, Wall

BUDGET = "budget:dev:total:0"
KEY = Key(
    name="dev",
    tenant="t",
    digest=bytes(32),
    sessions_max=2,
    requests_per_minute=1000,
    tokens_per_minute=10**6,
    budget_nano=1000,
    budget_period=BudgetPeriod.TOTAL,
)
LEAST = 30
"""Steps: Hypothesis would else try short scripts, in which little happens."""

STEPS = st.tuples(
    st.sampled_from(
        [
            *("open", "open", "close", "turn", "turn", "begin", "settle", "settle", "void"),
            *("charge", "go", "go", "go", "fail", "cancel", "wait", "replay", "crash"),
        ]
    ),
    st.integers(0, 7),  # which of those there are
    st.sampled_from([0, 1, 7, 300, 999, 1000, 2500]),  # nano-dollars, and tokens
    st.booleans(),  # whether all that waits goes through afterwards
)


@attrs.define(eq=False)
class Process:
    """One relay whose store and ledger answer when the script says so."""

    nursery: trio.Nursery
    ledger: FakeLedger
    wall: Wall
    gate: Gate = attrs.field(factory=lambda: Gate(shut=True))
    leases: list[Lease] = attrs.field(factory=list)
    holds: list[Hold] = attrs.field(factory=list)
    scopes: list[trio.CancelScope] = attrs.field(factory=list)
    running: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    store: MemoryStore = attrs.field(init=False)
    limits: Limits = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ledger.gate = self.gate
        self.store = MemoryStore(self.wall)
        store = GatedStore(self.store, self.gate)
        self.limits = Limits(
            store=store,
            budgets=Budgets(store, self.ledger.spent, self.wall),
            wall=self.wall,
            sessions_max=3,
            on_failure="closed",
        )
        self.nursery.start_soon(self.run)

    async def run(self) -> None:
        with self.running:
            await self.limits.run()

    def start(self, ask: Callable[[], Awaitable[object]]) -> None:
        async def run() -> None:
            with trio.CancelScope() as scope:
                self.scopes.append(scope)
                match await ask():
                    case Hold() as hold:
                        self.holds.append(hold)
                    case Refuse():
                        pass
                    case answer if hasattr(answer, "release"):
                        self.leases.append(answer)
                    case _:
                        pass
            self.scopes.remove(scope)

        self.nursery.start_soon(run)

    def row(self, nano: int) -> float:
        self.ledger.put("dev", self.wall(), nano)
        return self.wall()

    def step(self, verb: str, which: int, nano: int) -> None:
        """Do one thing, if there is something to do it with."""
        limits, holds, visitors = self.limits, self.holds, self.gate.visitors
        match verb:
            case "open":
                grant = Grant(
                    key=KEY,
                    dialect=Dialect.REALTIME,
                    client_address="192.0.2.1",
                    granted_at=0.0,
                    wall_granted_at=self.wall(),
                )
                self.start(lambda: limits.take(grant))
            case "close" if self.leases:
                self.leases.pop(which % len(self.leases)).release()
            case "turn":
                self.start(lambda: limits.take_turn(KEY, nano, self.wall(), self.exhausted))
            case "begin":
                holds.append(limits.begin_turn(KEY, nano, self.exhausted))
            case "settle" if holds:
                holds.pop(which % len(holds)).settle(nano, nano, self.row(nano))
            case "void" if holds:
                holds.pop(which % len(holds)).void()
            case "charge":
                limits.charge(KEY, nano, nano, self.row(nano), self.exhausted)
            case "go" | "fail" if visitors:
                visitors[which % len(visitors)].go(fails=verb == "fail")
            case "cancel" if self.scopes:
                self.scopes[which % len(self.scopes)].cancel()
            case "wait":
                self.wall.now += 10
            case "replay":
                self.ledger.replay()
            case _:
                pass

    def exhausted(self, refuse: Refuse) -> None:
        assert refuse.code == "insufficient_quota"

    async def go_on(self) -> None:
        """Let everything through that waits, or comes while this does."""
        self.gate.open()
        await wait_all_tasks_blocked()
        self.gate.shut = True

    async def check(self) -> None:
        """What holds at every moment."""
        assert len(self.leases) <= KEY.sessions_max
        assert len(self.leases) <= self.limits.live <= 3
        assert self.limits.waiting <= 1
        for name in ("sessions:dev", BUDGET):
            assert int(await self.store.get(name) or b"0") >= 0

    async def crash(self) -> None:
        """End as a process does that is killed: nothing more is written."""
        for scope in (*self.scopes, self.running):
            scope.cancel()
        await wait_all_tasks_blocked()
        for visitor in tuple(self.gate.visitors):
            visitor.go(fails=True)
        await wait_all_tasks_blocked()

    async def settle_down(self) -> None:
        """Let everything end."""
        self.gate.open()
        await wait_all_tasks_blocked()
        while self.leases:
            self.leases.pop().release()
        while self.holds:
            self.holds.pop().void()
        await trio.sleep(10)
        await self.limits.budgets.exhausted(KEY)


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=LEAST, max_size=60))
def test_when_nothing_is_in_flight_nothing_is_left_but_what_the_rows_say(
    steps: list[tuple[str, int, int, bool]],
) -> None:
    ledger, wall = FakeLedger(), Wall()

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            process = Process(nursery, ledger, wall)
            for verb, which, nano, at_once in steps:
                if verb == "crash":
                    await process.crash()
                    process = Process(nursery, ledger, wall)
                process.step(verb, which, nano)
                await wait_all_tasks_blocked()
                if at_once:
                    await process.go_on()
                await process.check()
            await process.settle_down()

            assert process.limits.live == process.limits.waiting == 0
            assert await process.store.get("sessions:dev") in {None, b"0"}
            assert int(await process.store.get(BUDGET) or b"") == ledger.sum("dev", 0)
            assert not process.scopes
            nursery.cancel_scope.cancel()

    trio.run(play, clock=MockClock(autojump_threshold=0))
