"""The bookkeeper: what was noted is applied, and what is in doubt is written anew."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.keys import BudgetPeriod
from relayd.config.snapshot import Key
from relayd.ledger.budgets import Budgets
from relayd.ledger.errors import LedgerError
from relayd.observe.events import LogEvent
from relayd.session.bookkeeper import (
    BACK_OFFS_S,
    LAST_S,
    REPORT_EVERY_S,
    Bookkeeper,
    KeyUse,
    Rate,
    SessionCount,
)
from relayd.state.memory import MemoryStore
from relayd.state.store import StoreError
from tests.conftest import LogLines
from tests.state.gates import FakeLedger, Gate, GatedStore, Wall

KEY = Key(
    name="dev", tenant="t", digest=bytes(32), budget_nano=1000, budget_period=BudgetPeriod.TOTAL
)


@attrs.define(eq=False)
class Bench:
    wall: Wall = attrs.field(factory=Wall)
    gate: Gate = attrs.field(factory=Gate)
    ledger: FakeLedger = attrs.field(factory=FakeLedger)
    store: GatedStore = attrs.field(init=False)
    budgets: Budgets = attrs.field(init=False)
    bookkeeper: Bookkeeper = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = GatedStore(MemoryStore(self.wall), self.gate)
        self.budgets = Budgets(self.store, self.ledger.spent, self.wall)
        self.bookkeeper = Bookkeeper(self.wall, "open")

    def use(self, name: str = "dev") -> KeyUse:
        return KeyUse.of(name, self.store, self.budgets)

    async def value(self, name: str) -> bytes | None:
        return await self.store.inner.get(name)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- counts of sessions


async def test_so_many_sessions_are_counted_and_no_more(bench: Bench) -> None:
    count = SessionCount("sessions:dev", bench.store)
    admitted: list[bool] = []

    async def admit() -> None:
        admitted.append(await count.admit(5))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(admit)

    assert (sum(admitted), count.live) == (5, 5)
    assert await bench.value("sessions:dev") == b"5"


async def test_a_release_is_free_at_once_and_posted_later(bench: Bench) -> None:
    count = SessionCount("sessions:dev", bench.store)
    for _ in range(2):
        assert await count.admit(2)
    count.release()

    assert await bench.value("sessions:dev") == b"2"
    assert await count.admit(2)
    assert not await count.admit(2)
    count.release()
    count.release()
    await count.post()
    assert await bench.value("sessions:dev") == b"0"


async def test_without_a_limit_the_store_is_not_asked_until_there_is_one(bench: Bench) -> None:
    count = SessionCount("sessions:dev", bench.store)
    assert await count.admit(0)
    await count.post()
    assert bench.store.calls == 0

    assert not await count.admit(1)
    assert await count.admit(2)
    assert await bench.value("sessions:dev") == b"2"


async def test_what_an_earlier_process_counted_is_gone(bench: Bench) -> None:
    await bench.store.put("sessions:dev", b"77")

    assert await SessionCount("sessions:dev", bench.store).admit(1)
    assert await bench.value("sessions:dev") == b"1"


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("how", ["fails", "cancelled"])
async def test_a_count_in_doubt_is_written_anew(bench: Bench, how: str, *, applied: bool) -> None:
    count = SessionCount("sessions:dev", bench.store)
    assert await count.admit(3)
    bench.gate.shut = True
    scope = trio.CancelScope()

    async def admit() -> None:
        with scope, pytest.raises(StoreError):
            await count.admit(3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(admit)
        await wait_all_tasks_blocked()
        if applied:
            bench.gate.visitors[0].go()
            await wait_all_tasks_blocked()
        if how == "fails":
            bench.gate.visitors[0].go(fails=True)
        else:
            scope.cancel()
    bench.gate.open()

    assert count.live == 1
    await count.post()
    assert await bench.value("sessions:dev") == b"1"
    assert [await count.admit(3) for _ in range(3)] == [True, True, False]


async def test_a_count_that_was_lost_is_noticed(bench: Bench) -> None:
    count = SessionCount("sessions:dev", bench.store)
    assert await count.admit(9)
    assert await count.admit(9)
    await bench.store.put("sessions:dev", b"0")

    with pytest.raises(StoreError, match="lost"):
        await count.admit(9)
    assert await count.admit(9)
    assert await bench.value("sessions:dev") == b"3"


# -- rates


async def test_what_is_owed_goes_before_what_is_asked(bench: Bench) -> None:
    rate = Rate("tokens:dev", bench.store)
    rate.owe(60, 61)

    assert not (await rate.take(60, 0, bench.wall(), need=0)).ok
    assert rate.owed == 0
    bench.wall.now += 1.001
    assert (await rate.take(60, 0, bench.wall(), need=0)).ok


@pytest.mark.parametrize("how", ["fails", "cancelled"])
async def test_a_debit_that_was_cut_off_is_still_owed(bench: Bench, how: str) -> None:
    rate = Rate("tokens:dev", bench.store)
    rate.owe(60, 61)
    bench.gate.shut = True
    scope = trio.CancelScope()

    async def post() -> None:
        with scope, pytest.raises(StoreError):
            await rate.post(bench.wall())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(post)
        await wait_all_tasks_blocked()
        rate.owe(60, 4)
        if how == "fails":
            bench.gate.visitors[0].go(fails=True)
        else:
            scope.cancel()
    bench.gate.open()

    assert rate.owed == 65


async def test_nothing_is_asked_where_nothing_is_owed(bench: Bench) -> None:
    await Rate("tokens:dev", bench.store).post(bench.wall())

    assert bench.store.calls == 0


# -- the task


async def test_what_is_noted_is_applied_soon(bench: Bench) -> None:
    use = bench.use()
    watched: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        await wait_all_tasks_blocked()
        use.tokens.owe(60, 5)
        bench.ledger.put("dev", bench.wall(), 30)
        bench.budgets.charge(KEY, 30, bench.wall())
        use.watches["a"] = lambda: watched.append("a")
        bench.bookkeeper.post(use)
        assert bench.bookkeeper.waiting == 1
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert bench.bookkeeper.waiting == 0
    assert use.tokens.owed == 0
    assert await bench.value("budget:dev:total:0") == b"30"
    assert watched == ["a"]


async def test_a_key_waits_once_however_much_is_noted(bench: Bench) -> None:
    use = bench.use()
    for _ in range(1000):
        use.tokens.owe(10**6, 1)
        bench.bookkeeper.post(use)

    assert bench.bookkeeper.waiting == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert bench.store.calls == 2  # one get, one compare_and_set


async def test_what_is_noted_while_its_key_is_posted_is_posted_next(bench: Bench) -> None:
    use = bench.use()
    bench.gate.shut = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        use.requests.owe(60, 1)
        bench.bookkeeper.post(use)
        await wait_all_tasks_blocked()
        use.requests.owe(60, 2)
        bench.bookkeeper.post(use)
        bench.gate.open()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert use.requests.owed == 0
    assert (await use.requests.take(60, 57, bench.wall(), need=57)).ok
    assert not (await use.requests.take(60, 1, bench.wall(), need=1)).ok


async def test_a_store_that_is_away_for_a_moment_loses_nothing(
    bench: Bench, autojump_clock: MockClock, log_lines: LogLines
) -> None:
    use = bench.use()
    use.requests.owe(60, 1)
    bench.gate.broken = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        bench.bookkeeper.post(use)
        await trio.sleep(sum(BACK_OFFS_S) - 0.01)
        bench.gate.broken = False
        await trio.sleep(0.02)
        nursery.cancel_scope.cancel()

    assert use.requests.owed == 0
    assert bench.store.calls == 2
    assert log_lines.all == []


async def test_a_store_that_stays_away_makes_it_give_up_and_say_so(
    bench: Bench, autojump_clock: MockClock, log_lines: LogLines
) -> None:
    uses = [bench.use(f"key {number}") for number in range(5)]
    bench.gate.broken = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        for use in uses:
            use.requests.owe(60, 1)
            use.tokens.owe(60, 1)
            use.watches["a"] = lambda: None
            bench.bookkeeper.post(use)
        await trio.sleep(sum(BACK_OFFS_S) - 0.01)
        assert bench.bookkeeper.waiting == 4
        await trio.sleep(0.02)  # the others are tried once each
        assert bench.bookkeeper.waiting == 0
        await trio.sleep(REPORT_EVERY_S)
        uses[0].tokens.owe(60, 1)
        bench.bookkeeper.post(uses[0])
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    lines = log_lines.of(LogEvent.STATE_FAILED)
    assert [line["dropped"] for line in lines] == [3, 13]
    assert all(
        line["message"] == "the store is away; limits let everything through meanwhile"
        for line in lines
    )
    assert all(use.tokens.owed == use.requests.owed == 0 for use in uses)


async def test_after_a_success_it_is_patient_again(bench: Bench, autojump_clock: MockClock) -> None:
    use = bench.use()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        for broken in (True, False, True):
            bench.gate.broken = broken
            use.tokens.owe(60, 1)
            bench.bookkeeper.post(use)
            await trio.sleep(1)
        assert use.tokens.owed == 0
        bench.gate.broken = False
        use.tokens.owe(60, 1)
        bench.bookkeeper.post(use)
        await trio.sleep(1)
        bench.gate.broken = True
        use.tokens.owe(60, 1)
        bench.bookkeeper.post(use)
        await trio.sleep(sum(BACK_OFFS_S) - 0.01)
        assert use.tokens.owed == 1
        nursery.cancel_scope.cancel()


async def test_money_that_could_not_be_told_is_counted_anew(
    bench: Bench, autojump_clock: MockClock
) -> None:
    use = bench.use()
    assert not await bench.budgets.exhausted(KEY)
    bench.gate.broken = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        bench.ledger.put("dev", bench.wall(), 1000)
        bench.budgets.charge(KEY, 1000, bench.wall())
        bench.bookkeeper.post(use)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    bench.gate.broken = False

    assert await bench.budgets.exhausted(KEY)
    assert await bench.value("budget:dev:total:0") == b"1000"


async def test_a_ledger_that_cannot_be_read_is_reported_for_what_it_is(
    bench: Bench, autojump_clock: MockClock, log_lines: LogLines
) -> None:
    bench.ledger.unreadable = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        bench.budgets.charge(KEY, 1, bench.wall())
        bench.bookkeeper.post(bench.use())
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert [line["message"] for line in log_lines.of(LogEvent.STATE_FAILED)] == [
        "the disk is gone; keys with a budget start nothing meanwhile"
    ]


async def test_it_does_not_say_the_same_again_and_again(
    bench: Bench, autojump_clock: MockClock, log_lines: LogLines
) -> None:
    for _ in range(25):
        bench.bookkeeper.report(StoreError("gone"))
        await trio.sleep(1)
    bench.bookkeeper.report(LedgerError("gone"), dropped=2)

    assert [line["dropped"] for line in log_lines.of(LogEvent.STATE_FAILED)] == [0, 0, 0]


async def test_cancelled_it_applies_what_waits(bench: Bench) -> None:
    uses = [bench.use(f"key {number}") for number in range(3)]
    bench.gate.shut = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        for use in uses:
            use.tokens.owe(60, 1)
            bench.bookkeeper.post(use)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()  # while the first one is being posted
        await trio.lowlevel.cancel_shielded_checkpoint()
        bench.gate.open()

    assert bench.bookkeeper.waiting == 0
    assert [use.tokens.owed for use in uses] == [0, 0, 0]


async def test_cancelled_it_waits_no_longer_than_it_may_and_says_what_is_left(
    bench: Bench, autojump_clock: MockClock, log_lines: LogLines
) -> None:
    bench.gate.shut = True
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.bookkeeper.run)
        for number in range(3):
            use = bench.use(f"key {number}")
            use.tokens.owe(60, 1)
            bench.bookkeeper.post(use)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert trio.current_time() - started == pytest.approx(LAST_S)
    assert [line["dropped"] for line in log_lines.of(LogEvent.STATE_FAILED)] == [3]
