"""The type of a client's JSON message, exactly: no spelling, order or doubling hides it.

A byte search would not do: ``"response\\u002ecreate"`` is a type, a type may be the last key, and
of two types one parser takes the first and another the last. So a message is decoded, and one
with two top-level ``type`` keys is refused whatever they say.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from relayd.core.endings import Reason
from relayd.protocol.outcomes import Violation

TOKENS_MAX: Final = 65_536
"""Structural characters and strings looked at in one message; each costs a step of Python."""

_KEY: Final = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*"(?:[^"\\]|\\.)*+"[ \t\r\n]*:[ \t\r\n]*')
_STRUCTURE: Final = re.compile(rb'["{}\[\],:]')
_CHARACTERS: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_KEY_MAX_BYTES: Final = 24  # '\u0074\u0079\u0070\u0065', the longest way to write "type"


class NotAnEvent(ValueError):
    """Not a JSON object with a string ``type``; the text says which, for the sender."""


class DuplicateType(ValueError):
    """Two top-level ``type`` keys."""


class _Typed(msgspec.Struct):
    type: str


_decode_typed: Final = msgspec.json.Decoder(_Typed).decode
_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode_type(payload: bytes) -> str:
    """The top-level ``type`` of one whole message.

    Raises:
        NotAnEvent: It has none that is a string, or it is no JSON object.
        DuplicateType: It has two.
    """
    try:
        kind = _last_type(payload)
        # A second key is spelled like the first, or with an escape.
        if payload.count(b'"type"') > 1 or b"\\u" in payload:
            _refuse_two_types(payload)
    except msgspec.DecodeError as error:
        raise NotAnEvent(f"the message is not JSON: {error}") from None
    except RecursionError:
        raise NotAnEvent("the message is nested too deeply") from None
    if isinstance(kind, msgspec.ValidationError):
        raise NotAnEvent(f"the message is no event: {kind}")
    return kind


def _last_type(payload: bytes) -> str | msgspec.ValidationError:
    """The type that a parser takes; of two the last, unless one before it is no string."""
    try:
        return _decode_typed(payload).type
    except msgspec.ValidationError as error:
        return error


def _refuse_two_types(payload: bytes) -> None:
    if unique_fields(payload) is not None:
        return
    watch = TypeWatch(inside=False)
    wrong = watch.feed(payload)
    if watch.types > 1:
        raise DuplicateType("the message has two top-level types")
    if wrong is not None:
        raise NotAnEvent(wrong.message)


def unique_fields(payload: bytes) -> dict[str, msgspec.Raw] | None:
    """The fields of one JSON object; ``None`` where a key is doubled, or they are too many.

    The decoded fields hold each key once. As long as every field stands exactly where the one
    before it ended, nothing was lost in decoding.

    Raises:
        msgspec.DecodeError: It is no JSON object.
        RecursionError: It is nested too deeply.
    """
    if payload.count(b":") > TOKENS_MAX:
        return None  # a field takes a hundred times its bytes once it is decoded
    fields = _decode_fields(payload)
    pos = 0
    for value in fields.values():
        raw = memoryview(value)
        key = _KEY.match(payload, pos)
        if key is None or payload[key.end() : key.end() + len(raw)] != raw:
            return None
        pos = key.end() + len(raw)
    return fields if payload[pos:].strip(b" \t\r\n{") == b"}" else None


class TypeWatch:
    """Counts top-level ``type`` keys in a JSON object that arrives in pieces.

    Args:
        inside: ``False`` for a whole object; ``True`` for the rest of one, behind the value of
            its ``type``.

    Attributes:
        types: ``type`` keys seen at the top level.
    """

    __slots__ = ("_depth", "_escaped", "_in_string", "_key", "_key_next", "_tokens", "types")

    def __init__(self, *, inside: bool) -> None:
        self.types = int(inside)
        self._depth = int(inside)
        self._key_next = False
        self._key: bytearray | None = None  # the key being read
        self._in_string = False
        self._escaped = False  # the piece before ended in an odd number of backslashes
        self._tokens = 0

    def feed(self, piece: bytes) -> Violation | None:
        """Look at the next bytes.

        Returns:
            A violation at the second ``type`` key, or where the message has more structure than
            is looked at.
        """
        pos = 0
        while pos < len(piece) and self._tokens <= TOKENS_MAX and self.types <= 1:
            if self._in_string:
                pos = self._string(piece, pos)
                continue
            found = _STRUCTURE.search(piece, pos)
            if found is None:
                break
            pos = found.end()
            self._tokens += 1
            self._structure(piece[pos - 1])
        if self.types > 1:
            return Violation(Reason.DUPLICATE_TYPE, "the message has two top-level types")
        if self._tokens > TOKENS_MAX:
            return Violation(Reason.POLICY, f"a message with more than {TOKENS_MAX} tokens")
        return None

    def _structure(self, char: int) -> None:
        match char:
            case 0x22:  # "
                self._in_string = True
                self._key = bytearray() if self._key_next and self._depth == 1 else None
            case 0x7B | 0x5B:  # { [
                self._depth += 1
                self._key_next = char == 0x7B and self._depth == 1
            case 0x7D | 0x5D:  # } ]
                self._depth = max(0, self._depth - 1)  # behind garbage, an object is looked at too
            case 0x2C:  # ,
                self._key_next = self._depth == 1
            case _:  # :
                self._key_next = False

    def _string(self, piece: bytes, pos: int) -> int:
        """Read on in a string; returns the position behind its end, or the piece's."""
        start, size = pos, len(piece)
        pos += self._escaped  # a backslash before it makes the first character any character
        quote = piece.find(b'"', pos)
        end = size if quote < 0 else quote
        slash = piece.find(b"\\", pos, end)
        if slash >= 0:
            found = _CHARACTERS.match(piece, slash)
            end = size if found is None else found.end()
        ended = end < size and piece[end] == 0x22
        self._escaped = end < size and not ended
        self._remember(piece, start, end if ended else size)
        if not ended:
            return size
        self._in_string = False
        self._end_key()
        return end + 1

    def _remember(self, piece: bytes, start: int, stop: int) -> None:
        if self._key is not None and len(self._key) <= _KEY_MAX_BYTES:
            self._key += piece[start : min(stop, start + _KEY_MAX_BYTES + 1)]

    def _end_key(self) -> None:
        key, self._key = self._key, None
        if key is None or len(key) > _KEY_MAX_BYTES:
            return
        if key == b"type" or (b"\\" in key and _unescape(bytes(key)) == "type"):
            self.types += 1


def _unescape(key: bytes) -> str | None:
    try:
        return str(msgspec.json.decode(b'"' + key + b'"'))
    except msgspec.DecodeError:
        return None
