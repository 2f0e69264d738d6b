"""Tables that fit, text that aligns, cells that are safe to print."""

from __future__ import annotations

import io
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from relayd.cli.listing import (
    WIDTH_MIN,
    Column,
    duration,
    fitting,
    or_nothing,
    plain,
    print_table,
    printable,
    show,
    write_lines,
)

COLUMNS = (
    Column[str]("name", lambda row: row, can_be_cut=True),
    Column[str]("length", lambda row: str(len(row)), right=True),
    Column[str]("upper", str.upper, 1, can_be_cut=True),
    Column[str]("twice", lambda row: row * 2, 2),
)


def test_plain_text_is_aligned_and_has_all_columns() -> None:
    assert list(plain(COLUMNS, ["a", "bcd"])) == [
        "name  length  upper  twice",
        "a          1  A      aa",
        "bcd        3  BCD    bcdbcd",
    ]


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (100, ["name", "length", "upper", "twice"]),
        (27, ["name", "length", "upper", "twice"]),
        (26, ["name", "length", "upper"]),
        (19, ["name", "length", "upper"]),
        (18, ["name", "length"]),
        (1, ["name", "length"]),
    ],
)
def test_what_matters_least_goes_first(width: int, titles: list[str]) -> None:
    assert [column.title for column, _ in fitting(COLUMNS, ["a", "bcd"], width)] == titles


@given(st.lists(st.text(max_size=40), max_size=5), st.integers(1, 200))
def test_a_table_fits_unless_even_the_least_does_not(rows: list[str], width: int) -> None:
    laid_out = fitting(COLUMNS, rows, width)

    needed = sum(each for _, each in laid_out) + 2 * (len(laid_out) - 1)
    assert needed <= width or {column.title: each for column, each in laid_out}["name"] <= max(
        WIDTH_MIN, len("name")
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_table_is_as_wide_as_the_terminal_at_most(encoding: str) -> None:
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding=encoding)
    console = Console(file=file, width=20, force_terminal=False)

    print_table(console, COLUMNS, ["x" * 50, "y"], ["a note"])

    file.flush()
    lines = buffer.getvalue().decode(encoding).splitlines()
    assert max(map(len, lines)) <= 20
    assert lines[-1] == "a note"
    assert ("─" in lines[1]) is (encoding == "utf-8")


def test_a_row_that_cannot_be_cut_makes_the_table_wider() -> None:
    file = io.StringIO()

    print_table(Console(file=file, width=5), COLUMNS[1:2], ["x" * 30])

    assert "length" in file.getvalue()


def test_notes_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    show(COLUMNS[:1], ["a"], ["one", "two"])

    assert capsys.readouterr().out == "name\na\none\ntwo\n"


@given(st.text())
def test_nothing_that_acts_on_a_terminal_is_printed(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86_399, "23h59m"),
        (86_400 * 5 + 3600 * 3, "5d03h"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_no_value_is_a_dash() -> None:
    assert (or_nothing(None), or_nothing(0)) == ("-", "0")


def test_a_reader_may_have_seen_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)

        write_lines(["x" * 100] * 2000)

        # What is left in its buffer goes where nobody complains about it.
        assert os.path.samestat(os.fstat(pipe.fileno()), os.stat(os.devnull))
