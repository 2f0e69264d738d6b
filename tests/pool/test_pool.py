"""Leases on a clock that jumps: who gets which socket, and when."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.pools import PoolSettings
from relayd.core.endings import Reason
from relayd.pool.errors import AcquireTimeout, DialTimeout, PinnedGone, PoolClosed
from relayd.pool.identity import SlotRef
from relayd.pool.lease import Lease
from relayd.pool.slots import LANES_MAX
from relayd.protocol.outcomes import Crash, PeerClosed, Violation
from relayd.transport.errors import DialError
from tests.pool.fakes import MAIN, Stage, give, identity, staged

ONE = PoolSettings(slots_max=1)


@attrs.define(eq=False)
class Asker:
    """A task that acquires."""

    lease: Lease | None = None
    error: Exception | None = None
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    async def run(self, stage: Stage, *args: object, **more: object) -> None:
        with self.scope:
            try:
                self.lease = await stage.acquire(*args, **more)  # type: ignore[arg-type]  # passed on
            except Exception as error:  # noqa: BLE001 - the test looks at it
                self.error = error


async def asking(nursery: trio.Nursery, stage: Stage, tenant: str = "t", **more: object) -> Asker:
    asker = Asker()

    async def run() -> None:
        await asker.run(stage, tenant, **more)

    nursery.start_soon(run)
    await wait_all_tasks_blocked()
    return asker


# -- reuse


async def test_a_yielded_socket_serves_the_next_of_its_identity(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        first = await stage.acquire()
        assert give(first)
        second = await stage.acquire()

        assert second.endpoint is first.endpoint
        assert (second.slot, second.generation) == (first.slot, first.generation)
        assert (first.reused, second.reused) == (False, True)
        assert first.token != second.token
        assert (first.dial_s, second.dial_s) == (0.0, None)
        assert stage.words() == ["slot.opened", "lease.released:yielded"]
        give(second)


async def test_another_identity_does_not_get_it(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        give(await stage.acquire("t"))
        others = [await stage.acquire("u"), await stage.acquire("t", session="s")]

        assert len({id(stage.wire.lines[0]), *(id(lease.endpoint) for lease in others)}) == 3
        for lease in others:
            give(lease)


async def test_of_several_the_one_used_last_is_taken(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        first, second = await stage.acquire(), await stage.acquire()
        give(second)
        give(first)

        assert (await stage.acquire()).endpoint is first.endpoint
        assert (await stage.acquire()).endpoint is second.endpoint


async def test_a_lease_that_is_left_without_a_word_is_broken(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        with await stage.acquire() as lease:
            pass

        assert not stage.wire.open
        assert stage.words()[1:] == ["slot.broken:abandoned", "lease.released:broken"]
        with pytest.raises(AssertionError, match="once"):
            give(lease)


async def test_a_broken_socket_is_closed_at_once(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        lease = await stage.acquire()
        lease.break_("client_gone")

        assert stage.line(lease).cuts == 1
        assert "slot.broken:client_gone" in stage.words()
        assert not stage.pool.alive(lease.ref())


async def test_what_is_not_clean_is_not_kept(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        lease = await stage.acquire()
        stage.line(lease).dirty = True

        assert not give(lease)

        assert stage.line(lease).cuts == 1
        assert stage.words()[1:] == ["slot.broken:unclean", "lease.released:broken"]


async def test_a_socket_found_unclean_when_it_is_taken_is_replaced(
    autojump_clock: MockClock,
) -> None:
    """It has something to read that the pass has not come to yet."""
    async with staged() as stage:
        first = await stage.acquire()
        give(first)
        stage.line(first).dirty = True
        second = await stage.acquire()

        assert second.endpoint is not first.endpoint
        assert (second.slot, second.generation) == (first.slot, first.generation + 1)
        assert not second.reused
        assert "slot.broken:unclean" in stage.words()
        give(second)


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (None, "peer_gone"),
        (PeerClosed(1000, ""), "peer_closed"),
        (Violation(Reason.CONTROL_FLOOD, ""), "control_flood"),
    ],
)
async def test_an_unused_socket_that_ends_is_closed_by_the_janitor(
    event: PeerClosed | None, word: str, autojump_clock: MockClock
) -> None:
    async with staged() as stage:
        lease = await stage.acquire()
        give(lease)
        stage.line(lease).end(event)

        assert not stage.line(lease).cuts, "nothing is closed in the pass"
        assert f"slot.broken:{word}" not in stage.words(), "nor told"
        assert not stage.pool.alive(lease.ref())
        await wait_all_tasks_blocked()
        assert stage.line(lease).cuts == 1
        assert f"slot.broken:{word}" in stage.words()


async def test_a_bug_on_an_unused_socket_is_told_with_its_error(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        lease = await stage.acquire()
        give(lease)
        bug = ZeroDivisionError()
        stage.line(lease).end(Crash(bug))
        await wait_all_tasks_blocked()

        assert stage.told[-1].error is bug


# -- waiting


async def test_who_waits_gets_the_socket_in_order_of_arrival(autojump_clock: MockClock) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        askers = [await asking(nursery, stage) for _ in range(3)]
        assert stage.pool.statistics()[0].cl_waiting == 3
        for asker in askers:
            await trio.sleep(1)
            assert give(lease)
            await wait_all_tasks_blocked()
            assert asker.lease is not None
            lease = asker.lease
        give(lease)

        assert len(stage.wire.lines) == 1
        waits = [event for event in stage.told if event.kind == "lease.waited"]
        assert [event.seconds for event in waits] == [1.0, 2.0, 3.0]
        assert [asker.lease.waited_s for asker in askers if asker.lease] == [1.0, 2.0, 3.0]
        released = stage.words("lease.released")
        assert released == ["lease.released:handed_over"] * 3 + ["lease.released:yielded"]


async def test_who_comes_later_does_not_overtake(autojump_clock: MockClock) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        first = await asking(nursery, stage)
        give(lease)
        second = await asking(nursery, stage)

        assert first.lease is not None
        assert second.lease is None
        give(first.lease)
        await wait_all_tasks_blocked()
        assert second.lease is not None
        give(second.lease)


async def test_a_waiter_of_another_identity_gets_the_place(autojump_clock: MockClock) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire("t")
        asker = await asking(nursery, stage, "u")
        assert give(lease)
        await wait_all_tasks_blocked()

        assert asker.lease is not None
        assert asker.lease.endpoint is not lease.endpoint
        assert asker.lease.ref() == SlotRef(lease.slot, lease.generation + 1)
        assert (stage.line(lease).partings, len(stage.wire.open)) == (1, 1)
        assert stage.words()[1:4] == [
            "slot.evicted:other_identity",
            "lease.released:handed_over",
            "lease.waited",
        ]
        give(asker.lease)


async def test_a_slot_that_breaks_hands_its_place_on(autojump_clock: MockClock) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        asker = await asking(nursery, stage)
        lease.break_("upstream_error")
        await wait_all_tasks_blocked()

        assert asker.lease is not None
        assert asker.lease.ref() == SlotRef(lease.slot, lease.generation + 1)
        give(asker.lease)


async def test_nobody_waits_longer_than_agreed(autojump_clock: MockClock) -> None:
    async with staged(ONE) as stage:
        lease = await stage.acquire()
        with pytest.raises(AcquireTimeout):
            await stage.acquire(within_s=3)
        assert trio.current_time() == 3
        with pytest.raises(AcquireTimeout):
            await stage.acquire(within_s=99)
        assert trio.current_time() == 3 + 12

        refused = [event for event in stage.told if event.kind == "lease.refused"]
        assert [(event.reason, event.seconds) for event in refused] == [
            ("acquire_timeout", 3.0),
            ("acquire_timeout", 12.0),
        ]
        assert stage.pool.statistics()[0].cl_waiting == 0
        give(lease)


async def test_a_waiter_that_is_cancelled_when_it_was_granted_gives_back(
    autojump_clock: MockClock,
) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        first = await asking(nursery, stage)
        second = await asking(nursery, stage)
        first.scope.cancel()
        give(lease)  # to the first, whose task has not run since it was cancelled
        await wait_all_tasks_blocked()

        assert first.lease is None
        assert second.lease is not None
        assert second.lease.endpoint is lease.endpoint
        assert stage.words("lease.refused") == []
        give(second.lease)


async def test_a_socket_that_is_lost_on_the_way_to_its_waiter_is_replaced(
    autojump_clock: MockClock,
) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        asker = await asking(nursery, stage)
        give(lease)
        stage.line(lease).end()  # before the waiter's task runs
        await wait_all_tasks_blocked()

        assert asker.lease is not None
        assert asker.lease.endpoint is not lease.endpoint
        assert "slot.broken:peer_gone" in stage.words()
        assert len(stage.wire.open) == 1
        give(asker.lease)


async def test_the_least_recently_used_makes_room_for_another_identity(
    autojump_clock: MockClock,
) -> None:
    async with staged(PoolSettings(slots_max=2)) as stage:
        old, new = await stage.acquire("t"), await stage.acquire("u")
        give(old)
        give(new)
        third = await stage.acquire("v")

        assert not stage.pool.alive(old.ref())
        assert stage.pool.alive(new.ref())
        assert third.ref() == SlotRef(old.slot, old.generation + 1)
        assert "slot.evicted:other_identity" in stage.words()
        assert len(stage.wire.open) == 2
        give(third)


# -- pinned


async def test_a_pinned_acquirer_gets_that_socket_and_no_other(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        first, second = await stage.acquire(), await stage.acquire()
        give(first)
        give(second)
        again = await stage.acquire(pinned=first.ref())

        assert again.endpoint is first.endpoint
        give(again)
        with pytest.raises(PinnedGone):
            await stage.acquire("u", pinned=first.ref())
        with pytest.raises(PinnedGone):
            await stage.acquire(pinned=SlotRef(first.slot, first.generation + 1))
        assert stage.told[-1].slot == first.slot
        assert stage.words("lease.refused") == ["lease.refused:pinned_gone"] * 2


async def test_a_pinned_acquirer_waits_until_the_lease_is_over(autojump_clock: MockClock) -> None:
    async with staged() as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        asker = await asking(nursery, stage, pinned=lease.ref())
        assert asker.lease is None
        give(lease)
        await wait_all_tasks_blocked()

        assert asker.lease is not None
        assert asker.lease.endpoint is lease.endpoint
        give(asker.lease)


async def test_pinned_and_other_waiters_are_served_by_arrival(autojump_clock: MockClock) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        ref = lease.ref()
        askers = [await asking(nursery, stage, pinned=each) for each in (None, ref, None, ref)]
        for asker in askers:
            assert asker.lease is None
            give(lease)
            await wait_all_tasks_blocked()
            assert asker.lease is not None
            lease = asker.lease
        give(lease)


async def test_a_pinned_waiter_is_told_when_its_socket_is_gone(autojump_clock: MockClock) -> None:
    async with staged() as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        asker = await asking(nursery, stage, pinned=lease.ref())
        await trio.sleep(1)
        lease.break_("upstream_error")
        await wait_all_tasks_blocked()

        assert isinstance(asker.error, PinnedGone)
        assert trio.current_time() == 1


async def test_a_pinned_waiter_is_told_when_its_socket_goes_to_another_identity(
    autojump_clock: MockClock,
) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire("t")
        other = await asking(nursery, stage, "u")
        pinned = await asking(nursery, stage, "t", pinned=lease.ref())
        give(lease)
        await wait_all_tasks_blocked()

        assert other.lease is not None
        assert isinstance(pinned.error, PinnedGone)
        give(other.lease)


async def test_a_pinned_socket_that_does_not_answer_is_gone(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        lease = await stage.acquire()
        give(lease)
        await trio.sleep(20)
        stage.line(lease).alive = False
        await trio.sleep(5)
        with pytest.raises(PinnedGone):
            await stage.acquire(pinned=lease.ref())

        assert "slot.broken:preflight_timeout" in stage.words()
        assert not stage.wire.open


# -- dials


async def test_what_the_opener_raises_passes_through_and_the_place_goes_on(
    autojump_clock: MockClock,
) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        stage.by_hand = True
        first = await asking(nursery, stage)
        second = await asking(nursery, stage)
        assert len(stage.dials) == 1, "one dial a slot"
        stage.dials[0].fail(OSError("no route"))
        await wait_all_tasks_blocked()

        assert str(first.error) == "no route"
        assert stage.words("lease.refused") == ["lease.refused:dial_failed"]
        stage.dials[0].succeed()
        await wait_all_tasks_blocked()
        assert second.lease is not None
        assert second.lease.generation == 2
        give(second.lease)


async def test_a_dial_that_is_cancelled_hands_its_place_on(autojump_clock: MockClock) -> None:
    async with staged(ONE) as stage, trio.open_nursery() as nursery:
        stage.by_hand = True
        first = await asking(nursery, stage)
        second = await asking(nursery, stage)
        first.scope.cancel()
        await wait_all_tasks_blocked()

        assert len(stage.dials) == 1
        stage.dials[0].succeed()
        await wait_all_tasks_blocked()
        assert second.lease is not None
        give(second.lease)


async def test_a_dial_is_bounded_by_its_own_time_and_by_the_acquirer_s(
    autojump_clock: MockClock,
) -> None:
    async with staged() as stage:
        stage.by_hand = True
        with pytest.raises(DialTimeout):
            await stage.acquire()
        assert trio.current_time() == 10
        with pytest.raises(DialTimeout):
            await stage.acquire(within_s=4)
        assert trio.current_time() == 14

        assert stage.words("lease.refused") == ["lease.refused:dial_failed"] * 2
        assert stage.pool.statistics()[0].sv_login == 0


async def test_a_socket_that_cannot_be_watched_is_closed(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        stage.wire.crowded = True
        with pytest.raises(DialError, match="no descriptor"):
            await stage.acquire()

        assert [line.cuts for line in stage.wire.lines] == [1]
        assert stage.pool.statistics()[0].sv_login == 0


async def test_an_acquirer_that_was_cancelled_before_gets_nothing(
    autojump_clock: MockClock,
) -> None:
    async with staged() as stage:
        give(await stage.acquire())
        with trio.CancelScope() as scope:
            scope.cancel()
            await stage.acquire()

        assert scope.cancelled_caught
        assert stage.pool.statistics()[0].sv_idle == 1


# -- preflight


async def test_a_socket_that_was_silent_for_long_answers_before_it_is_leased(
    autojump_clock: MockClock,
) -> None:
    settings = PoolSettings(ping_after_s=500, preflight_idle_s=20)
    async with staged(settings) as stage:
        lease = await stage.acquire()
        give(lease)
        await trio.sleep(19)
        lease = await stage.acquire()
        assert stage.line(lease).pings == []
        give(lease)
        await trio.sleep(1)
        lease = await stage.acquire()

        assert stage.line(lease).pings == [20.0]
        assert lease.reused
        give(lease)


async def test_one_that_does_not_answer_is_replaced_in_its_place(
    autojump_clock: MockClock,
) -> None:
    async with staged(PoolSettings(ping_after_s=500)) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        give(lease)
        stage.line(lease).alive = False
        await trio.sleep(20)
        asker = await asking(nursery, stage)
        tested = stage.pool.statistics()[0]
        other = await stage.acquire()
        await trio.sleep(2)
        await wait_all_tasks_blocked()

        assert (tested.sv_tested, tested.sv_idle) == (1, 0)
        assert other.slot != lease.slot, "nobody else gets it meanwhile"
        assert asker.lease is not None
        assert asker.lease.ref() == SlotRef(lease.slot, lease.generation + 1)
        assert stage.line(lease).cuts == 1
        assert "slot.broken:preflight_timeout" in stage.words()
        give(asker.lease)
        give(other)


async def test_any_byte_is_an_answer(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(ping_after_s=500)) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        give(lease)
        stage.line(lease).alive = False
        await trio.sleep(20)
        asker = await asking(nursery, stage)
        await trio.sleep(1.5)
        stage.line(lease).hear()
        await wait_all_tasks_blocked()

        assert asker.lease is not None
        assert asker.lease.endpoint is lease.endpoint
        give(asker.lease)


async def test_one_that_ends_during_its_test_is_replaced_at_once(
    autojump_clock: MockClock,
) -> None:
    async with staged(PoolSettings(ping_after_s=500)) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        give(lease)
        stage.line(lease).alive = False
        await trio.sleep(20)
        asker = await asking(nursery, stage)
        stage.line(lease).end()
        await wait_all_tasks_blocked()

        assert asker.lease is not None
        assert asker.lease.endpoint is not lease.endpoint
        assert trio.current_time() == 20
        assert "slot.broken:peer_gone" in stage.words()
        give(asker.lease)


async def test_a_test_that_is_cancelled_leaves_the_socket_to_the_next_who_tests_it(
    autojump_clock: MockClock,
) -> None:
    settings = PoolSettings(slots_max=1, ping_after_s=500)
    async with staged(settings) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        give(lease)
        stage.line(lease).alive = False
        await trio.sleep(20)
        first = await asking(nursery, stage)
        second = await asking(nursery, stage)
        first.scope.cancel()
        await wait_all_tasks_blocked()
        assert stage.line(lease).pings == [20.0, 20.0]
        stage.line(lease).hear()
        await wait_all_tasks_blocked()

        assert second.lease is not None
        assert second.lease.endpoint is lease.endpoint
        give(second.lease)


async def test_the_ping_of_a_cancelled_test_is_judged_as_any(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(ping_after_s=500)) as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        give(lease)
        stage.line(lease).alive = False
        await trio.sleep(20)
        asker = await asking(nursery, stage)
        asker.scope.cancel()
        await wait_all_tasks_blocked()
        assert stage.pool.statistics()[0].sv_idle == 1
        await trio.sleep(5.1)

        assert not stage.wire.open
        assert "slot.broken:ping_timeout" in stage.words()


async def test_a_test_that_ran_out_of_the_acquirer_s_time_condemns_nothing(
    autojump_clock: MockClock,
) -> None:
    async with staged(PoolSettings(ping_after_s=500)) as stage:
        lease = await stage.acquire()
        give(lease)
        stage.line(lease).alive = False
        await trio.sleep(20)
        with pytest.raises(AcquireTimeout):
            await stage.acquire(within_s=1)

        assert stage.pool.alive(lease.ref())
        assert len(stage.wire.open) == 1


# -- lanes


async def test_a_33rd_name_gets_another_socket_and_the_full_one_is_rotated(
    autojump_clock: MockClock,
) -> None:
    async with staged() as stage:
        lease = await stage.acquire(lane="0")
        assert all(lease.use_lane(str(each)) for each in range(LANES_MAX))
        assert not lease.use_lane("one more")
        assert lease.use_lane("7")
        assert lease.use_lane(None)
        give(lease)
        known = await stage.acquire(lane="31")
        assert known.endpoint is lease.endpoint
        give(known)
        other = await stage.acquire(lane="one more")

        assert other.endpoint is not lease.endpoint
        assert stage.line(lease).partings == 1
        assert "slot.rotated:lanes_max" in stage.words()
        give(other)


async def test_a_33rd_name_is_refused_on_a_pinned_socket(autojump_clock: MockClock) -> None:
    async with staged() as stage, trio.open_nursery() as nursery:
        lease = await stage.acquire()
        early = await asking(nursery, stage, pinned=lease.ref(), lane="one more")
        for each in range(LANES_MAX):
            lease.use_lane(str(each))
        with pytest.raises(PinnedGone):
            await stage.acquire(pinned=lease.ref(), lane="another")
        give(lease)
        await wait_all_tasks_blocked()

        assert isinstance(early.error, PinnedGone)
        assert stage.pool.alive(lease.ref()), "its chains live on it"


# -- the end, and other settings


async def test_a_drained_pool_closes_what_is_unused_and_lets_leases_go_on(
    autojump_clock: MockClock,
) -> None:
    async with staged(PoolSettings(slots_max=2)) as stage, trio.open_nursery() as nursery:
        idle, busy = await stage.acquire(), await stage.acquire()
        give(idle)
        stage.by_hand = True
        dialling = await asking(nursery, stage, "u")
        waiting = await asking(nursery, stage)
        stage.pool.drain()
        await wait_all_tasks_blocked()

        assert isinstance(waiting.error, PoolClosed)
        assert stage.line(idle).partings == 1
        assert stage.line(busy).is_open
        with pytest.raises(PoolClosed):
            await stage.acquire()
        stage.dials[0].succeed()
        await wait_all_tasks_blocked()
        assert dialling.lease is not None, "it was given its place before"
        assert give(dialling.lease)
        assert give(busy)
        assert not stage.wire.open
        assert stage.words("lease.released")[-2:] == ["lease.released:rotated"] * 2
        assert stage.words("lease.refused") == ["lease.refused:pool_closed"] * 2


async def test_the_end_of_the_pool_s_task_closes_what_nobody_has(
    autojump_clock: MockClock,
) -> None:
    async with staged() as stage:
        idle, busy = await stage.acquire(), await stage.acquire()
        give(idle)

    assert (stage.line(idle).cuts, stage.line(busy).cuts) == (1, 0)
    with pytest.raises(PoolClosed):
        await stage.acquire()
    assert give(busy)
    assert stage.line(busy).cuts == 1


async def test_a_changed_credential_lets_sockets_go_once_they_are_unused(
    autojump_clock: MockClock,
) -> None:
    async with staged() as stage, trio.open_nursery() as nursery:
        idle, busy = await stage.acquire(), await stage.acquire()
        give(idle)
        pinned = await asking(nursery, stage, pinned=busy.ref())
        changed = attrs.evolve(MAIN, headers={"x": "2"})
        stage.pool.apply(PoolSettings(), [changed])
        await wait_all_tasks_blocked()

        assert not stage.line(idle).is_open
        assert stage.line(busy).is_open
        assert not stage.pool.alive(busy.ref())
        assert isinstance(pinned.error, PinnedGone)
        assert give(busy)
        assert not stage.line(busy).is_open
        assert stage.words("slot.rotated") == ["slot.rotated:account_changed"] * 2
        fresh = await stage.acquire(account=changed)
        assert fresh.dial_s is not None
        give(fresh)


async def test_the_same_accounts_change_nothing(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        give(await stage.acquire())
        stage.pool.apply(PoolSettings(), [attrs.evolve(MAIN, weight=1, models=("x",))])
        await wait_all_tasks_blocked()

        assert stage.pool.statistics()[0].sv_idle == 1


async def test_an_account_that_is_gone_is_served_once_more(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        stage.pool.apply(PoolSettings(), [])
        lease = await stage.acquire()
        assert give(lease)

        assert not stage.wire.open
        assert stage.pool.statistics() == ()


async def test_fewer_slots_let_unused_ones_go_and_more_serve_who_waits(
    autojump_clock: MockClock,
) -> None:
    async with staged(PoolSettings(slots_max=3)) as stage, trio.open_nursery() as nursery:
        leases = [await stage.acquire() for _ in range(3)]
        give(leases[0])
        stage.pool.apply(ONE, [MAIN])
        await wait_all_tasks_blocked()
        assert len(stage.wire.open) == 2
        asker = await asking(nursery, stage)
        give(leases[1])
        await wait_all_tasks_blocked()
        assert asker.lease is None
        assert len(stage.wire.open) == 1
        stage.pool.apply(PoolSettings(slots_max=2), [MAIN])
        await wait_all_tasks_blocked()

        assert asker.lease is not None
        assert stage.words("slot.rotated") == ["slot.rotated:slots_max"] * 2
        give(asker.lease)
        give(leases[2])


async def test_statistics_are_in_pgbouncer_s_words(autojump_clock: MockClock) -> None:
    async with staged(PoolSettings(slots_max=3)) as stage, trio.open_nursery() as nursery:
        one, two = await stage.acquire(), await stage.acquire()
        give(one)
        one = await stage.acquire()
        stage.by_hand = True
        dialling = await asking(nursery, stage)
        waiting = await asking(nursery, stage)
        await trio.sleep(1.5)
        pool = stage.pool.statistics()[0]

        assert attrs.asdict(pool) == {
            "account": "main",
            "cl_active": 2,
            "cl_waiting": 1,
            "sv_active": 2,
            "sv_idle": 0,
            "sv_tested": 0,
            "sv_login": 1,
            "maxwait_s": 1.5,
            "slots_max": 3,
            "leases": 3,
            "reused": 1,
        }
        assert repr(stage.pool) == "<Pool <Book slots=3 accounts=1>>"
        waiting.scope.cancel()
        dialling.scope.cancel()
        give(one)
        give(two)


async def test_an_identity_names_its_account(autojump_clock: MockClock) -> None:
    async with staged() as stage:
        with pytest.raises(AssertionError, match="names its account"):
            await stage.pool.acquire(
                attrs.evolve(MAIN, name="other"), identity(), deadline=trio.current_time() + 1
            )
