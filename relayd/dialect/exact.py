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
"""Structural characters looked at in one message; each costs a step of Python."""

_KEY: Final = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*"(?:[^"\\]|\\.)*+"[ \t\r\n]*:[ \t\r\n]*')
_STRUCTURE: Final = re.compile(rb'["{}\[\],:]')
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
        kind = _decode_typed(payload).type
        if payload.count(b'"type"') != 1 or b"\\u" in payload:
            _refuse_two_types(payload)
    except msgspec.ValidationError as error:
        if payload.count(b'"type"') > 1 and payload.lstrip(b" \t\r\n").startswith(b"{"):
            _refuse_two_types(payload)
        raise NotAnEvent(f"the message is no event: {error}") from None
    except msgspec.DecodeError as error:
        raise NotAnEvent(f"the message is not JSON: {error}") from None
    except RecursionError:
        raise NotAnEvent("the message is nested too deeply") from None
    return kind


def _refuse_two_types(payload: bytes) -> None:
    """Walk the top-level fields; where they are not one after the other, a key was doubled.

    The decoded fields hold each key once. As long as every field stands exactly where the one
    before it ended, nothing was lost in decoding.
    """
    pos = 0
    for value in _decode_fields(payload).values():
        raw = memoryview(value)
        key = _KEY.match(payload, pos)
        if key is None or payload[key.end() : key.end() + len(raw)] != raw:
            break
        pos = key.end() + len(raw)
    else:
        if payload[pos:].strip(b" \t\r\n") in (b"}", b"{}"):
            return
    if TypeWatch(inside=False).feed(payload) is not None:
        raise DuplicateType("the message has two top-level types")


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
        while pos < len(piece) and self._tokens <= TOKENS_MAX:
            if self._in_string:
                pos = self._string(piece, pos)
                continue
            found = _STRUCTURE.search(piece, pos)
            if found is None:
                break
            pos = found.end()
            self._tokens += 1
            self._structure(piece[pos - 1])
        if self._tokens > TOKENS_MAX:
            return Violation(Reason.POLICY, f"a message with more than {TOKENS_MAX} tokens")
        if self.types > 1:
            return Violation(Reason.DUPLICATE_TYPE, "the message has two top-level types")
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
                self._depth -= 1
            case 0x2C:  # ,
                self._key_next = self._depth == 1
            case _:  # :
                self._key_next = False

    def _string(self, piece: bytes, pos: int) -> int:
        """Read on in a string; returns the position behind its end, or the piece's."""
        start = pos
        while True:
            self._tokens += 1
            if self._tokens > TOKENS_MAX:
                return len(piece)  # the caller refuses the message
            quote = piece.find(b'"', pos)
            end = len(piece) if quote < 0 else quote
            slashes = end - start - len(piece[start:end].rstrip(b"\\"))
            escaped = (slashes + (self._escaped and slashes == end - start)) % 2 == 1
            if quote < 0:
                self._remember(piece[start:])
                self._escaped = escaped
                return end
            if not escaped:
                self._remember(piece[start:end])
                self._escaped = False
                self._in_string = False
                self._end_key()
                return end + 1
            pos = end + 1

    def _remember(self, part: bytes) -> None:
        if self._key is not None and len(self._key) <= _KEY_MAX_BYTES:
            self._key += part[: _KEY_MAX_BYTES + 1]

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
