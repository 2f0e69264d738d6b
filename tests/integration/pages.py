"""The code blocks of a page, and what is to be done with each.

The language of a fence says it. ``python``, ``js`` and ``sh`` are programs, ``console`` is what a
terminal shows: commands behind ``$``, each with its output. A fence without a language, right
below a program, is what that program prints; ``…`` in it stands for anything. A comment on the
line above a fence, which no reader of the page sees, says more::

    <!-- file: NAME -->         what that file holds when the blocks below it run
    <!-- add to: NAME -->       lines at the end of that file
    <!-- name: NAME -->         how a test calls this block
    <!-- not run: REASON -->    the only way for a program to go untested
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

DOCS: Final = Path(__file__).parents[2] / "docs"
PROGRAMS: Final = frozenset({"python", "js", "sh", "console"})
ANYTHING: Final = "…"

_FENCE: Final = re.compile(r"```(\w*)")
_HEADING: Final = re.compile(r"#+ (.+)")
_COMMENT: Final = re.compile(r"<!-- (?P<word>file|add to|name|not run): (?P<value>.+) -->")


class Use(enum.StrEnum):
    """What is done with a block."""

    RUN = "run"
    OUTPUT = "output"
    FILE = "file"
    ADD = "add to"
    NOT_RUN = "not run"
    SHOWN = "shown"


@attrs.frozen(kw_only=True)
class Block:
    """One fenced block of a page.

    Attributes:
        line: Of its opening fence, from 1.
        name: Of the file, where it is one; else its own, made from its heading where it has none.
        text: Every line with its end.
        output: What the page shows below it as its output.
    """

    line: int
    language: str
    use: Use
    name: str
    text: str
    output: str | None = None


@attrs.frozen
class Command:
    """One command of a ``console`` block, and what it prints there."""

    text: str
    output: str


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page in ``docs``, in order; outputs stand with what prints them.

    Raises:
        ValueError: A fence is not closed, or has no language and stands below no program.
    """
    blocks: list[Block] = []
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    for block, gap in _fenced(page, lines):
        if block.use is not Use.OUTPUT:
            blocks.append(block)
        elif not blocks or gap > 1 or blocks[-1].use is not Use.RUN:
            raise ValueError(f"{page}:{block.line}: a fence without a language below no program")
        else:
            blocks[-1] = attrs.evolve(blocks[-1], output=block.text)
    return blocks


def commands_of(text: str) -> list[Command]:
    """The commands of a ``console`` block; one goes on where its line ends in a backslash."""
    commands: list[Command] = []
    continued = False
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ "), ""))
        elif continued:
            commands[-1] = attrs.evolve(commands[-1], text=commands[-1].text + line)
        else:
            commands[-1] = attrs.evolve(commands[-1], output=commands[-1].output + line)
        continued = line.endswith("\\\n") and (continued or line.startswith("$ "))
    return commands


def is_as_shown(printed: str, shown: str) -> bool:
    """Whether ``printed`` is what a page shows, but for what its ellipses leave out."""
    pattern = ".*".join(map(re.escape, shown.strip().split(ANYTHING)))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def headings_of(page: str) -> list[str]:
    """The headings of a page, without their marks, in order."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [found[1] for line in lines if (found := _HEADING.fullmatch(line))]


def table_below(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head.

    Raises:
        ValueError: There is no such heading, or no table below it.
    """
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    rows: list[str] = []
    for line in lines[lines.index(heading) + 1 :]:
        if line.startswith("|"):
            rows.append(line)
        elif rows or line.startswith("#"):
            break
    if not rows:
        raise ValueError(f"{page}: there is no table below {heading}")
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def _fenced(page: str, lines: Sequence[str]) -> Iterator[tuple[Block, int]]:
    """Each block, and how many lines are between it and the one before."""
    opened: int | None = None
    closed = 0
    heading, count = "", 0
    for index, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if opened is not None:
            if line == "```":
                count += 1
                text = "".join(f"{each}\n" for each in lines[opened + 1 : index])
                yield _block(lines, opened, text, f"{heading} {count}"), opened - closed - 1
                opened, closed = None, index
        elif fence is not None:
            opened = index
        elif (found := _HEADING.fullmatch(line)) is not None:
            heading, count = found[1], 0
    if opened is not None:
        raise ValueError(f"{page}:{opened + 1}: this block is not closed")


def _block(lines: Sequence[str], opened: int, text: str, default_name: str) -> Block:
    language = lines[opened].removeprefix("```")
    comment = _COMMENT.fullmatch(lines[opened - 1]) if opened else None
    use = Use.SHOWN if language else Use.OUTPUT
    if language in PROGRAMS:
        use = Use.RUN
    if comment is not None and comment["word"] != "name":
        use = Use(comment["word"])
    name = comment["value"] if comment is not None and use is not Use.NOT_RUN else default_name
    return Block(line=opened + 1, language=language, use=use, name=name, text=text)
