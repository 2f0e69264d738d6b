"""Which response lives where."""

from __future__ import annotations

from relayd.pool.identity import SlotRef
from relayd.session.responses.chains import CALLS_MAX, TTL_S, Chain, Chains
from relayd.session.responses.shares import Shares
from relayd.state.memory import MemoryStore
from relayd.state.store import Counted, StoreError

CHAIN = Chain(account="main", worker="w", slot=3, generation=2, lane="a", stored=False)


class Away:
    """A store that does not answer."""

    waits = True

    async def get(self, key: str) -> bytes | None:
        raise StoreError("away")

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        raise StoreError("away")

    async def compare_and_set(
        self, key: str, expected: bytes | None, value: bytes | None, *, ttl_s: float | None = None
    ) -> bool:
        raise StoreError("away")

    async def add(
        self, key: str, amount: int, *, at_most: int | None = None, ttl_s: float | None = None
    ) -> Counted:
        raise StoreError("away")


def failing(error: StoreError) -> None:
    raise AssertionError("the store answers") from error


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def chains(clock: Clock | None = None) -> Chains:
    store = MemoryStore(clock or Clock(), forgets=True)
    return Chains(store=store, worker="w", failed=failing)


async def test_a_response_is_found_where_it_was_noted_by_its_tenant_alone() -> None:
    known = chains()
    await known.note("t", "resp_1", CHAIN, [], 0.0)

    assert await known.find("t", "resp_1") == CHAIN
    assert CHAIN.ref == SlotRef(3, 2)
    assert await known.find("u", "resp_1") is None
    assert await known.find("t", "resp_2") is None


async def test_it_is_forgotten_when_it_is_told_or_its_time_is_over() -> None:
    clock = Clock()
    known = chains(clock)
    await known.note("t", "resp_1", CHAIN, [], 0.0)
    await known.note("t", "resp_2", CHAIN, [], 0.0)
    await known.forget("t", "resp_1")
    assert await known.find("t", "resp_1") is None
    await known.forget("t", "resp_1")  # doing so again is fine
    clock.now = TTL_S - 1
    assert await known.find("t", "resp_2") == CHAIN
    clock.now = TTL_S + 1
    assert await known.find("t", "resp_2") is None


async def test_calls_lead_to_the_response_that_asked_until_they_are_answered() -> None:
    known = chains()
    await known.note("t", "resp_1", CHAIN, ["call_1", "call_2"], 0.0)
    await known.note("t", "resp_2", CHAIN, ["call_3"], 0.0)

    assert await known.asked_by("t", ["call_2", "call_1"]) == "resp_1"
    assert await known.asked_by("t", ["call_1", "call_3"]) is None  # of two responses
    assert await known.asked_by("t", ["call_1", "call_4"]) is None
    assert await known.asked_by("u", ["call_1"]) is None
    assert await known.asked_by("t", []) is None
    await known.answered("t", ["call_1"])
    assert await known.asked_by("t", ["call_1"]) is None
    assert await known.asked_by("t", ["call_2"]) == "resp_1"


async def test_no_more_calls_are_remembered_than_may_be() -> None:
    known = chains()
    await known.note(
        "t", "resp_1", CHAIN, [f"call_{number}" for number in range(CALLS_MAX + 1)], 0.0
    )

    assert await known.asked_by("t", [f"call_{CALLS_MAX - 1}"]) == "resp_1"
    assert await known.asked_by("t", [f"call_{CALLS_MAX}"]) is None


async def test_a_session_is_known_by_the_account_that_served_it_last() -> None:
    known = chains()
    await known.served_by("t", "mine", "main", 0.0)
    await known.served_by("t", "mine", "spare", 0.0)

    assert await known.account_of("t", "mine") == "spare"
    assert await known.account_of("u", "mine") is None


async def test_what_clients_call_things_is_not_in_the_store_as_it_is() -> None:
    store = MemoryStore(Clock(), forgets=True)
    known = Chains(store=store, worker="w", failed=failing)
    await known.served_by("t", "a name of somebody's", "main", 0.0)
    await known.note("t", "resp_1" * 150, CHAIN, ["call" * 60], 0.0)  # however long they are

    assert await known.find("t", "resp_1" * 150) == CHAIN
    assert not [key for key in store._entries if "somebody" in key or "resp_1" in key]


async def test_what_another_version_wrote_is_as_good_as_forgotten() -> None:
    store = MemoryStore(Clock(), forgets=True)
    known = Chains(store=store, worker="w", failed=failing)
    await known.note("t", "resp_1", CHAIN, [], 0.0)
    key = next(key for key in store._entries if ":chain:" in key)
    await store.put(key, b'{"account":"main"}')

    assert await known.find("t", "resp_1") is None


async def test_a_store_that_is_away_costs_memory_alone() -> None:
    told: list[StoreError] = []
    known = Chains(store=Away(), worker="w", failed=told.append)
    await known.note("t", "resp_1", CHAIN, ["call_1"], 0.0)
    await known.answered("t", ["call_1"])
    await known.forget("t", "resp_1")

    assert await known.find("t", "resp_1") is None
    assert await known.asked_by("t", ["call_1"]) is None
    assert await known.account_of("t", "mine") is None
    assert len(told) == 8


async def test_it_is_known_that_a_response_is_another_tenants() -> None:
    known = Chains(store=MemoryStore(Clock(), forgets=True), worker="w", failed=failing)
    await known.note("t", "resp_1", CHAIN, [], 0.0)

    assert await known.is_anothers("u", "resp_1")
    assert not await known.is_anothers("t", "resp_1")
    assert not await known.is_anothers("u", "resp_2")


async def test_one_tenant_does_not_push_out_another() -> None:
    store = MemoryStore(Clock(), entries_max=20, forgets=True)
    shares = Shares(names_max=20, ttl_s=TTL_S)
    known = Chains(store=store, worker="w", failed=failing, shares=shares)
    await known.note("quiet", "resp_q", CHAIN, ["call_q"], 0.0)
    await known.served_by("quiet", "mine", "main", 0.0)
    for number in range(100):
        await known.note("loud", f"resp_{number}", CHAIN, [f"call_{number}"], 0.0)

    assert await known.find("quiet", "resp_q") == CHAIN
    assert await known.asked_by("quiet", ["call_q"]) == "resp_q"
    assert await known.account_of("quiet", "mine") == "main"
    assert await known.is_anothers("loud", "resp_q")  # whose it is stays known as well
    assert await known.find("loud", "resp_99") == CHAIN
    assert await known.find("loud", "resp_0") is None
    assert len(store) == len(shares) == 20


async def test_what_is_forgotten_takes_no_room() -> None:
    shares = Shares(names_max=20, ttl_s=TTL_S)
    store = MemoryStore(Clock(), forgets=True)
    known = Chains(store=store, worker="w", failed=failing, shares=shares)
    await known.note("t", "resp_1", CHAIN, ["call_1"], 0.0)
    await known.answered("t", ["call_1"])
    await known.forget("t", "resp_1")

    assert len(store) == len(shares) == 1  # that it was this tenant's
