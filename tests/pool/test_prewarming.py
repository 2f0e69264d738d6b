"""Sockets that are opened before anybody asks."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.pools import PoolSettings
from relayd.config.snapshot import Account
from relayd.pool.identity import Identity
from relayd.pool.prewarming import SUPPRESSED_S, no_foresight
from tests.pool.fakes import MAIN, Stage, give, identity, staged

TWO = PoolSettings(prewarm=2)


def foresight(account: Account) -> Identity | None:
    return identity("t", account)


def ready(stage: Stage) -> int:
    return stage.pool.statistics()[0].sv_idle


async def test_so_many_are_kept_ready(autojump_clock: MockClock) -> None:
    async with staged(TWO, foresight=foresight) as stage:
        await wait_all_tasks_blocked()
        assert ready(stage) == 2
        lease = await stage.acquire("t")
        assert (lease.dial_s, lease.reused) == (None, False)
        await wait_all_tasks_blocked()
        assert ready(stage) == 2
        give(lease)
        await wait_all_tasks_blocked()

        assert ready(stage) == 3
        assert len(stage.wire.lines) == 3


async def test_without_foresight_or_wish_none_is(autojump_clock: MockClock) -> None:
    for settings, foreseen in ((TWO, no_foresight), (PoolSettings(), foresight)):
        async with staged(settings, foresight=foreseen) as stage:
            await wait_all_tasks_blocked()
            assert stage.wire.lines == []


@pytest.mark.parametrize(
    "settings",
    [PoolSettings(prewarm=9, slots_max=2), PoolSettings(prewarm=9, idle_max=2)],
)
async def test_no_more_than_may_be_kept(settings: PoolSettings, autojump_clock: MockClock) -> None:
    async with staged(settings, foresight=foresight) as stage:
        await wait_all_tasks_blocked()
        assert ready(stage) == 2
        await trio.sleep(100)

        assert len(stage.wire.lines) == 2


async def test_nothing_is_let_go_for_them(autojump_clock: MockClock) -> None:
    settings = PoolSettings(prewarm=1, slots_max=2, idle_max=2)
    async with staged(settings, foresight=foresight) as stage:
        leases = [await stage.acquire("u"), await stage.acquire("u")]
        for lease in leases:
            give(lease)
        await wait_all_tasks_blocked()

        assert stage.wire.open == [lease.endpoint for lease in leases]


async def test_one_that_is_lost_or_expires_is_replaced(autojump_clock: MockClock) -> None:
    async with staged(TWO, foresight=foresight) as stage:
        await wait_all_tasks_blocked()
        stage.wire.open[0].end()
        await wait_all_tasks_blocked()
        assert ready(stage) == 2
        assert "slot.broken:peer_gone" in stage.words()
        await trio.sleep(601)

        assert ready(stage) == 2
        assert len(stage.wire.lines) == 5


async def test_after_two_failures_in_a_row_it_rests(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(prewarm=1), foresight=foresight) as stage:
        stage.by_hand = True
        await wait_all_tasks_blocked()
        error = OSError("no route")
        for _ in range(2):
            stage.dials[0].fail(error)
            await wait_all_tasks_blocked()
        assert not stage.dials
        broken = [event for event in stage.told if event.kind == "slot.broken"]
        assert [(event.reason, event.error) for event in broken] == [("dial_failed", error)] * 2
        await trio.sleep(SUPPRESSED_S - 0.1)
        assert not stage.dials
        await trio.sleep(0.2)
        assert len(stage.dials) == 1
        stage.dials[0].fail()
        await wait_all_tasks_blocked()
        assert not stage.dials, "a third failure in a row is no better"
        await trio.sleep(SUPPRESSED_S + 0.1)
        stage.dials[0].succeed()
        await wait_all_tasks_blocked()
        assert ready(stage) == 1
        stage.wire.open[0].end()
        await wait_all_tasks_blocked()
        stage.dials[0].fail()
        await wait_all_tasks_blocked()

        assert len(stage.dials) == 1, "one failure after a success is one"


async def test_a_socket_that_is_no_good_at_once_counts_as_a_failure(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(PoolSettings(prewarm=1), foresight=foresight) as stage:
        monkeypatch.setattr(type(stage.wire), "keep", lambda *_: False)
        await wait_all_tasks_blocked()

        assert len(stage.wire.lines) == 2
        assert not stage.wire.open
        assert stage.words("slot.broken") == ["slot.broken:unclean"] * 2


async def test_who_waits_gets_one_as_soon_as_it_is_open(autojump_clock: MockClock) -> None:
    settings = PoolSettings(prewarm=1, slots_max=1)
    async with staged(settings, foresight=foresight) as stage, trio.open_nursery() as nursery:
        stage.by_hand = True
        await wait_all_tasks_blocked()
        leases = []

        async def acquire() -> None:
            leases.append(await stage.acquire("t"))

        nursery.start_soon(acquire)
        await wait_all_tasks_blocked()
        assert len(stage.dials) == 1
        stage.dials[0].succeed()
        await wait_all_tasks_blocked()

        assert [lease.endpoint for lease in leases] == stage.wire.open
        give(leases[0])


async def test_one_that_is_being_opened_when_the_pool_ends_is_not_left_open(
    autojump_clock: MockClock,
) -> None:
    async with staged(TWO, foresight=foresight) as stage:
        stage.dial_s = 1.0
        await trio.sleep(0.5)
        stage.pool.drain()
        await trio.sleep(1)
        assert stage.wire.lines
        assert not stage.wire.open
        await trio.sleep(100)
        assert len(stage.wire.lines) == 2, "no others are opened"


async def test_what_is_known_of_an_account_goes_with_it(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(prewarm=1), foresight=foresight) as stage:
        stage.by_hand = True
        for _ in range(2):
            await wait_all_tasks_blocked()
            stage.dials[0].fail()
        await wait_all_tasks_blocked()
        stage.pool.apply(PoolSettings(prewarm=1), [])
        stage.pool.apply(PoolSettings(prewarm=1), [MAIN])
        await wait_all_tasks_blocked()

        assert len(stage.dials) == 1
