"""What every store does, whatever it stands on. A subclass gives the store and its clock."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from relayd.state.store import Counted, Store, StoreError


class StoreContract:
    """A fixture to give: ``store``, empty, whose times to live follow Trio's clock."""

    async def test_what_was_put_is_there(self, store: Store) -> None:
        await store.put("a", b"\x00one")
        await store.put("a", b"two")

        assert await store.get("a") == b"two"
        assert await store.get("b") is None

    async def test_a_value_outlives_its_time_by_nothing(
        self, store: Store, autojump_clock: MockClock
    ) -> None:
        await store.put("a", b"1", ttl_s=10)
        await trio.sleep(9)

        assert await store.get("a") == b"1"
        await trio.sleep(1)
        assert await store.get("a") is None

    async def test_a_put_sets_the_time_anew(self, store: Store, autojump_clock: MockClock) -> None:
        await store.put("shorter", b"1", ttl_s=30)
        await store.put("shorter", b"2", ttl_s=10)
        await store.put("longer", b"1", ttl_s=10)
        await store.put("longer", b"2", ttl_s=30)
        await store.put("for good", b"1", ttl_s=10)
        await store.put("for good", b"2")
        await trio.sleep(20)

        assert await store.get("shorter") is None
        assert await store.get("longer") == b"2"
        assert await store.get("for good") == b"2"

    async def test_a_value_is_set_only_over_the_expected_one(self, store: Store) -> None:
        assert not await store.compare_and_set("a", b"1", b"2")
        assert await store.compare_and_set("a", None, b"1")
        assert not await store.compare_and_set("a", None, b"2")
        assert not await store.compare_and_set("a", b"0", b"2")
        assert await store.get("a") == b"1"
        assert await store.compare_and_set("a", b"1", b"2")
        assert await store.get("a") == b"2"

    async def test_a_value_is_removed_only_if_it_is_the_expected_one(self, store: Store) -> None:
        await store.put("a", b"1")

        assert not await store.compare_and_set("a", b"2", None)
        assert await store.get("a") == b"1"
        assert await store.compare_and_set("a", b"1", None)
        assert await store.get("a") is None
        assert await store.compare_and_set("a", None, None)
        assert await store.get("a") is None

    async def test_what_has_expired_is_absent_to_a_comparison(
        self, store: Store, autojump_clock: MockClock
    ) -> None:
        await store.put("a", b"1", ttl_s=1)
        await trio.sleep(1)

        assert not await store.compare_and_set("a", b"1", b"2")
        assert await store.compare_and_set("a", None, b"2", ttl_s=1)
        await trio.sleep(1)
        assert await store.get("a") is None

    async def test_a_counter_begins_at_zero_and_goes_both_ways(self, store: Store) -> None:
        assert await store.add("a", 5) == Counted(5, applied=True)
        assert await store.add("a", -7) == Counted(-2, applied=True)
        assert await store.get("a") == b"-2"

    async def test_a_counter_is_digits_to_the_other_calls(self, store: Store) -> None:
        await store.put("a", b"40")

        assert await store.add("a", 2) == Counted(42, applied=True)
        assert await store.compare_and_set("a", b"42", b"7")
        assert await store.add("a", 0) == Counted(7, applied=True)

    async def test_an_addition_beyond_its_bound_changes_nothing(self, store: Store) -> None:
        assert await store.add("a", 3, at_most=3) == Counted(3, applied=True)
        assert await store.add("a", 1, at_most=3) == Counted(3, applied=False)
        assert await store.get("a") == b"3"
        assert await store.add("b", 1, at_most=0) == Counted(0, applied=False)
        assert await store.get("b") is None

    async def test_of_many_at_once_exactly_so_many_fit(self, store: Store) -> None:
        applied: list[bool] = []

        async def add() -> None:
            applied.append((await store.add("a", 1, at_most=7)).applied)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(add)

        assert sum(applied) == 7
        assert await store.get("a") == b"7"

    async def test_an_addition_keeps_the_time_unless_it_gives_one(
        self, store: Store, autojump_clock: MockClock
    ) -> None:
        await store.add("kept", 1, ttl_s=10)
        await store.add("kept", 1)
        await store.add("anew", 1, ttl_s=10)
        await trio.sleep(5)
        await store.add("anew", 1, ttl_s=10)
        await store.add("anew", 9, at_most=3, ttl_s=1)  # not applied: it gives no time either
        await trio.sleep(5)

        assert await store.get("kept") is None
        assert await store.get("anew") == b"2"
        assert await store.add("kept", 1) == Counted(1, applied=True)

    @pytest.mark.parametrize("value", [b"", b"x", b"1.5", b"1 ", b"0x10", b"9" * 40])
    async def test_what_is_no_integer_is_no_counter(self, store: Store, value: bytes) -> None:
        await store.put("a", value)

        with pytest.raises(StoreError, match="integer"):
            await store.add("a", 1)
        assert await store.get("a") == value

    async def test_counters_are_signed_64_bit_integers(self, store: Store) -> None:
        await store.put("a", b"%d" % (2**63 - 1))
        await store.put("b", b"%d" % -(2**63 - 1))

        with pytest.raises(StoreError, match="64"):
            await store.add("a", 1)
        with pytest.raises(StoreError, match="64"):
            await store.add("b", -2)
        assert await store.get("a") == b"%d" % (2**63 - 1)
