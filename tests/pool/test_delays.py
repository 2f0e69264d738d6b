"""A queue of things that are all due equally long after they were put in."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from relayd.pool.delays import Delay


def test_what_was_put_in_first_is_due_first() -> None:
    delay = Delay[str]()
    delay.put("a", 1.0)
    delay.put("b", 2.0)

    assert delay.due_at(5.0) == 6.0
    assert delay.take_due(5.9, 5.0) is None
    assert delay.take_due(6.0, 5.0) == "a"
    assert delay.take_due(6.0, 5.0) is None
    assert delay.take_due(7.0, 5.0) == "b"
    assert delay.due_at(5.0) == math.inf


def test_what_is_put_in_again_waits_anew() -> None:
    delay = Delay[str]()
    delay.put("a", 1.0)
    delay.put("b", 2.0)
    delay.put("a", 3.0)

    assert delay.due_at(5.0) == 7.0
    assert len(delay) == 2


def test_what_is_dropped_is_never_due() -> None:
    delay = Delay[str]()
    delay.put("a", 1.0)
    delay.drop("a")
    delay.drop("a")

    assert "a" not in delay
    assert delay.take_due(math.inf, 1.0) is None


@given(
    st.lists(st.tuples(st.sampled_from(["put", "drop", "wait"]), st.integers(0, 5))),
    st.integers(0, 9),
)
def test_it_says_what_a_table_of_times_would(steps: list[tuple[str, int]], wait: int) -> None:
    delay, table, now = Delay[int](), dict[int, float](), 0.0
    for verb, item in steps:
        if verb == "put":
            delay.put(item, now)
            table[item] = now
        elif verb == "drop":
            delay.drop(item)
            table.pop(item, None)
        else:
            now += item
            taken = set()
            while (one := delay.take_due(now, wait)) is not None:
                taken.add(one)
            due = {item for item, since in table.items() if since + wait <= now}
            assert taken == due
            table = {item: since for item, since in table.items() if item not in due}
        assert delay.due_at(wait) == min((s + wait for s in table.values()), default=math.inf)
        assert len(delay) == len(table)
