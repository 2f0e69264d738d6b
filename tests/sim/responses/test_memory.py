"""What is remembered, where, and for how long."""

from __future__ import annotations

from relayd.sim.responses.memory import REMEMBERED_MAX, STORED_MAX, Memory, Past, Storage


def past(name: str, lane: str | None = None) -> Past:
    return Past(id=name, lane=lane, tokens=1, depth=1)


def test_what_is_used_is_remembered_longer() -> None:
    memory = Memory()
    memory.keep(past("old"))
    memory.keep(past("unused"))
    for number in range(REMEMBERED_MAX - 2):
        memory.keep(past(str(number)))
    assert memory.find("old") is not None

    memory.keep(past("one more"))

    assert memory.find("unused") is None
    assert memory.find("old") is not None


def test_a_failure_evicts_on_the_same_lane_only() -> None:
    memory = Memory()
    memory.keep(past("parent", "a"))

    memory.evict("parent", "b")
    memory.evict("unknown", "a")
    assert memory.find("parent") is not None
    memory.evict("parent", "a")
    assert memory.find("parent") is None


def test_storage_is_per_key_and_bounded() -> None:
    storage = Storage()
    for number in range(STORED_MAX + 1):
        storage.keep("key", past(str(number)))

    assert storage.find("key", "0") is None
    assert storage.find("key", "1") is not None
    assert storage.find("other", "1") is None
