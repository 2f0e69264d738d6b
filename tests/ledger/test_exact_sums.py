"""Sums that do not overflow, against Python's own."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.ledger.exact_sums import dearest_first, joined, parts_of

VALUES = st.none() | st.integers(0, 2**63 - 1)


@pytest.mark.parametrize("large", [True, False])
@given(rows=st.lists(st.tuples(st.sampled_from("abc"), VALUES), max_size=12))
def test_sums_and_their_order_are_exact(rows: list[tuple[str, int | None]], *, large: bool) -> None:
    if not large:
        rows = [(name, None if value is None else value % 3) for name, value in rows]
    values = defaultdict[str, list[int]](list)
    for name, value in rows:
        values[name].extend([] if value is None else [value])
    sums = {name: sum(each) if each else None for name, each in values.items()}
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (name TEXT, value INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        query = (
            f"SELECT name, {', '.join(parts_of('value'))} FROM t GROUP BY name"
            f" ORDER BY {dearest_first('value')}, name"
        )
        found = [(name, joined(*parts)) for name, *parts in connection.execute(query)]

    def place(name: str) -> tuple[bool, int, str]:
        total = sums[name]
        return total is None, -(total or 0), name

    assert found == [(name, sums[name]) for name in sorted(sums, key=place)]
