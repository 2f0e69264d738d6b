"""Token buckets: how much fits into any time, and when the next one does."""

from __future__ import annotations

import itertools

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from relayd.state.buckets import ATTEMPTS_MAX, DEBT_MAX_MINUTES, Bucket, Taken, take
from relayd.state.memory import MemoryStore
from relayd.state.store import Store, StoreError
from tests.state.gates import Gate, GatedStore, Wall

RATES = st.sampled_from([1, 2, 3, 7, 59, 60, 61, 1000, 10**9])
WALL_US = 1_767_268_800_000_000
UNIT = 60_000_000


def fresh() -> tuple[MemoryStore, Wall]:
    wall = Wall()
    return MemoryStore(wall), wall


async def one(store: Store, wall: Wall, per_minute: int) -> Taken:
    return await take(store, "b", per_minute, 1, wall(), need=1)


# -- the arithmetic


@given(
    RATES.filter(lambda rate: rate < 10**6),
    st.lists(st.integers(0, 40_000_000), min_size=40, max_size=150),
)
def test_in_any_time_at_most_the_capacity_and_what_refills_is_granted(
    rate: int, pauses_us: list[int]
) -> None:
    bucket, now, granted = Bucket.full(rate, WALL_US), WALL_US, []
    for pause in pauses_us:
        now += pause
        bucket = bucket.at(now)
        if not bucket.lacks_us(1, now):
            bucket = bucket.debited(1)
            granted.append(now)

    for (i, start), (j, end) in itertools.combinations(enumerate(granted), 2):
        assert (j - i + 1) * UNIT <= rate * UNIT + rate * (end - start)


@given(RATES, st.integers(1, 5000), st.integers(0, 200_000_000), st.integers(1, 3))
def test_it_is_lacking_for_exactly_so_long(rate: int, taken: int, pause: int, units: int) -> None:
    units = min(units, rate)
    later = WALL_US + pause
    bucket = Bucket.full(rate, WALL_US).debited(taken).at(later)
    lacks = bucket.lacks_us(units, later)

    assert bucket.at(later + lacks).level_parts >= units * UNIT
    if lacks:
        assert bucket.at(later + lacks - 1).level_parts < units * UNIT


@given(RATES, st.lists(st.integers(-5_000_000, 5_000_000), min_size=10, max_size=40))
def test_a_clock_that_jumps_makes_no_bucket_overflow_or_leak(rate: int, steps: list[int]) -> None:
    bucket, now = Bucket.full(rate, WALL_US).debited(rate), WALL_US
    for step in steps:
        now += step
        after = bucket.at(now)
        assert bucket.level_parts <= after.level_parts <= rate * UNIT
        bucket = after
    latest = max(now, bucket.at_us)
    assert bucket.at(latest + UNIT).is_full


def test_a_clock_set_back_far_stops_no_bucket_from_refilling() -> None:
    bucket = Bucket.full(60, WALL_US).debited(60)
    hour_before = bucket.at(WALL_US - 3600_000_000)

    assert hour_before.level_parts == 0
    assert hour_before.at(WALL_US - 3600_000_000 + 1_000_000).level_parts == UNIT


def test_a_late_clock_of_another_host_refills_nothing_twice() -> None:
    bucket = Bucket.full(60, WALL_US).debited(60)
    for _ in range(100):
        bucket = bucket.at(WALL_US - 1_500_000).at(WALL_US)

    assert bucket.level_parts == 0
    assert bucket.lacks_us(1, WALL_US - 1_500_000) == 2_500_000


@given(RATES, st.integers(0, 10**30))
def test_a_debt_is_made_up_for_within_a_day(rate: int, amount: int) -> None:
    bucket = Bucket.full(rate, WALL_US).debited(amount).debited(amount)

    assert bucket.lacks_us(0, WALL_US) <= DEBT_MAX_MINUTES * UNIT


@given(RATES, RATES, st.integers(-(10**7), 10**7), st.integers(0, 2**60))
def test_what_is_written_is_read_again_within_the_new_capacity(
    rate: int, new_rate: int, amount: int, at: int
) -> None:
    bucket = Bucket.full(rate, at).debited(amount)
    read = Bucket.decoded(bucket.encoded(), new_rate)

    assert read.at_us == at
    least = -DEBT_MAX_MINUTES * new_rate * UNIT
    assert read.level_parts == max(min(bucket.level_parts, new_rate * UNIT), least)


# -- on a store


async def test_a_full_bucket_gives_its_capacity_at_once_and_then_one_by_one() -> None:
    store, wall = fresh()
    taken = [await one(store, wall, 6) for _ in range(7)]

    assert [each.ok for each in taken] == [True] * 6 + [False]
    assert taken[-1].retry_after_s == pytest.approx(10, abs=1e-3)
    wall.now += 10.001
    assert (await one(store, wall, 6)).ok
    assert not (await one(store, wall, 6)).ok


@given(
    RATES.filter(lambda rate: rate <= 1000),
    st.floats(1.6e9, 4e9),
    st.floats(0, 0.05),
    st.integers(0, 30),
)
async def test_retrying_after_the_told_time_succeeds_and_a_millisecond_before_it_does_not(
    rate: int, start: float, pause: float, more: int
) -> None:
    store, wall = fresh()
    wall.now = start
    while (taken := await one(store, wall, rate)).ok:
        pass
    wall.now += min(pause, taken.retry_after_s / 2)
    await take(store, "b", rate, more, wall(), need=None)
    taken = await one(store, wall, rate)
    assert not taken.ok

    early = await take(store, "b", rate, 1, wall() + taken.retry_after_s - 0.001, need=1)
    due = await take(store, "b", rate, 1, wall() + taken.retry_after_s, need=1)
    assert not early.ok
    assert due.ok


async def test_a_debit_in_any_case_overdraws_and_is_made_up_for() -> None:
    store, wall = fresh()

    assert (await take(store, "b", 60, 0, wall(), need=0)).ok
    overdrawn = await take(store, "b", 60, 90, wall(), need=None)
    assert (overdrawn.ok, overdrawn.retry_after_s) == (False, 30.0)
    taken = await take(store, "b", 60, 0, wall(), need=0)
    assert (taken.ok, round(taken.retry_after_s, 3)) == (False, 30)
    wall.now += taken.retry_after_s
    assert (await take(store, "b", 60, 0, wall(), need=0)).ok


async def test_looking_writes_nothing_and_neither_does_a_refusal() -> None:
    store, wall = fresh()
    await take(store, "b", 1, 0, wall(), need=1)
    assert len(store) == 0
    await take(store, "b", 2, 2, wall(), need=2)
    written = await store.get("b")
    wall.now += 45
    assert (await take(store, "b", 2, 0, wall(), need=1)).ok
    assert not (await take(store, "b", 2, 2, wall(), need=2)).ok

    assert await store.get("b") == written


async def test_what_is_given_back_can_be_taken_again_but_never_more() -> None:
    store, wall = fresh()
    await one(store, wall, 1)
    await take(store, "b", 1, -1, wall(), need=None)
    await take(store, "b", 1, -1, wall(), need=None)

    assert len(store) == 0
    assert (await one(store, wall, 1)).ok
    assert not (await one(store, wall, 1)).ok


async def test_an_idle_bucket_vanishes_when_it_is_full_and_not_before() -> None:
    store, wall = fresh()
    await take(store, "b", 60, 90, wall(), need=None)
    wall.now += 90
    assert await store.get("b") is not None
    wall.now += 1.001

    assert await store.get("b") is None


async def test_a_new_capacity_counts_at_once() -> None:
    store, wall = fresh()
    await one(store, wall, 100)

    assert [(await one(store, wall, 2)).ok for _ in range(3)] == [True, True, False]


async def test_of_many_at_once_exactly_the_capacity_gets_through() -> None:
    store, wall = fresh()
    gate = Gate(shut=True)
    granted: list[bool] = []

    async def ask() -> None:
        granted.append((await one(GatedStore(store, gate), wall, 5)).ok)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
        while len(granted) < 20:
            await wait_all_tasks_blocked()
            for visitor in tuple(gate.visitors):
                visitor.go()

    assert sum(granted) == 5


async def test_whoever_is_always_overtaken_gives_up() -> None:
    _store, wall = fresh()
    asked = 0

    class Overtaken(MemoryStore):
        async def get(self, key: str) -> bytes | None:
            nonlocal asked
            asked += 1
            return b"-1 0"

    with pytest.raises(StoreError, match="others"):
        await take(Overtaken(wall), "b", 1, 1, wall(), need=None)
    assert asked == ATTEMPTS_MAX


@pytest.mark.parametrize("value", [b"", b"1", b"1 2 3", b"x 1", b"1.5 2", b"9" * 99 + b" 1"])
async def test_what_is_no_bucket_is_not_used_as_one(value: bytes) -> None:
    store, wall = fresh()
    await store.put("b", value)

    with pytest.raises(StoreError, match="no bucket"):
        await one(store, wall, 1)
