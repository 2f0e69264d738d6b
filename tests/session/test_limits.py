"""Limits: who may open a session or begin a turn, and what they are told otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.keys import BudgetPeriod
from relayd.config.providers import Dialect
from relayd.config.snapshot import Key
from relayd.core.refusals import Refusal
from relayd.dialect.meter import Refuse
from relayd.ledger.budgets import Budgets
from relayd.observe.events import LogEvent
from relayd.session.admission import Grant, Lease
from relayd.session.limits import INSUFFICIENT_QUOTA, Hold, Limits
from relayd.state.memory import MemoryStore
from tests.conftest import LogLines
from tests.state.gates import FakeLedger, Gate, GatedStore, Wall

BUDGET = "budget:dev:day:1767225600"
DAY_S = 86_400


def key(
    *, sessions: int = 0, requests: int = 0, tokens: int = 0, budget: int = 0, name: str = "dev"
) -> Key:
    return Key(
        name=name,
        tenant="t",
        digest=bytes(32),
        sessions_max=sessions,
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        budget_nano=budget,
        budget_period=BudgetPeriod.DAY,
    )


@attrs.define(eq=False)
class Bench:
    """Limits whose bookkeeper runs, over a store and a ledger in the test's hand.

    Attributes:
        told: What sessions were told about budgets.
    """

    on_failure: Literal["open", "closed"] = "open"
    sessions_max: int = 1000
    wall: Wall = attrs.field(factory=Wall)
    gate: Gate = attrs.field(factory=Gate)
    ledger: FakeLedger = attrs.field(factory=FakeLedger)
    told: list[Refuse] = attrs.field(factory=list)
    store: GatedStore = attrs.field(init=False)
    limits: Limits = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = GatedStore(MemoryStore(self.wall), self.gate)
        self.limits = Limits(
            store=self.store,
            budgets=Budgets(self.store, self.ledger.spent, self.wall),
            wall=self.wall,
            sessions_max=self.sessions_max,
            on_failure=self.on_failure,
        )

    def exhausted(self, refuse: Refuse) -> None:
        self.told.append(refuse)

    def put(self, nano: int) -> float:
        self.ledger.put("dev", self.wall(), nano)
        return self.wall()

    async def ask(self, of: Key) -> Lease | Refusal:
        grant = Grant(
            key=of,
            dialect=Dialect.REALTIME,
            client_address="192.0.2.1",
            granted_at=0.0,
            wall_granted_at=self.wall(),
        )
        return await self.limits.take(grant)

    async def lease(self, of: Key) -> Lease:
        lease = await self.ask(of)
        assert not isinstance(lease, Refusal), lease
        return lease

    async def refusal(self, of: Key) -> Refusal:
        refusal = await self.ask(of)
        assert isinstance(refusal, Refusal)
        return refusal

    async def turn(self, of: Key, reserve_nano: int = 0) -> Hold | Refuse:
        return await self.limits.take_turn(of, reserve_nano, self.wall(), self.exhausted)

    async def hold(self, of: Key, reserve_nano: int = 0) -> Hold:
        hold = await self.turn(of, reserve_nano)
        assert isinstance(hold, Hold), hold
        return hold

    async def refuse(self, of: Key, reserve_nano: int = 0) -> Refuse:
        refuse = await self.turn(of, reserve_nano)
        assert isinstance(refuse, Refuse)
        return refuse

    async def value(self, name: str) -> int:
        """A counter of the store, once nothing waits any more."""
        await wait_all_tasks_blocked()
        return int(await self.store.inner.get(name) or b"0")


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.limits.run)
        yield bench
        nursery.cancel_scope.cancel()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running(Bench()) as bench:
        yield bench


# -- sessions


async def test_the_process_has_so_many_sessions_at_once() -> None:
    bench = Bench(sessions_max=2)
    leases = [await bench.lease(key()), await bench.lease(key(name="other"))]
    refusal = await bench.refusal(key())

    assert (refusal.status, refusal.code, refusal.retry_after_s) == (503, "overload", 1.0)
    leases[0].release()
    leases[0].release()
    await bench.lease(key())
    assert bench.limits.live == 2
    await bench.refusal(key())


async def test_of_a_thousand_sessions_of_a_key_exactly_so_many_run(bench: Bench) -> None:
    answers: list[Lease | Refusal] = []

    async def ask() -> None:
        answers.append(await bench.ask(key(sessions=37)))

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(ask)

    refusals = [answer for answer in answers if isinstance(answer, Refusal)]
    assert len(refusals) == 963
    assert {(each.status, each.code, each.retry_after_s) for each in refusals} == {
        (429, "session_limit_reached", 1.0)
    }
    assert "37 sessions" in refusals[0].message
    assert bench.limits.live == await bench.value("sessions:dev") == 37
    for answer in answers:
        if not isinstance(answer, Refusal):
            answer.release()
    assert bench.limits.live == await bench.value("sessions:dev") == 0


async def test_keys_do_not_take_each_others_sessions(bench: Bench) -> None:
    await bench.lease(key(sessions=1))
    await bench.refusal(key(sessions=1))

    await bench.lease(key(sessions=1, name="other"))


async def test_a_lease_that_is_released_twice_is_released_once(bench: Bench) -> None:
    first, _second = [await bench.lease(key(sessions=2)) for _ in range(2)]
    first.release()
    first.release()

    assert bench.limits.live == await bench.value("sessions:dev") == 1


async def test_a_key_without_limits_costs_the_store_nothing(bench: Bench) -> None:
    (await bench.lease(key())).release()
    hold = await bench.hold(key())
    hold.settle(5, 5, bench.wall())
    await wait_all_tasks_blocked()

    assert bench.store.calls == 0
    assert not bench.limits.needs_asking(key(sessions=1))


@pytest.mark.parametrize(
    "limited", [key(requests=1), key(tokens=1), key(budget=1)], ids=["requests", "tokens", "budget"]
)
async def test_a_key_with_a_limit_of_turns_needs_asking(bench: Bench, limited: Key) -> None:
    assert bench.limits.needs_asking(limited)


async def test_a_key_that_has_spent_its_budget_opens_nothing(bench: Bench) -> None:
    limited = key(sessions=5, budget=1000)
    await bench.lease(limited)
    bench.limits.charge(limited, 1000, 0, bench.put(1000), bench.exhausted)
    refusal = await bench.refusal(limited)

    assert (refusal.status, refusal.code) == (429, "insufficient_quota")
    assert refusal.retry_after_s == DAY_S / 2
    assert refusal.headers == (("x-should-retry", "false"),)
    assert "2026-01-02T00:00:00Z" in refusal.message
    assert bench.limits.live == await bench.value("sessions:dev") == 1
    bench.wall.now += DAY_S / 2
    await bench.lease(limited)


@pytest.mark.parametrize(
    ("limited", "unit"), [(key(requests=60), "requests"), (key(tokens=60), "tokens")]
)
async def test_a_key_that_has_used_up_its_minute_opens_nothing(
    bench: Bench, limited: Key, unit: str
) -> None:
    for _ in range(60):
        (await bench.hold(limited)).settle(0, 1, bench.wall())
    bench.limits.charge(limited, 0, 1, bench.wall(), bench.exhausted)
    refusal = await bench.refusal(limited)

    assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
    assert refusal.retry_after_s == pytest.approx(1, abs=1e-4)
    assert f"60 {unit} a minute" in refusal.message
    assert bench.limits.live == 0
    bench.wall.now += 1.001
    await bench.lease(limited)


async def test_opening_a_session_takes_no_turn(bench: Bench) -> None:
    limited = key(requests=1)
    for _ in range(5):
        await bench.lease(limited)

    await bench.hold(limited)


# -- turns


async def test_turns_a_minute_are_counted_and_the_next_is_told_when(bench: Bench) -> None:
    limited = key(requests=2)
    for _ in range(2):
        (await bench.hold(limited)).void()
    refuse = await bench.refuse(limited)

    assert (refuse.kind, refuse.code) == ("rate_limit_error", "rate_limit_exceeded")
    assert "2 requests a minute" in refuse.message
    assert "again in 30.001s" in refuse.message
    bench.wall.now += 30.001
    await bench.hold(limited)


async def test_tokens_are_counted_when_a_turn_has_ended_and_refuse_while_overdrawn(
    bench: Bench,
) -> None:
    limited = key(tokens=60)
    first, second = await bench.hold(limited), await bench.hold(limited)
    first.settle(0, 100, bench.wall())
    refuse = await bench.refuse(limited)

    assert refuse.code == "rate_limit_exceeded"
    assert "60 tokens a minute" in refuse.message
    second.settle(0, 20, bench.wall())
    bench.wall.now += 59
    await bench.refuse(limited)
    bench.wall.now += 1.001
    await bench.hold(limited)


async def test_a_turn_that_the_budget_does_not_bear_is_refused(bench: Bench) -> None:
    limited = key(budget=1000)
    hold = await bench.hold(limited, 600)
    hold.settle(100, 0, bench.put(100))
    refuse = await bench.refuse(limited, 901)

    assert (refuse.kind, refuse.code) == (INSUFFICIENT_QUOTA, INSUFFICIENT_QUOTA)
    assert "begins anew at 2026-01-02T00:00:00Z" in refuse.message
    await bench.hold(limited, 900)
    assert await bench.value(BUDGET) == 1000
    assert bench.told == []


async def test_a_turn_that_does_not_fit_beside_others_is_refused_for_a_while(bench: Bench) -> None:
    limited = key(budget=1000)
    hold = await bench.hold(limited, 600)
    refuse = await bench.refuse(limited, 401)

    assert (refuse.kind, refuse.code) == ("rate_limit_error", "rate_limit_exceeded")
    assert "set aside for running responses" in refuse.message
    assert bench.told == []
    await bench.lease(limited)
    hold.void()
    await bench.hold(limited, 401)


async def test_a_session_is_refused_only_when_the_budget_is_spent(bench: Bench) -> None:
    limited = key(budget=1000)
    hold = await bench.hold(limited, 1000)
    (await bench.lease(limited)).release()
    hold.settle(1000, 0, bench.put(1000))

    assert (await bench.refusal(limited)).code == INSUFFICIENT_QUOTA


@pytest.mark.parametrize("limited", [key(budget=1000, tokens=60), key(budget=1000, requests=60)])
async def test_a_turn_refused_for_its_rate_gives_back_its_money(bench: Bench, limited: Key) -> None:
    for _ in range(60):
        (await bench.hold(limited)).settle(0, 1, bench.wall())
    bench.limits.charge(limited, 0, 1, bench.wall(), bench.exhausted)
    refuse = await bench.refuse(limited, 700)

    assert refuse.code == "rate_limit_exceeded"
    assert await bench.value(BUDGET) == 0


async def test_a_turn_refused_for_money_or_tokens_is_not_counted(bench: Bench) -> None:
    limited = key(budget=1000, tokens=60, requests=1)
    await bench.refuse(limited, 1001)
    bench.limits.charge(limited, 0, 61, bench.wall(), bench.exhausted)
    await bench.refuse(limited)
    bench.wall.now += 1.001

    await bench.hold(limited)


async def test_a_session_is_told_when_its_settlement_has_spent_the_budget(bench: Bench) -> None:
    limited = key(budget=1000)
    first, second = await bench.hold(limited, 100), await bench.hold(limited, 100)
    first.settle(999, 0, bench.put(999))
    await wait_all_tasks_blocked()
    assert bench.told == []

    second.settle(1, 0, bench.put(1))
    assert bench.told == []  # never from within the call
    await wait_all_tasks_blocked()
    assert [refuse.code for refuse in bench.told] == [INSUFFICIENT_QUOTA]


async def test_a_session_is_told_when_a_charge_has_spent_the_budget(bench: Bench) -> None:
    limited = key(budget=1000)
    bench.limits.charge(limited, 400, 0, bench.put(400), bench.exhausted)
    await wait_all_tasks_blocked()
    assert bench.told == []

    bench.limits.charge(limited, 600, 0, bench.put(600), bench.exhausted)
    await wait_all_tasks_blocked()
    assert len(bench.told) == 1
    assert await bench.value(BUDGET) == 1000


async def test_a_settlement_after_midnight_is_charged_to_the_new_day(bench: Bench) -> None:
    limited = key(budget=1000)
    hold = await bench.hold(limited, 900)
    bench.wall.now += DAY_S
    hold.settle(1000, 0, bench.put(1000))

    assert await bench.value(BUDGET) == 0
    assert await bench.value("budget:dev:day:1767312000") == 1000
    assert len(bench.told) == 1


async def test_a_hold_ends_once(bench: Bench) -> None:
    hold = await bench.hold(key(requests=5))
    hold.void()

    with pytest.raises(AssertionError, match="once"):
        hold.void()
    with pytest.raises(AssertionError, match="once"):
        hold.settle(1, 1, bench.wall())


# -- turns that the upstream begins


async def test_a_turn_that_nobody_asked_for_is_counted_and_never_refused(bench: Bench) -> None:
    limited = key(requests=2, budget=1000)
    holds = [bench.limits.begin_turn(limited, 10, bench.exhausted) for _ in range(3)]

    assert (await bench.refuse(limited)).code == "rate_limit_exceeded"
    assert await bench.value(BUDGET) == 30
    for hold in holds:
        hold.settle(1, 0, bench.put(1))
    assert await bench.value(BUDGET) == 3
    bench.wall.now += 30.001
    await bench.refuse(limited)  # overdrawn by one
    bench.wall.now += 30.001
    await bench.hold(limited)
    assert bench.told == []


@pytest.mark.parametrize("known", [False, True])
async def test_one_that_does_not_fit_tells_its_session_and_settles_all_the_same(
    bench: Bench, *, known: bool
) -> None:
    limited = key(budget=1000)
    if known:
        await bench.lease(limited)
    hold = bench.limits.begin_turn(limited, 1001, bench.exhausted)
    assert bench.told == []
    await wait_all_tasks_blocked()

    assert [refuse.code for refuse in bench.told] == [INSUFFICIENT_QUOTA]
    hold.settle(200, 0, bench.put(200))
    assert await bench.value(BUDGET) == 200
    assert len(bench.told) == 1


async def test_of_two_that_do_not_fit_together_only_the_later_one_is_told(bench: Bench) -> None:
    limited = key(budget=1000)
    await bench.lease(limited)
    told: list[str] = []
    bench.limits.begin_turn(limited, 600, lambda _: told.append("first"))
    bench.limits.begin_turn(limited, 600, lambda _: told.append("second"))
    await wait_all_tasks_blocked()

    assert told == ["second"]


async def test_one_that_ends_before_it_was_posted_is_still_told(bench: Bench) -> None:
    limited = key(budget=1000)
    await bench.lease(limited)
    bench.limits.begin_turn(limited, 1001, bench.exhausted).settle(1, 0, bench.put(1))
    await wait_all_tasks_blocked()

    assert len(bench.told) == 1


# -- a store that is away


@pytest.fixture
async def broken(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """Limits with everything limited, ``open`` or ``closed``, whose store does not answer."""
    async with running(Bench(on_failure=request.param)) as bench:
        bench.gate.broken = True
        yield bench


ALL = key(sessions=1, requests=1, tokens=1, budget=1000)


@pytest.mark.parametrize("broken", ["open"], indirect=True)
async def test_open_limits_let_everything_through_and_know_it_afterwards(
    broken: Bench, log_lines: LogLines
) -> None:
    leases = [await broken.lease(ALL) for _ in range(3)]
    holds = [await broken.hold(ALL, 400) for _ in range(3)]
    holds.pop().settle(300, 0, broken.put(300))
    broken.gate.broken = False

    await broken.refusal(ALL)
    leases.pop().release()
    assert await broken.value("sessions:dev") == 2
    assert await broken.value(BUDGET) == 1100
    assert "set aside" in (await broken.refuse(ALL, 1)).message
    for lease in leases:
        lease.release()
    for hold in holds:
        hold.void()
    assert await broken.value(BUDGET) == 300
    await broken.lease(ALL)
    assert await broken.value("sessions:dev") == 1
    assert [line["message"] for line in log_lines.of(LogEvent.STATE_FAILED)] == [
        "the store is away; limits let everything through meanwhile"
    ]


@pytest.mark.parametrize("broken", ["closed"], indirect=True)
async def test_closed_limits_let_nothing_through_and_keep_nothing(
    broken: Bench, log_lines: LogLines
) -> None:
    for limited in (ALL, key(sessions=1), key(requests=1), key(tokens=1), key(budget=1)):
        refusal = await broken.refusal(limited)
        assert (refusal.status, refusal.code, refusal.retry_after_s) == (503, "overload", 5.0)
    for limited in (ALL, key(requests=1), key(tokens=1), key(budget=1)):
        refuse = await broken.refuse(limited)
        assert (refuse.kind, refuse.code) == ("server_error", "overload")
    await broken.lease(key(name="other"))
    assert broken.limits.live == 1
    broken.gate.broken = False

    await broken.lease(ALL)
    assert await broken.value("sessions:dev") == 1
    assert len(log_lines.of(LogEvent.STATE_FAILED)) == 1


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_a_ledger_that_cannot_be_read_refuses_in_any_case(
    on_failure: Literal["open", "closed"],
) -> None:
    bench = Bench(on_failure=on_failure)
    bench.ledger.unreadable = True
    refusal, refuse = await bench.refusal(ALL), await bench.refuse(ALL)

    assert (refusal.status, refusal.code) == (503, "ledger_unavailable")
    assert (refuse.kind, refuse.code) == ("server_error", "ledger_unavailable")
    assert bench.limits.live == 0
    await bench.lease(key(sessions=1, requests=1))


# -- being cancelled


@pytest.mark.parametrize("steps", range(14))
async def test_a_session_that_is_cancelled_while_it_is_asked_for_leaks_nothing(
    bench: Bench, autojump_clock: MockClock, steps: int
) -> None:
    """Cancelled at each of the points where taking a lease may wait."""
    bench.gate.shut = bench.ledger.gate.shut = True
    answers: list[object] = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                answers.append(await bench.ask(ALL))

            nursery.start_soon(ask)
            for _ in range(steps):
                await wait_all_tasks_blocked()
                for visitor in (*bench.gate.visitors, *bench.ledger.gate.visitors):
                    visitor.go()
            await wait_all_tasks_blocked()
            scope.cancel()
    bench.gate.open()
    bench.ledger.gate.open()

    assert bool(answers) == (steps > 11)
    await trio.sleep(1)
    assert bench.limits.live == await bench.value("sessions:dev") == len(answers)
    assert await bench.value(BUDGET) == 0


@pytest.mark.parametrize("steps", range(12))
async def test_a_turn_that_is_cancelled_while_it_is_asked_for_keeps_no_money(
    bench: Bench, autojump_clock: MockClock, steps: int
) -> None:
    bench.gate.shut = bench.ledger.gate.shut = True
    answers: list[object] = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                answers.append(await bench.turn(ALL, 700))

            nursery.start_soon(ask)
            for _ in range(steps):
                await wait_all_tasks_blocked()
                for visitor in (*bench.gate.visitors, *bench.ledger.gate.visitors):
                    visitor.go()
            await wait_all_tasks_blocked()
            scope.cancel()
    bench.gate.open()
    bench.ledger.gate.open()

    assert bool(answers) == (steps > 11)
    await trio.sleep(1)
    assert not await bench.limits.budgets.exhausted(ALL)
    assert await bench.value(BUDGET) == 700 * len(answers)
