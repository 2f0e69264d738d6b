"""What was used, as a table for a terminal, with a bar for each group's share."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Final

import attrs
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relayd.cli.usage_lines import NO_PRICE, TOTAL, Column, Usage, name
from relayd.ledger.report import NO_USE, By, Line

BAR_MIN: Final = 6
BAR_MAX: Final = 32
NAME_MAX: Final = 32
NAME_MIN: Final = 8
DATE_WIDTH: Final = len("2026-11-01")
CHART_DAYS_MAX: Final = 400
"""Over more days than these, those on which nothing was used are left out."""

_ONE_DAY: Final = datetime.timedelta(days=1)
_GAP: Final = 2
_BAR: Final = "bar"
_WEEKDAY: Final = "weekday"
_LEAST_IMPORTANT_FIRST: Final = (
    "sessions",
    "transcripts",
    _WEEKDAY,
    "cached",
    "time",
    _BAR,
    "turns",
)
"""What is dropped, in this order, until the rest fits."""
_ASCII_BOX: Final = box.Box(str(box.SIMPLE).replace("─", "-"), ascii=True)
"""As ``box.SIMPLE``, whose lines not every terminal can draw."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


@attrs.frozen
class Layout:
    """What of a table fits.

    Attributes:
        names: Widths of the columns that groups are named in.
        columns: The columns of numbers, each with its width.
        bar: The width of the bar; 0 for none.
        width: That of the whole table.
    """

    names: tuple[int, ...]
    columns: tuple[tuple[Column, int], ...]
    bar: int
    width: int


def print_table(console: Console, usage: Usage, title: str) -> None:
    """Print the table, its title and its footnotes, as wide as the terminal at most.

    Only where not even the numbers fit it is wider: one that is cut is a wrong number, so that
    the terminal had better break the line.
    """
    layout = lay_out(usage, console.width)
    console.width = max(console.width, layout.width)
    is_ascii = console.options.ascii_only
    share = _Share.of(usage)
    table = _head_and_foot(usage, layout, share, _ASCII_BOX if is_ascii else box.SIMPLE)
    previous: Line | None = None
    for line in _with_empty_days(usage):
        bar = [Text(bar_of(share.of_line(line), layout.bar, ascii_only=is_ascii), "cyan")]
        table.add_row(
            *_names(usage, layout, line, previous),
            *(_number(column, line) for column, _ in layout.columns),
            *(bar if layout.bar else []),
        )
        previous = line
    console.print(Text(title, "bold"), "", table, sep="\n", highlight=False)
    for note in usage.footnotes():
        console.print(Text(note, "yellow"))


def _head_and_foot(usage: Usage, layout: Layout, share: _Share, lines: box.Box) -> Table:
    table = Table(
        box=lines, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), show_footer=True
    )
    for index, (by, width) in enumerate(zip(usage.by, layout.names, strict=True)):
        label = Text(TOTAL if index == 0 else "", "bold")
        table.add_column(Text(by), label, width=width, no_wrap=True, overflow="ellipsis")
    for column, width in layout.columns:
        total = Text(column.cell(usage.total), "bold")
        table.add_column(Text(column.title), total, width=width, justify="right", no_wrap=True)
    if layout.bar:
        table.add_column(Text(share.title), width=layout.bar, no_wrap=True)
    return table


def lay_out(usage: Usage, width: int) -> Layout:
    """What of the table fits into ``width`` characters.

    What matters least is dropped first; names are cut only where that is not enough.
    """
    columns = [
        (column, max(len(column.title), *(len(column.cell(sums)) for sums in usage.all_sums())))
        for column in usage.columns()
    ]
    names = [_natural_width(usage, index) for index in range(len(usage.by))]
    bar = BAR_MIN
    for least in _LEAST_IMPORTANT_FIRST:
        if _width(names, columns, bar) <= width:
            break
        bar = 0 if least == _BAR else bar
        if least == _WEEKDAY:
            names = [
                DATE_WIDTH if by is By.DAY else name_width
                for by, name_width in zip(usage.by, names, strict=True)
            ]
        columns = [each for each in columns if each[0].title != least]
    names = _shortened(names, usage.by, _width(names, columns, bar) - width)
    if bar:
        bar = min(BAR_MAX, bar + width - _width(names, columns, bar))
    return Layout(tuple(names), tuple(columns), bar, _width(names, columns, bar))


def _shortened(names: list[int], by: Sequence[By], over: int) -> list[int]:
    """``names`` with ``over`` characters less, each taken from the longest; a date is never cut."""
    shorter = list(names)
    cut = [index for index, each in enumerate(by) if each is not By.DAY]
    for _ in range(over):
        longest = max(cut, key=lambda index: shorter[index], default=None)
        if longest is None or shorter[longest] <= NAME_MIN:
            break
        shorter[longest] -= 1
    return shorter


def _natural_width(usage: Usage, index: int) -> int:
    widths = (cell_len(_name(line, index)) for line in usage.lines)
    return min(NAME_MAX, max(len(usage.by[index]), len(TOTAL), *widths))


def bar_of(share: float, width: int, *, ascii_only: bool = False) -> str:
    """A bar that fills ``share`` of ``width`` characters, to an eighth of one."""
    if ascii_only:
        return "#" * round(share * width)
    whole, eighths = divmod(round(share * width * 8), 8)
    if share > 0 and not whole:
        eighths = max(eighths, 1)  # little is not nothing
    return "█" * whole + _EIGHTHS[eighths].strip()


@attrs.frozen
class _Share:
    """What bars are long by: cost, or tokens where nothing has a cost.

    Attributes:
        title: The head of their column.
        largest: The longest bar's amount.
    """

    title: str
    largest: int

    @classmethod
    def of(cls, usage: Usage) -> _Share:
        costs = [line.sums.cost_nano for line in usage.lines if line.sums.cost_nano]
        if costs:
            return cls("", max(costs))
        tokens = (line.sums.tokens_in + line.sums.tokens_out for line in usage.lines)
        return cls("tokens", max(tokens, default=0))

    def of_line(self, line: Line) -> float:
        """From 0 to 1."""
        sums = line.sums
        amount = sums.tokens_in + sums.tokens_out if self.title else sums.cost_nano or 0
        return amount / self.largest if self.largest else 0.0


def _width(names: list[int], columns: list[tuple[Column, int]], bar: int) -> int:
    widths = [*names, *(width for _, width in columns), *([bar] if bar else [])]
    return sum(widths) + _GAP * (len(widths) - 1)


def _name(line: Line, index: int, width: int = NAME_MAX) -> str:
    """The group's name; of a day also which one of the week it is, where there is room."""
    value = line.group[index]
    if isinstance(value, datetime.date):
        with_weekday = f"{value} {value:%a}"
        return with_weekday if len(with_weekday) <= width else str(value)
    return name(value)


def _names(usage: Usage, layout: Layout, line: Line, previous: Line | None) -> Iterator[Text]:
    """The group's names; a day that stands first is said once for all of its lines."""
    for index, (by, width) in enumerate(zip(usage.by, layout.names, strict=True)):
        is_repeated = previous is not None and previous.group[0] == line.group[0]
        if index == 0 and by is By.DAY and is_repeated:
            yield Text("")
        else:
            yield Text(_name(line, index, width), "dim" if line.group[index] is None else "")


def _number(column: Column, line: Line) -> Text:
    if not line.sums.rows:
        return Text("")
    text = column.cell(line.sums)
    if column.title != "cost":
        return Text(text)
    return Text(text, "yellow" if text.startswith(NO_PRICE) else "green")


def _with_empty_days(usage: Usage) -> Iterator[Line]:
    """The lines; by day alone also the days between on which nothing was used."""
    days = [day for line in usage.lines if isinstance(day := line.group[0], datetime.date)]
    if usage.by != (By.DAY,) or not days or (days[-1] - days[0]).days > CHART_DAYS_MAX:
        yield from usage.lines
        return
    day = days[0]
    for line, used in zip(usage.lines, days, strict=True):
        while day < used:
            yield Line((day,), NO_USE)
            day += _ONE_DAY
        yield line
        day += _ONE_DAY
