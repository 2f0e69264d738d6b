"""Opening the socket of a place."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.pools import PoolSettings
from relayd.pool.janitor import STEPS_MAX
from tests.pool.fakes import MAIN, give, staged


async def test_the_opener_is_told_what_to_open_and_until_when(autojump_clock: MockClock) -> None:
    async with staged() as stage, trio.open_nursery() as nursery:
        stage.by_hand = True
        nursery.start_soon(stage.acquire, "t")
        await wait_all_tasks_blocked()
        dial = stage.dials[0]

        assert (dial.account, dial.identity.tenant, dial.until) == (MAIN, "t", 10.0)
        await trio.sleep(2)
        dial.succeed()
        await wait_all_tasks_blocked()
        opened = stage.told[0]
        assert (opened.kind, opened.account, opened.slot, opened.generation, opened.seconds) == (
            "slot.opened",
            "main",
            1,
            1,
            2.0,
        )


async def test_there_is_never_a_socket_more_than_there_are_slots(
    autojump_clock: MockClock,
) -> None:
    """However many others are still to be closed when a place is given on."""
    count = 3 * STEPS_MAX
    async with staged(PoolSettings(slots_max=count, idle_max=count)) as stage:
        for lease in [await stage.acquire() for _ in range(count)]:
            give(lease)
        stage.pool.apply(PoolSettings(slots_max=1, idle_max=1), [MAIN])
        lease = await stage.acquire("u")

        assert stage.wire.open == [lease.endpoint]
        give(lease)
