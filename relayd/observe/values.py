"""Any value as one that a log line can hold: plain, bounded, and without a secret.

A log call must never fail on what it is given, and never say more than it should: values are
reduced to the types JSON knows, bounded in size and depth, and hidden where their name says that
they hold a key.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import Final, TypeAlias, cast

import msgspec

from relayd.core.redact import SECRET_HEADERS, redact
from relayd.observe.tracebacks import describe_error, render_traceback

TEXT_MAX: Final = 2048
"""Characters shown of one text."""

TRACEBACK_MAX: Final = 16 * 1024
"""Characters shown of one traceback."""

ITEMS_MAX: Final = 64
"""Items shown of one list or mapping."""

DEPTH_MAX: Final = 4
"""Lists and mappings inside each other, before only their type is shown."""

DIGITS_MAX: Final = 64
"""Digits shown of one decimal number, before and after its point together."""

HIDDEN: Final = "[redacted]"

SECRET_NAMES: Final = SECRET_HEADERS | {"secret", "password", "token", "admin-token", "private-key"}
"""Names of fields and headers, in their header spelling, whose values are never shown."""

_FREE_TEXT: Final = frozenset({"message", "traceback"})
"""Fields that may quote a peer: what looks like a key is taken out of their text."""

_INT_BITS_MAX: Final = 63
_INT_LIMIT: Final = 1 << _INT_BITS_MAX
_ASCII_CONTROLS: Final = "".join(map(chr, range(0x20)))

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
"""What JSON knows. A decimal number is there too, as a :class:`msgspec.Raw` of its digits."""


def plain_fields(fields: Mapping[str, object]) -> dict[str, Plain]:
    """The fields as a line may show them. Raises nothing."""
    shown: dict[str, Plain] = {}
    for name, value in fields.items():
        # Nearly all fields of nearly all lines are plain already: a call for each would cost as
        # much as all the rest of the line.
        if (
            value is None
            or type(value) is bool
            or type(value) is float
            or (type(value) is int and -_INT_LIMIT < value < _INT_LIMIT)
            or (type(value) is str and len(value) <= TEXT_MAX and value.isprintable())
        ) and not _is_guarded(name):
            shown[name] = value
        else:
            shown[name] = plain_field(name, value)
    return shown


def plain_field(name: str, value: object) -> Plain:
    """The value of field ``name`` as a line may show it. Raises nothing."""
    if _is_secret(name):
        return None if value is None else HIDDEN
    if name == "traceback" and isinstance(value, BaseException):
        return _bounded(render_traceback(value), TRACEBACK_MAX)
    plain = plain_value(value)
    if name in _FREE_TEXT and isinstance(plain, str):
        return redact(plain)
    return plain


def plain_value(value: object, *, depth_left: int = DEPTH_MAX) -> Plain:
    """``value`` reduced to what JSON knows. An unknown type shows its name, never its repr."""
    match value:
        case bool() | float() | None:
            return value
        case enum.Enum():
            return plain_value(value.value, depth_left=depth_left)
        case int():
            return value if value.bit_length() <= _INT_BITS_MAX else f"<{value.bit_length()} bits>"
        case Decimal():
            return _plain_decimal(value)
        case str() | bytes() | bytearray() | PurePath() | BaseException():
            return _bounded(_text_of(value), TEXT_MAX)
        case Mapping() if depth_left:
            return _plain_mapping(value.items(), depth_left - 1)
        case list() | tuple() | set() | frozenset() if depth_left:
            return _plain_list(value, depth_left - 1)
        case _:
            return f"<{type(value).__name__}>"


def _plain_decimal(value: Decimal) -> Plain:
    """``value`` in plain digits: an exponent, as in 7.0E-8, is what few readers of logs expect."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        return None  # infinite, or no number
    digits = max(value.adjusted() + 1, 0) + max(-exponent, 0)
    if digits > DIGITS_MAX:
        return f"<{digits} digits>"
    # The encoder writes it as it stands. To a type checker it is bytes, which no line holds.
    return cast("Plain", msgspec.Raw(f"{value:f}".encode()))


def _text_of(value: str | bytes | bytearray | PurePath | BaseException) -> str:
    match value:
        case str():
            return value
        case bytes() | bytearray():
            return bytes(value[: TEXT_MAX + 1]).decode("utf-8", "backslashreplace")
        case PurePath():
            return str(value)
        case BaseException():
            return describe_error(value)


def _plain_mapping(items: Iterable[tuple[object, object]], depth_left: int) -> dict[str, Plain]:
    shown: dict[str, Plain] = {}
    for key, value in islice(items, ITEMS_MAX):
        name = _name_of(key)
        shown[name] = HIDDEN if _is_secret(name) else plain_value(value, depth_left=depth_left)
    return shown


def _name_of(key: object) -> str:
    return _bounded(str(key), TEXT_MAX) if isinstance(key, Decimal) else str(plain_value(key))


def _plain_list(items: Iterable[object], depth_left: int) -> list[Plain]:
    return [_plain_item(item, depth_left) for item in islice(items, ITEMS_MAX)]


def _plain_item(item: object, depth_left: int) -> Plain:
    """An item of a list, which may be one pair of a list of headers."""
    match item:
        case (str() | bytes() as name, _) if _is_secret(str(plain_value(name))):
            return [plain_value(name), HIDDEN]
        case _:
            return plain_value(item, depth_left=depth_left)


@lru_cache(maxsize=256)  # nearly all names are those of the event table
def _is_guarded(name: str) -> bool:
    return name in _FREE_TEXT or _is_secret(name)


def _is_secret(name: str) -> bool:
    return name.lower().replace("_", "-") in SECRET_NAMES


def printable(text: str, *, kept: str = "") -> str:
    """``text`` with escapes for what would move, colour, hide or reorder text on a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in kept
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _bounded(text: str, characters_max: int) -> str:
    """``text`` cut to a length, without what UTF-8, a terminal or a line reader stumbles over.

    Lone surrogates cannot be encoded; U+0085, U+2028 and U+2029 end a line for some readers. The
    ASCII control characters stay, because JSON and the console format escape them.
    """
    if len(text) > characters_max:
        text = text[:characters_max] + "…"
    return printable(text, kept=_ASCII_CONTROLS)
