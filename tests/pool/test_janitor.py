"""What a pool does by itself, and when."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.pools import PoolSettings
from relayd.pool import janitor as janitor_module
from relayd.pool.errors import PinnedGone
from relayd.pool.janitor import PARTING_S, STEPS_MAX
from tests.pool.fakes import Line, Stage, give, staged


async def idle(stage: Stage) -> Line:
    """A socket that is unused from now on."""
    lease = await stage.acquire()
    give(lease)
    return stage.line(lease)


async def test_an_unused_socket_is_pinged_once_and_then_every_so_often(
    autojump_clock: MockClock,
) -> None:
    async with staged(PoolSettings(ping_after_s=5, ping_timeout_s=4, ping_every_s=30)) as stage:
        line = await idle(stage)
        for _ in range(10):
            await trio.sleep(0.5)
            await idle(stage)
        assert trio.current_time() == 5
        assert line.pings == []
        await trio.sleep(80)

        assert line.pings == [10.0, 44.0, 78.0]
        assert stage.wire.lines == [line]


async def test_one_that_does_not_answer_is_closed(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        line = await idle(stage)
        line.alive = False
        await trio.sleep(9.9)
        assert line.is_open
        await trio.sleep(0.2)

        assert line.cuts == 1
        assert stage.told[-1].reason == "ping_timeout"
        assert stage.told[-1].seconds == 10.0
        assert stage.pool.statistics()[0].sv_idle == 0


async def test_any_byte_behind_a_ping_is_life(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        line = await idle(stage)
        line.alive = False
        await trio.sleep(7)
        line.hear()
        await trio.sleep(5)

        assert line.is_open


async def test_the_verdict_on_a_socket_that_was_leased_meanwhile_is_void(
    autojump_clock: MockClock,
) -> None:
    async with staged() as stage:
        line = await idle(stage)
        line.alive = False
        await trio.sleep(6)
        lease = await stage.acquire()
        assert lease.endpoint is line
        await trio.sleep(10)
        assert line.is_open
        give(lease)
        await trio.sleep(4.9)

        assert line.is_open
        assert len(line.pings) == 1


async def test_what_is_too_old_or_unused_for_too_long_is_told_goodbye(
    autojump_clock: MockClock,
) -> None:
    async with staged(PoolSettings(age_max_s=100, idle_ttl_s=50)) as stage:
        lease = await stage.acquire()
        line = await idle(stage)
        await trio.sleep(49.9)
        assert line.is_open
        await trio.sleep(0.2)
        assert not line.is_open
        assert stage.told[-1].reason == "idle_ttl"
        await trio.sleep(60)
        assert stage.line(lease).is_open, "it is leased"
        give(lease)

        assert not stage.line(lease).is_open
        assert stage.words()[-2:] == ["slot.rotated:age_max", "lease.released:rotated"]


async def test_an_unused_socket_is_rotated_at_its_age(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(age_max_s=100)) as stage:
        line = await idle(stage)
        await trio.sleep(100.1)

        assert not line.is_open
        assert stage.told[-1].reason == "age_max"


async def test_who_waits_for_a_socket_is_told_at_its_age(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(age_max_s=5)) as stage:
        lease = await stage.acquire()
        await wait_all_tasks_blocked()
        with pytest.raises(PinnedGone):
            await stage.acquire(pinned=lease.ref())

        assert trio.current_time() == 5
        give(lease)


async def test_a_goodbye_may_be_answered_for_a_while(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(idle_ttl_s=2)) as stage:
        line = await idle(stage)
        await trio.sleep(2.1)
        assert (line.partings, line.cuts) == (1, 0)
        await trio.sleep(PARTING_S)

        assert line.cuts == 1


async def test_so_may_one_that_was_said_when_a_lease_ended(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(idle_max=0)) as stage:
        await wait_all_tasks_blocked()
        line = await idle(stage)
        await trio.sleep(PARTING_S / 2)
        assert (line.partings, line.cuts) == (1, 0)
        await trio.sleep(PARTING_S)

        assert line.cuts == 1


async def test_who_answers_a_goodbye_is_closed_at_once(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(idle_ttl_s=2)) as stage:
        line = await idle(stage)
        await trio.sleep(2.1)
        line.end()
        assert line.cuts == 0, "nothing is closed in the pass"
        await wait_all_tasks_blocked()

        assert line.cuts == 1
        await trio.sleep(5)


async def test_so_many_goodbyes_at_most(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor_module, "PARTING_MAX", 2)
    async with staged(PoolSettings(idle_ttl_s=2)) as stage:
        leases = [await stage.acquire() for _ in range(4)]
        for lease in leases:
            give(lease)
        await trio.sleep(2.1)

        assert sorted(line.cuts for line in stage.wire.lines) == [0, 0, 1, 1]
        assert [line.partings for line in stage.wire.lines] == [1] * 4


async def test_other_tasks_run_between_many_sockets(autojump_clock: MockClock) -> None:
    count = 4 * STEPS_MAX
    async with staged(PoolSettings(slots_max=count, idle_max=count)) as stage:
        for lease in [await stage.acquire() for _ in range(count)]:
            give(lease)
        steps = []
        stage.pool.drain()
        while stage.wire.open:
            before = len(stage.wire.open)
            await trio.lowlevel.checkpoint()
            steps.append(before - len(stage.wire.open))

        # Trio runs tasks in any order, so that the janitor may have had two turns for one.
        assert max(steps) <= 2 * STEPS_MAX < count


async def test_what_another_task_leaves_to_be_closed_is_closed(autojump_clock: MockClock) -> None:
    count = 3 * STEPS_MAX
    async with staged(PoolSettings(slots_max=count, idle_max=count)) as stage:
        for lease in [await stage.acquire() for _ in range(count)]:
            give(lease)
        await wait_all_tasks_blocked()
        now = trio.current_time()
        stage.pool._book.drain(now)
        assert stage.pool._janitor.sweep(now)
        await wait_all_tasks_blocked()

        assert not stage.wire.open


async def test_without_a_running_task_nobody_is_waited_for(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(idle_max=0), runs=False) as stage:
        line = await idle(stage)

        assert (line.partings, line.cuts) == (1, 1)
