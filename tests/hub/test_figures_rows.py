"""Tables of names without end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relayd.hub.figures_rows import ROWS_SHOWN, Row, Rows


def test_rows_are_shown_with_the_most_costly_first() -> None:
    rows = Rows[str]()
    rows.of("cheap").add(1, 500, 500, 1)
    rows.of("dear").add(1, 0, 0, 2)
    rows.of("free").add(3, 1, 1, 0)
    rows.of("cheap").add(1, 0, 0, 0)

    assert [name for name, _ in rows.shown()] == ["dear", "cheap", "free"]
    assert dict(rows.shown())["cheap"].shown() == {
        "turns": 2,
        "tokens_in": 500,
        "tokens_out": 500,
        "cost_usd": 1e-9,
    }


def test_what_is_not_shown_is_there_together() -> None:
    rows = Rows[int]()
    for name in range(ROWS_SHOWN + 2):
        rows.of(name).add(1, 0, 0, name)

    *shown, (last, other) = rows.shown()
    assert len(shown) == ROWS_SHOWN
    assert (last, other) == (None, Row(turns=2, cost_nano=1))
    assert list(rows.shown())[-1][1] == other  # to look changes nothing


@given(costs=st.lists(st.integers(0, 1000), max_size=1000), names=st.integers(1, 1000))
def test_nothing_is_lost_whatever_names_come(costs: list[int], names: int) -> None:
    rows = Rows[int]()
    for number, cost in enumerate(costs):
        rows.of(number % names).add(1, 2, 3, cost)

    shown = [row for _, row in rows.shown()]
    assert len(shown) <= ROWS_SHOWN + 1
    assert sum(row.cost_nano for row in shown) == sum(costs)
    assert sum(row.turns for row in shown) == len(costs)


def test_a_flood_of_names_takes_no_costly_row_away() -> None:
    rows = Rows[str]()
    rows.of("dear").add(1, 0, 0, 10**9)
    for number in range(10 * ROWS_SHOWN):
        rows.of(f"made up {number}").add(1, 0, 0, 1)

    assert next(rows.shown()) == ("dear", Row(turns=1, cost_nano=10**9))
    assert rows.of("dear").cost_nano == 10**9
