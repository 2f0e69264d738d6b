"""What was used, as text: the cells of a table, plain lines for a pipe, JSON for programs."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from relayd.core.money import usd_of
from relayd.ledger.report import By, Line, Sums

NOTHING: Final = "-"
"""What stands where a group has no name, or no time."""
NO_PRICE: Final = "unpriced"
SOME_UNPRICED: Final = "+"
SOME_ESTIMATED: Final = "~"
TOTAL: Final = "total"

_UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"
_THREE_DIGITS: Final = 99.95
_FOUR_DIGITS: Final = 999.5
_UNITS: Final = ("", "k", "M", "B", "T")
_CENTS_FROM_NANO: Final = 100 * 10**9
"""From a hundred dollars on, two decimals say enough."""


@attrs.frozen(kw_only=True)
class Usage:
    """What is to be shown.

    Attributes:
        by: What the lines are grouped by.
        lines: The groups, in order.
        total: All of them together.
        prices: The name of the file that prices belong into.
    """

    by: tuple[By, ...]
    lines: Sequence[Line]
    total: Sums
    prices: str

    def all_sums(self) -> Iterator[Sums]:
        """Those of every line, and the total."""
        yield from (line.sums for line in self.lines)
        yield self.total

    def money(self) -> Callable[[Sums], str]:
        """Renders costs, all with as many decimals and as much room for marks."""
        decimals = 2 if (self.total.cost_nano or 0) >= _CENTS_FROM_NANO else 4
        room = max(len(marks(sums)) for sums in self.all_sums())
        return lambda sums: dollars(sums.cost_nano, decimals) + marks(sums).ljust(room)

    def columns(self) -> list[Column]:
        """The columns of numbers that have something to say, in order."""
        money = Column("cost", self.money())
        return [*(column for column in _COLUMNS if column.is_needed(self.total)), money]

    def footnotes(self) -> list[str]:
        """What has to be known to read the costs."""
        notes = []
        if count := self.total.unpriced:
            notes.append(
                f"{SOME_UNPRICED} {rows(count)} no price: add it to {self.prices}"
                if self.total.cost_nano is not None
                else f"{rows(count)} no price: add it to {self.prices}"
            )
        if count := self.total.estimated:
            notes.append(
                f"{SOME_ESTIMATED} {rows(count)} estimated numbers: the upstream reported none"
            )
        return notes


@attrs.frozen
class Column:
    """One column of numbers.

    Attributes:
        title: Its head.
        cell: A group's sums as its text.
        is_needed: Whether it has something to say, by the total.
    """

    title: str
    cell: Callable[[Sums], str]
    is_needed: Callable[[Sums], bool] = lambda _: True


_COLUMNS: Final = (
    Column("sessions", lambda sums: f"{sums.sessions:,}"),
    Column("turns", lambda sums: f"{sums.turns:,}", lambda sums: sums.turns > 0),
    Column(
        "transcripts",
        lambda sums: f"{sums.transcriptions:,}",
        lambda sums: sums.transcriptions > 0,
    ),
    Column("in", lambda sums: human(sums.tokens_in)),
    Column(
        "cached", lambda sums: human(sums.tokens_in_cached), lambda sums: sums.tokens_in_cached > 0
    ),
    Column("out", lambda sums: human(sums.tokens_out)),
    Column("time", lambda sums: hours(sums.seconds), lambda sums: sums.seconds > 0),
)


def human(count: int) -> str:
    """A count in three digits or so: ``999``, ``1.2k``, ``34.5M``, ``678B``."""
    value, power = float(count), 0
    # What would be rounded to 1,000 belongs to the next unit.
    while value >= _FOUR_DIGITS and power < len(_UNITS) - 1:
        value, power = value / 1000, power + 1
    if not power:
        return str(count)
    return f"{value:.{1 if value < _THREE_DIGITS else 0}f}{_UNITS[power]}"


def hours(seconds: float) -> str:
    """A duration as hours, minutes and seconds: ``1:02:03``; nothing for none."""
    if not seconds:
        return NOTHING
    whole = math.ceil(seconds)
    return f"{whole // 3600:,}:{whole // 60 % 60:02}:{whole % 60:02}"


def dollars(nano: int | None, decimals: int) -> str:
    """Nano-dollars as dollars; what is too little to be shown says so."""
    if nano is None:
        return NO_PRICE
    least = 10 ** (9 - decimals)
    if 0 < nano < least // 2:
        return f"<${usd_of(least):f}"[: len("<$0.") + decimals]
    return f"${usd_of(nano):,.{decimals}f}"


def marks(sums: Sums) -> str:
    """Signs behind a cost that the footnotes explain."""
    is_partial = sums.unpriced > 0 and sums.cost_nano is not None
    return SOME_UNPRICED * is_partial + SOME_ESTIMATED * (sums.estimated > 0)


def rows(count: int) -> str:
    """``1 row has``, ``2 rows have``."""
    return "1 row has" if count == 1 else f"{count:,} rows have"


def name(value: str | datetime.date | None) -> str:
    """A group's name, safe to print: clients choose models and tags, terminals obey controls."""
    if value is None:
        return NOTHING
    return "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(value)
    )


def plain(usage: Usage) -> Iterator[str]:
    """Aligned text without any colour or bar, a line each."""
    columns = usage.columns()
    label = [TOTAL, *("" for _ in usage.by[1:])]
    table = [
        [*map(str, usage.by), *(column.title for column in columns)],
        *(
            [*map(name, line.group), *(column.cell(line.sums) for column in columns)]
            for line in usage.lines
        ),
        [*label, *(column.cell(usage.total) for column in columns)],
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    named = len(usage.by)
    for cells in table:
        aligned = [
            cell.ljust(width) if index < named else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        yield "  ".join(aligned).rstrip()
    yield from usage.footnotes()


def json_lines(usage: Usage) -> Iterator[str]:
    """One object a group. Keys are in a fixed order; only ASCII is used.

    ``cost_usd`` is a number with all its digits, or null where no row of the group has a price.
    """
    for line in usage.lines:
        fields = [
            (str(by), json.dumps(None if value is None else str(value)))
            for by, value in zip(usage.by, line.group, strict=True)
        ]
        for field, number in attrs.asdict(line.sums).items():
            if field == "cost_nano":
                fields.append(("cost_usd", _exactly(number)))
            elif field != "rows":
                fields.append((field, json.dumps(number)))
        yield "{" + ", ".join(f'"{field}": {value}' for field, value in fields) + "}"


def _exactly(nano: int | None) -> str:
    """Dollars as a JSON number, without an exponent and without zeros at the end."""
    if nano is None:
        return "null"
    whole, point, fraction = f"{usd_of(nano):f}".partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}{point}{fraction}" if fraction else whole
