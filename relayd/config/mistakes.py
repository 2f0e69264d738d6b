"""What is wrong with a configuration, in words an operator can act on.

A message names the cause and, where there is one, the remedy. It never holds a secret: rules for
secrets speak of kinds and lengths only, and what other rules quote is shortened and redacted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self

import attrs

from relayd.core.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable

_QUOTED_MAX: Final = 60
"""Characters of the file that a message repeats: enough to find the place."""

_PATH_MAX: Final = 200
"""Characters of a file's path that a message repeats."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_INTEGER_MAX: Final = 10**18
"""Longer integers are not printed: Python refuses to render very long ones."""


@attrs.frozen
class Mistake:
    """One thing to correct.

    Attributes:
        path: Where, as in ``accounts[1].weight``. Empty: the file as a whole.
        message: The cause and the remedy, without any secret.
        file: The file it is in, where that is not the configuration itself.
    """

    path: str
    message: str
    file: str | None = None

    def under(self, parent: str) -> Mistake:
        """The same mistake, seen from the table or list that holds it."""
        return attrs.evolve(self, path=join(parent, self.path))

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(Exception):
    """A configuration that cannot be used, with every mistake that was found in it."""

    def __init__(self, file: str, mistakes: Iterable[Mistake]) -> None:
        """Keep ``file`` as the operator named it, since every line starts with it."""
        self.file = file
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line a mistake: ``relayd.toml: accounts[1].weight: expected …``."""
        return [f"{mistake.file or self.file}: {mistake}" for mistake in self.mistakes]


class Wrong(ValueError):
    """A value that a rule refuses, with one mistake or several (of a list's items)."""

    def __init__(self, *mistakes: Mistake) -> None:
        """Take mistakes whose paths are relative to the value."""
        super().__init__(*map(str, mistakes))
        self.mistakes = mistakes

    @classmethod
    def because(cls, message: str) -> Self:
        """The value itself is wrong."""
        return cls(Mistake("", message))

    def under(self, parent: str) -> Self:
        """The same refusal, seen from the table or list that holds the value."""
        return type(self)(*(mistake.under(parent) for mistake in self.mistakes))


class Unavailable(Wrong):
    """The value is well formed, but what it points to outside the file is not there.

    What is disabled may point to things that do not exist yet, or no longer.
    """


def join(parent: str, child: str) -> str:
    """The path of ``child`` inside ``parent``; items of lists are written ``[1]``."""
    if not parent or not child:
        return parent or child
    return f"{parent}{child}" if child.startswith("[") else f"{parent}.{child}"


def key_path(key: str) -> str:
    """A TOML key as one step of a path: bare where it can be, quoted and shortened elsewhere."""
    shown = redact(key)
    return shown if _BARE_KEY.fullmatch(shown) and len(shown) <= _QUOTED_MAX else quoted(key)


def quoted(text: str) -> str:
    """``text`` in quotes, redacted and shortened, with no control characters."""
    shown = redact(text)
    if len(shown) > _QUOTED_MAX:
        shown = shown[:_QUOTED_MAX] + "…"
    return _in_quotes(shown)


def path_shown(path: str) -> str:
    """A file's path in quotes, whole as far as possible: its end says most."""
    cut = path if len(path) <= _PATH_MAX else "…" + path[-_PATH_MAX:]
    return _in_quotes(cut)


def found(value: object) -> str:
    """What stands in the file, for the end of a message. Not for values that may be secrets."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case int() if abs(value) >= _SHOWN_INTEGER_MAX:
            return "a much larger integer" if value > 0 else "a much smaller integer"
        case int() | float():
            return str(value)
        case _:
            return kind_of(value)


def kind_of(value: object) -> str:
    """The kind of a TOML value, without the value."""
    match value:
        case bool():
            return "a boolean"
        case str():
            return "text"
        case int():
            return "an integer"
        case float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def _in_quotes(text: str) -> str:
    """``text`` as TOML would write it: on one line, and with nothing that acts on a terminal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{"".join(map(_printable, escaped))}"'


def _printable(character: str) -> str:
    return character if character.isprintable() else f"\\U{ord(character):08x}"
