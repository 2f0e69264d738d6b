"""Usage as a table on a terminal."""

from __future__ import annotations

import datetime
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from relayd.cli.usage_lines import Usage
from relayd.cli.usage_table import BAR_MAX, BAR_MIN, bar_of, lay_out, print_table
from relayd.ledger.report import By, Line, Sums


def sums(dollars: float | None, **more: int) -> Sums:
    cost = None if dollars is None else round(dollars * 10**9)
    return Sums(
        rows=1, turns=12, sessions=3, tokens_in=45_678, tokens_out=910, cost_nano=cost, **more
    )


def usage(
    *lines: Line, by: tuple[By, ...] = (By.KEY, By.MODEL), total: Sums | None = None
) -> Usage:
    costs = [line.sums.cost_nano or 0 for line in lines]
    return Usage(
        by=by,
        lines=lines,
        total=total or sums(sum(costs) / 10**9, tokens_in_cached_text=5),
        prices="prices.toml",
    )


def shown(what: Usage, width: int, *, encoding: str = "utf-8") -> list[str]:
    """The lines that a terminal of ``width`` gets, without their styles."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, write_through=True) as file:
        print_table(Console(file=file, width=width), what, "Tokens and cost")
        text = raw.getvalue().decode(encoding)
    return [line.rstrip() for line in text.splitlines()]


TWO = usage(
    Line(("voice-app", "gpt-realtime"), sums(3.0)),
    Line(("dev", "gpt-realtime-mini"), sums(1.5)),
)


def test_a_table_with_bars_and_a_total() -> None:
    assert shown(TWO, 80) == [
        "Tokens and cost",
        "",
        "key        model              turns     in  cached  out     cost",
        "─" * 80,
        "voice-app  gpt-realtime          12  45.7k       0  910  $3.0000  ██████████████",
        "dev        gpt-realtime-mini     12  45.7k       0  910  $1.5000  ███████",
        "─" * 80,
        "total                            12  45.7k       5  910  $4.5000",
    ]


def test_a_wide_terminal_gets_every_column_and_a_longer_bar() -> None:
    head, full = shown(TWO, 120)[2], shown(TWO, 120)[4]

    assert head.split() == ["key", "model", "sessions", "turns", "in", "cached", "out", "cost"]
    assert full.count("█") == BAR_MAX


def test_a_narrow_terminal_gets_what_matters_most() -> None:
    heads = [shown(TWO, width)[2].split() for width in (60, 50, 40)]

    assert heads == [
        ["key", "model", "turns", "in", "out", "cost"],
        ["key", "model", "in", "out", "cost"],
        ["key", "model", "in", "out", "cost"],
    ]
    assert "gpt-real…" in shown(TWO, 40)[4]


def test_numbers_are_whole_however_narrow_it_is() -> None:
    assert shown(TWO, 10)[4].split() == ["voice-a…", "gpt-rea…", "45.7k", "910", "$3.0000"]


def test_without_unicode_bars_are_ascii() -> None:
    lines = shown(TWO, 80, encoding="ascii")

    assert lines[3] == lines[6] == "-" * 80
    assert lines[4] == (
        "voice-app  gpt-realtime          12  45.7k       0  910  $3.0000  ##############"
    )


def test_a_chart_of_days_has_the_empty_ones_too() -> None:
    days = [datetime.date(2026, 11, day) for day in (6, 7, 10)]
    by_day = usage(*(Line((day,), sums(2.0)) for day in days), by=(By.DAY,))

    assert [line[:14] for line in shown(by_day, 80)[4:9]] == [
        "2026-11-06 Fri",
        "2026-11-07 Sat",
        "2026-11-08 Sun",
        "2026-11-09 Mon",
        "2026-11-10 Tue",
    ]
    assert shown(by_day, 80)[6] == "2026-11-08 Sun"


def test_days_too_far_apart_are_no_chart() -> None:
    days = [datetime.date(2020, 1, 1), datetime.date(2026, 1, 1)]
    by_day = usage(*(Line((day,), sums(2.0)) for day in days), by=(By.DAY,))

    assert len(shown(by_day, 80)) == 8


def test_a_day_is_said_once_and_never_cut() -> None:
    day = datetime.date(2026, 11, 6)
    lines = [Line((day, key), sums(2.0)) for key in ("a-rather-long-name", "b")]

    rows = shown(usage(*lines, by=(By.DAY, By.KEY)), 40)

    assert rows[4].startswith("2026-11-06  a-rath")
    assert rows[5].startswith("            b")


def test_footnotes_explain_what_is_missing() -> None:
    total = sums(2.0, unpriced=3, estimated=1)
    unpriced = Line(("a", "m"), sums(None, unpriced=3))
    rows = shown(usage(Line(("b", "m"), sums(2.0, estimated=1)), unpriced, total=total), 80)

    assert rows[4].split()[-2] == "$2.0000~"
    assert rows[5].split()[-1] == "unpriced"
    assert rows[-3].split()[-1] == "$2.0000+~"
    assert rows[-2:] == [
        "+ 3 rows have no price: add it to prices.toml",
        "~ 1 row has estimated numbers: the upstream reported none",
    ]


def test_where_nothing_has_a_price_bars_show_tokens() -> None:
    total = sums(None, unpriced=1)
    rows = shown(usage(Line(("a", "m"), total), total=total), 80)

    assert rows[2].endswith("tokens")
    assert "████" in rows[4]


@pytest.mark.parametrize(
    ("share", "bar"),
    [
        (0.0, ""),
        (0.001, "▏"),
        (0.5, "████"),
        (0.55, "████▍"),
        (0.999, "████████"),
        (1.0, "████████"),
    ],
)
def test_a_bar_is_true_to_an_eighth_and_little_is_not_nothing(share: float, bar: str) -> None:
    assert bar_of(share, 8) == bar


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)


@given(
    st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4),
    st.integers(60, 200),
    st.integers(0, 10**12),
)
def test_nothing_is_wider_than_the_terminal(
    groups: list[tuple[str, str]], width: int, dollars: int
) -> None:
    what = usage(*(Line(group, sums(dollars / 10**3)) for group in groups))

    assert lay_out(what, width).width <= width
    assert lay_out(what, width).bar in (0, *range(BAR_MIN, BAR_MAX + 1))
    assert max(cell_len(line) for line in shown(what, width)) <= width
