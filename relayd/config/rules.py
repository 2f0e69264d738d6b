"""Rules: how one setting is read from TOML, and what the documentation calls its kind.

Types are strict: text is no number and ``true`` is no 1; only an integer is taken for a number.
A rule returns the value relayd works with, or raises :class:`~relayd.config.mistakes.Wrong`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import attrs

from relayd.config.mistakes import Mistake, Unavailable, Wrong, found, key_path, kind_of, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relayd.config.files import Surroundings

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
K = TypeVar("K")

SECONDS_MAX: Final = 31_536_000.0
"""A year. Longer is a slip of units."""
TEXT_MAX_CHARS: Final = 1024
LIST_MAX: Final = 4096
"""Items of a list or table of texts: far above any use, below what would slow a session down."""


class Rule(Protocol[T_co]):
    """How one setting is read."""

    @property
    def kind(self) -> str:
        """What is expected, for messages and the documentation: "an integer of at least 1"."""

    def read(self, value: object, around: Surroundings) -> T_co:
        """The value for relayd. Raises :class:`Wrong`."""


@attrs.frozen
class Flag:
    """``true`` or ``false``."""

    kind: str = attrs.field(default="true or false", init=False)

    def read(self, value: object, around: Surroundings) -> bool:
        """The boolean."""
        if isinstance(value, bool):
            return value
        raise expected(self.kind, value)


@attrs.frozen
class Integer:
    """An integer between two bounds, both included."""

    least: int
    most: int

    @property
    def kind(self) -> str:
        """The upper bound is a safeguard; only the lower one carries meaning."""
        return f"an integer of at least {self.least}"

    def read(self, value: object, around: Surroundings) -> int:
        """The integer."""
        if isinstance(value, bool) or not isinstance(value, int) or value < self.least:
            raise expected(self.kind, value)
        if value > self.most:
            raise expected(f"an integer of at most {self.most}", value)
        return value


@attrs.frozen
class Seconds:
    """A duration: a finite number of seconds, above zero unless zero has a meaning."""

    zero: bool = False

    @property
    def kind(self) -> str:
        """What is expected."""
        return "a number of seconds, 0 or more" if self.zero else "a number of seconds above 0"

    def read(self, value: object, around: Surroundings) -> float:
        """The duration as a float."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise expected(self.kind, value)
        if not (value > 0 or (self.zero and value == 0)):  # nor is nan
            raise expected(self.kind, value)
        if value > SECONDS_MAX:
            raise expected(f"at most {SECONDS_MAX:.0f} seconds, which is a year", value)
        return float(value)


@attrs.frozen
class Word:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The words themselves."""
        return "one of " + ", ".join(f'"{word}"' for word in self.words)

    def read(self, value: object, around: Surroundings) -> str:
        """The word."""
        if isinstance(value, str) and value in self.words:
            return value
        raise expected(self.kind, value, hint=nearest(value, self.words))


@attrs.frozen
class Text:
    """Text that a function checks.

    Attributes:
        kind: What is expected.
        check: Returns what is wrong with a text, ``None`` if nothing is.
    """

    kind: str
    check: Callable[[str], str | None]

    def read(self, value: object, around: Surroundings) -> str:
        """The text as it stands."""
        if not isinstance(value, str):
            raise expected(self.kind, value)
        if mistake := self.check(value):
            raise Wrong.because(mistake)
        return value


@attrs.frozen
class Items(Generic[T_co]):
    """A list, every item under the same rule.

    Attributes:
        kind: What is expected.
        item: The rule of each item.
        when_empty: What to say about an empty list; ``None`` if it is fine.
    """

    kind: str
    item: Rule[T_co]
    when_empty: str | None = None

    def read(self, value: object, around: Surroundings) -> tuple[T_co, ...]:
        """The items, in order."""
        if isinstance(value, str):
            raise expected(self.kind, value, hint="write it in brackets")
        if not isinstance(value, list):
            raise expected(self.kind, value)
        if not value and self.when_empty:
            raise Wrong.because(self.when_empty)
        if len(value) > LIST_MAX:
            raise Wrong.because(f"expected at most {LIST_MAX} items, found {len(value)}")
        return tuple(_each(enumerate(value), lambda index: f"[{index}]", self.item, around))


@attrs.frozen
class Pairs:
    """A table of names and texts.

    Attributes:
        kind: What is expected.
        check_name: Returns what is wrong with a name, ``None`` if nothing is.
        item: The rule of each text.
    """

    kind: str
    check_name: Callable[[str], str | None]
    item: Rule[str]

    def read(self, value: object, around: Surroundings) -> Mapping[str, str]:
        """The pairs, in order, as a read-only mapping."""
        if not isinstance(value, dict):
            raise expected(self.kind, value)
        if len(value) > LIST_MAX:
            raise Wrong.because(f"expected at most {LIST_MAX} entries, found {len(value)}")
        wrong_names = [
            Mistake(key_path(name), mistake) for name in value if (mistake := self.check_name(name))
        ]
        if wrong_names:
            raise Wrong(*wrong_names)
        texts = _each(value.items(), key_path, self.item, around)
        return MappingProxyType(dict(zip(value, texts, strict=True)))


def expected(kind: str, value: object, *, hint: str = "") -> Wrong:
    """The refusal of a value that is no secret, with what was found."""
    return Wrong.because(f"expected {kind}, found {found(value)}" + (f"; {hint}" if hint else ""))


def expected_unseen(kind: str, value: object) -> Wrong:
    """The refusal of a value that may be a secret: only its kind is told."""
    return Wrong.because(f"expected {kind}, found {kind_of(value)}")


def nearest(value: object, words: tuple[str, ...]) -> str:
    """ "did you mean …?" for a slip of the keyboard, else nothing."""
    if not isinstance(value, str):
        return ""
    close = difflib.get_close_matches(value[:TEXT_MAX_CHARS].lower(), words, n=1)
    return f"did you mean {quoted(close[0])}?" if close else ""


def _each(
    items: Iterable[tuple[K, object]],
    step: Callable[[K], str],
    rule: Rule[T],
    around: Surroundings,
) -> list[T]:
    """Every item read, or one :class:`Wrong` with the mistakes of all of them."""
    values, refusals = list[T](), list[Wrong]()
    for key, item in items:
        try:
            values.append(rule.read(item, around))
        except Wrong as wrong:
            refusals.append(wrong.under(step(key)))
    if refusals:
        unavailable = all(isinstance(refusal, Unavailable) for refusal in refusals)
        mistakes = (mistake for refusal in refusals for mistake in refusal.mistakes)
        raise (Unavailable if unavailable else Wrong)(*mistakes)
    return values
