"""The store in memory: its bound, and how it forgets."""

from __future__ import annotations

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from relayd.state.memory import ENTRY_MAX_BYTES, PURGE_STEP, MemoryStore
from relayd.state.store import Counted, StoreError


@attrs.define
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def test_nothing_waits() -> None:
    store = MemoryStore(Clock())
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.put("a", b"1")
        await store.add("b", 1)
        await store.compare_and_set("a", b"1", b"2")
        assert await store.get("a") == b"2"

    assert not scope.cancelled_caught


async def test_a_full_store_takes_no_new_key_but_changes_those_it_has() -> None:
    store = MemoryStore(Clock(), entries_max=2)
    await store.put("a", b"1")
    await store.put("b", b"1", ttl_s=60)

    for refused in (store.put("c", b"1"), store.add("c", 1), store.compare_and_set("c", None, b"")):
        with pytest.raises(StoreError, match="full"):
            await refused
    assert await store.add("a", 1) == Counted(2, applied=True)
    assert await store.compare_and_set("b", b"1", None)
    await store.put("c", b"1")
    assert len(store) == 2


async def test_what_has_expired_makes_room() -> None:
    clock = Clock()
    store = MemoryStore(clock, entries_max=100)
    for number in range(100):
        await store.put(f"{number}", b"1", ttl_s=number + 1)
    clock.now = 50
    for number in range(50):
        await store.put(f"new {number}", b"1")

    assert len(store) == 100
    assert await store.get("49") is None
    assert await store.get("50") == b"1"
    with pytest.raises(StoreError, match="full"):
        await store.put("one too many", b"1")


@given(st.permutations(range(40)), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39))))
async def test_a_full_store_has_room_exactly_when_something_has_expired(
    order: list[int], moved: list[tuple[int, int]]
) -> None:
    """In whatever order times were set, and set anew."""
    clock = Clock()
    store = MemoryStore(clock, entries_max=40)
    due = dict(enumerate(order))
    for number, ttl in (*due.items(), *moved):
        due[number] = ttl
        await store.put(f"{number}", b"1", ttl_s=ttl + 1)
    for now in range(1, 41):
        clock.now = now
        for number, ttl in due.items():
            if ttl + 1 == now:
                await store.put(f"instead of {number}", b"1")
        with pytest.raises(StoreError, match="full"):
            await store.put("one too many", b"1")


async def test_a_write_drops_a_few_expired_entries_and_no_more() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for number in range(1000):
        await store.put(f"{number}", b"1", ttl_s=1)
    clock.now = 1
    await store.put("one", b"1")

    assert len(store) == 1000 - PURGE_STEP + 1
    for _ in range(1000 // PURGE_STEP):
        await store.put("one", b"1")
    assert len(store) == 1


async def test_a_key_and_its_value_are_small() -> None:
    store = MemoryStore(Clock())
    await store.put("é", bytes(ENTRY_MAX_BYTES - 2))

    with pytest.raises(StoreError, match="bytes"):
        await store.put("é", bytes(ENTRY_MAX_BYTES - 1))
    with pytest.raises(StoreError, match="bytes"):
        await store.add("k" * ENTRY_MAX_BYTES, 1)
    assert len(store) == 1


KEYS = st.sampled_from("abcdefgh")
TTLS = st.none() | st.integers(1, 20)
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), KEYS, TTLS),
    st.tuples(st.just("remove"), KEYS, st.none()),
    st.tuples(st.just("add"), KEYS, TTLS),
    st.tuples(st.just("wait"), st.just(""), st.integers(1, 15)),
)


@given(st.lists(OPERATIONS, min_size=30, max_size=80))
async def test_it_holds_what_a_plain_dict_with_times_would(
    operations: list[tuple[str, str, int | None]],
) -> None:
    clock = Clock()
    store = MemoryStore(clock)
    model: dict[str, tuple[bytes, float]] = {}
    for verb, key, number in operations:
        until = float("inf") if number is None else clock.now + number
        match verb:
            case "put":
                await store.put(key, b"7", ttl_s=number)
                model[key] = (b"7", until)
            case "remove":
                await store.compare_and_set(key, await store.get(key), None)
                model.pop(key, None)
            case "add":
                counted = await store.add(key, 1, ttl_s=number)
                before = model.get(key, (b"0", float("inf")))
                model[key] = (b"%d" % counted.value, before[1] if number is None else until)
                assert counted.value == int(before[0]) + 1
            case _:
                assert number is not None
                clock.now += number
        model = {key: entry for key, entry in model.items() if entry[1] > clock.now}
        assert {key: await store.get(key) for key in "abcdefgh"} == {
            key: model.get(key, (None, 0.0))[0] for key in "abcdefgh"
        }
    assert len(store) == len(model)
    clock.now += 1000
    for _ in operations:
        await store.put("last", b"")
    assert len(store) <= 1 + sum(1 for _, until in model.values() if until == float("inf"))


async def test_a_store_that_forgets_drops_what_would_expire_first() -> None:
    store = MemoryStore(lambda: 0.0, entries_max=2, forgets=True)
    await store.put("late", b"1", ttl_s=9.0)
    await store.put("soon", b"2", ttl_s=5.0)

    await store.put("new", b"3", ttl_s=7.0)

    assert await store.get("soon") is None
    assert [await store.get(key) for key in ("late", "new")] == [b"1", b"3"]


async def test_a_store_that_forgets_changes_what_it_has_without_forgetting() -> None:
    store = MemoryStore(lambda: 0.0, entries_max=2, forgets=True)
    await store.put("a", b"1", ttl_s=5.0)
    await store.put("b", b"1", ttl_s=6.0)

    await store.put("a", b"2", ttl_s=5.0)

    assert [await store.get(key) for key in ("a", "b")] == [b"2", b"1"]


async def test_a_store_that_forgets_keeps_what_stays_for_good() -> None:
    store = MemoryStore(lambda: 0.0, entries_max=1, forgets=True)
    await store.put("a", b"1")

    with pytest.raises(StoreError, match="full"):
        await store.put("b", b"1", ttl_s=5.0)
