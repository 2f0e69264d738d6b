"""The members of a JSON object and where each stands, so that one can be changed and no other is.

A message that goes on keeps its bytes: numbers as they are spelled, the order of the members, the
space between them. What has to change is cut out and put in by position. Positions are known only
where every member stands exactly behind the one before it, so an object with a doubled key has
none: of two values one parser takes the first and another the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs
import msgspec

from relayd.dialect.exact import TOKENS_MAX, TypeWatch

_KEY: Final = re.compile(
    rb'[ \t\r\n]*[{,][ \t\r\n]*("(?:[^"\\]|\\.)*+"[ \t\r\n]*:[ \t\r\n]*)', re.DOTALL
)
_AROUND: Final = b" \t\r\n{"  # what may stand before the end of an object without members
_FEW_BYTES: Final = TOKENS_MAX * len(b'"":0,')  # no more members fit in as many
_NOTHING: Final = msgspec.Raw(b"null")


class NotAnObject(ValueError):
    """Not one JSON object, or one with too many members; the text says which, for the sender."""


class DoubledMember(ValueError):
    """A top-level key stands twice.

    Attributes:
        of_type: Whether it is ``type``.
    """

    def __init__(self, *, of_type: bool) -> None:
        super().__init__("a top-level key stands twice")
        self.of_type = of_type


@attrs.frozen
class Span:
    """Where a member stands: from the quote of its key to the end of its value."""

    start: int
    value: int
    stop: int


@attrs.frozen
class Members:
    """An object's members, in their order; the values as they are spelled."""

    values: Mapping[str, msgspec.Raw]
    _places: Sequence[tuple[int, int, int]] | None  # None: one behind the other, without space

    @property
    def spans(self) -> Mapping[str, Span]:
        """Where each stands; most messages go on as they came, so it is put together when asked."""
        places = self._places or _packed(self.values)
        return {name: Span(*place) for name, place in zip(self.values, places, strict=True)}


class _Long(msgspec.Struct):
    """The members of a create that may have any length."""

    input: msgspec.Raw = _NOTHING
    instructions: msgspec.Raw = _NOTHING
    tools: msgspec.Raw = _NOTHING
    text: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING
    metadata: msgspec.Raw = _NOTHING
    client_metadata: msgspec.Raw = _NOTHING


_decode_long: Final = msgspec.json.Decoder(_Long).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_members(payload: bytes) -> Members:
    """The members of the one object that ``payload`` is.

    Raises:
        NotAnObject: It is none, or has more members than are looked at.
        DoubledMember: Two of its members have one key, however it is spelled.
    """
    try:
        _refuse_many(payload)
        values = _decode_members(payload)
    except msgspec.DecodeError as error:
        raise NotAnObject(f"the message is no JSON object: {error}") from None
    except RecursionError:
        raise NotAnObject("the message is nested too deeply") from None
    # Each member takes two quotes, a colon, and a comma or the brace. Space, an escape or a member
    # that was lost in decoding would make it longer.
    shortest = 1 + 4 * len(values) + sum(map(len, values)) + sum(map(len, _views(values)))
    if len(payload) == shortest:
        return Members(values, None)
    places: list[tuple[int, int, int]] = []
    pos = 0
    for value in values.values():
        # The values hold each key once: as long as each member stands where the one before it
        # ended, none was lost in decoding.
        raw, key = bytes(value), _KEY.match(payload, pos)
        if key is None or not payload.startswith(raw, key.end()):
            raise _doubled(payload)
        pos = key.end() + len(raw)
        places.append((key.start(1), key.end(), pos))
    if payload[pos:].strip(_AROUND) != b"}":
        raise _doubled(payload)
    return Members(values, places)


def _views(values: Mapping[str, msgspec.Raw]) -> Iterable[memoryview]:
    return map(memoryview, values.values())


def _packed(values: Mapping[str, msgspec.Raw]) -> Iterable[tuple[int, int, int]]:
    start = 1
    for name, value in zip(values, _views(values), strict=True):
        value_at = start + len(name) + 3
        yield start, value_at, value_at + len(value)
        start = value_at + len(value) + 1


def edited(payload: bytes, spans: Mapping[str, Span], changes: Mapping[str, bytes | None]) -> bytes:
    """``payload`` with some members changed and every other byte of a member as it was.

    Args:
        payload: An object whose members stand at ``spans``.
        changes: By key, the value's JSON; ``None`` takes the member out. A key that the object
            does not have is put in front of its members.
    """
    view = memoryview(payload)
    pieces: list[bytes | memoryview] = []
    for name, value in changes.items():
        if value is not None and name not in spans:
            pieces += [b"," if pieces else b"", msgspec.json.encode(name), b":", value]
    stop = payload.index(b"{") + 1
    head = view[:stop]
    for name, span in spans.items():
        gap, stop = view[stop : span.start], span.stop
        changed = changes.get(name, b"")
        if changed is None:
            continue
        # The gap holds the comma behind the member before it, which may be gone; the first gap has
        # none, and needs one behind what was put in front of it.
        comma = b"," if pieces else b""
        pieces.append(gap if (b"," in bytes(gap)) == bool(comma) else comma)
        pieces.append(view[span.start : span.value if changed else span.stop])
        pieces.append(changed)
    return b"".join([head, *pieces, view[stop:]])


def _refuse_many(payload: bytes) -> None:
    """Refuse an object with so many members that decoding them would take a hundred times its size.

    Each has a colon and takes a few bytes. Those inside a create's long members, such as the text
    of a conversation, are not counted, since such a member is decoded as one.
    """
    if len(payload) <= _FEW_BYTES:
        return
    whole = _decode_long(payload)
    long = [getattr(whole, name) for name in _Long.__struct_fields__]
    if len(payload) - sum(len(memoryview(raw)) for raw in long) <= _FEW_BYTES:
        return
    if payload.count(b":") - sum(bytes(raw).count(b":") for raw in long) > TOKENS_MAX:
        raise NotAnObject("the message has more members than are looked at")


def _doubled(payload: bytes) -> DoubledMember:
    watch = TypeWatch(inside=False)
    watch.feed(payload)
    return DoubledMember(of_type=watch.types > 1)
