"""Lists of things that run: a table on a terminal, aligned text in a pipe, JSON for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

import attrs
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relayd.service.admin.shapes import ENCODER, Shape

NOTHING: Final = "-"
"""What stands where there is no value."""

WIDTH_MIN: Final = 8
"""To this many characters a column may be cut where even dropping others is not enough."""

_GAP: Final = 2
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_ASCII_BOX: Final = box.Box(str(box.SIMPLE).replace("─", "-"), ascii=True)
"""As ``box.SIMPLE``, whose lines not every terminal can draw."""

T = TypeVar("T")


@attrs.frozen
class Column(Generic[T]):
    """One column.

    Attributes:
        title: Its head.
        cell: A row's text in it.
        rank: Where a table is too wide, the column with the highest goes first; 0 stays.
        right: Whether it is aligned to the right, as numbers are.
        style: How a row's text is coloured on a terminal.
        can_be_cut: Whether a part of its text is still of use.
    """

    title: str
    cell: Callable[[T], str]
    rank: int = 0
    right: bool = attrs.field(default=False, kw_only=True)
    style: Callable[[T], str] = attrs.field(default=lambda row: "", kw_only=True)
    can_be_cut: bool = attrs.field(default=False, kw_only=True)


def show(columns: Sequence[Column[T]], rows: Sequence[T], notes: Iterable[str] = ()) -> None:
    """Print ``rows`` for whoever reads standard output, and the notes after them."""
    if sys.stdout.isatty():
        print_table(Console(), columns, rows, notes)
    else:
        write_lines([*plain(columns, rows), *notes])


def plain(columns: Sequence[Column[T]], rows: Sequence[T]) -> Iterator[str]:
    """All columns as aligned text, a line each."""
    cells = [[column.title for column in columns], *_cells(columns, rows)]
    widths = [max(map(len, each)) for each in zip(*cells, strict=True)]
    for line in cells:
        aligned = (
            text.rjust(width) if column.right else text.ljust(width)
            for column, text, width in zip(columns, line, widths, strict=True)
        )
        yield "  ".join(aligned).rstrip()


def print_table(
    console: Console, columns: Sequence[Column[T]], rows: Sequence[T], notes: Iterable[str] = ()
) -> None:
    """Print a table as wide as the terminal at most, or wider where it would say nothing else."""
    laid_out = fitting(columns, rows, console.width)
    needed = sum(width + _GAP for _, width in laid_out) - _GAP
    console.width = max(console.width, needed)
    is_ascii = console.options.ascii_only
    lines = _ASCII_BOX if is_ascii else box.SIMPLE
    table = Table(box=lines, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, width in laid_out:
        table.add_column(
            Text(column.title),
            width=width,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="crop" if is_ascii else "ellipsis",
        )
    for row in rows:
        table.add_row(
            *(
                Text(drawable(column.cell(row), ascii_only=is_ascii), column.style(row))
                for column, _ in laid_out
            )
        )
    console.print(table, highlight=False)
    for note in notes:
        console.print(Text(drawable(note, ascii_only=is_ascii), "yellow"), highlight=False)


def fitting(
    columns: Sequence[Column[T]], rows: Sequence[T], width: int
) -> list[tuple[Column[T], int]]:
    """The columns that fit into ``width`` characters, each with its own."""
    cells = [[column.title for column in columns], *_cells(columns, rows)]
    laid_out = [
        (column, max(map(cell_len, texts)))
        for column, texts in zip(columns, zip(*cells, strict=True), strict=True)
    ]
    while (over := sum(each + _GAP for _, each in laid_out) - _GAP - width) > 0:
        least = max(laid_out, key=lambda each: each[0].rank)
        if least[0].rank:
            laid_out.remove(least)
            continue
        return _cut(laid_out, over)
    return laid_out


def _cut(laid_out: list[tuple[Column[T], int]], over: int) -> list[tuple[Column[T], int]]:
    """The same with ``over`` characters less, taken from the longest that can be cut."""
    widths = [width for _, width in laid_out]
    can_be_cut = [index for index, (column, _) in enumerate(laid_out) if column.can_be_cut]
    for _ in range(over):
        longest = max(can_be_cut, key=lambda index: widths[index], default=None)
        if longest is None or widths[longest] <= WIDTH_MIN:
            break
        widths[longest] -= 1
    return [(column, width) for (column, _), width in zip(laid_out, widths, strict=True)]


def _cells(columns: Sequence[Column[T]], rows: Sequence[T]) -> list[list[str]]:
    return [[printable(column.cell(row)) for column in columns] for row in rows]


# -- for programs


def write_objects(shapes: Iterable[Shape]) -> None:
    """One JSON object a line."""
    write_lines(ENCODER.encode(shape).decode() for shape in shapes)


def write_lines(lines: Iterable[str]) -> None:
    """Print ``lines`` as long as somebody reads them."""
    try:
        for line in lines:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and would complain.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


# -- cells


def printable(text: str) -> str:
    """``text`` without what acts on a terminal: clients choose names of models."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def drawable(text: str, *, ascii_only: bool) -> str:
    """``text`` as a terminal can draw it."""
    shown = printable(text)
    return shown.encode("ascii", "replace").decode() if ascii_only else shown


def or_nothing(value: object) -> str:
    """A value's text; a dash for none."""
    return NOTHING if value is None else str(value)


def duration(seconds: float) -> str:
    """A duration in two units: ``12s``, ``3m04s``, ``1h02m``, ``5d03h``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m{whole % _MINUTE_S:02}s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02}m"
    return f"{whole // _DAY_S}d{whole % _DAY_S // _HOUR_S:02}h"
