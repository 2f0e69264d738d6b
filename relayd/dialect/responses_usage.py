"""Usage as a Responses upstream tells it, made whole: no part exceeds its whole, none is negative.

It comes with the terminal event alone: ``response.usage`` of a completed, an incomplete or a failed
response. Every field is optional in the wild, and each is read by itself, so that an odd one does
not hide the others. All tokens count as text: this protocol does not tell kinds apart.
"""

from __future__ import annotations

from typing import Annotated, Final

import attrs
import msgspec

from relayd.dialect.meter import Usage

COUNT_MAX: Final = 10**9
"""Tokens of one kind in one response that are believed; no model reads as many."""

_NOTHING: Final = msgspec.Raw(b"null")


class _Wire(msgspec.Struct):
    input_tokens: msgspec.Raw = _NOTHING
    output_tokens: msgspec.Raw = _NOTHING
    total_tokens: msgspec.Raw = _NOTHING
    input_tokens_details: msgspec.Raw = _NOTHING
    output_tokens_details: msgspec.Raw = _NOTHING


class _Details(msgspec.Struct):
    cached_tokens: msgspec.Raw = _NOTHING
    cache_write_tokens: msgspec.Raw = _NOTHING
    reasoning_tokens: msgspec.Raw = _NOTHING


_Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]


class _PlainDetails(msgspec.Struct):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0


class _Plain(msgspec.Struct):
    """What nearly every upstream sends: numbers where numbers belong."""

    input_tokens: _Count
    output_tokens: _Count
    total_tokens: _Count | None = None
    input_tokens_details: _PlainDetails | None = None
    output_tokens_details: _PlainDetails | None = None


_NO_DETAILS: Final = _PlainDetails()


@attrs.frozen
class ToldUsage:
    """What a response used, as its upstream says.

    Attributes:
        usage: Marked as estimated where any number is not the upstream's own.
        reasoning_tokens: Of the output ones.
        cache_write_tokens: Of the input ones: written to the upstream's cache.
    """

    usage: Usage
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0


_decode_plain: Final = msgspec.json.Decoder(_Plain).decode
_decode_usage: Final = msgspec.json.Decoder(_Wire | None).decode
_decode_details: Final = msgspec.json.Decoder(_Details | None).decode
_decode_number: Final = msgspec.json.Decoder(float | None).decode


@attrs.define
class _Fields:
    """Reads one usage; what it cannot believe is left out, and remembered."""

    spoiled: bool = False

    def count(self, raw: msgspec.Raw) -> int | None:
        """A whole number, which some encoders spell ``1000.0``."""
        try:
            number: float | None = _decode_number(raw)
        except msgspec.DecodeError:
            number = -1.0
        if number is None or (0 <= number <= COUNT_MAX and number.is_integer()):
            return None if number is None else int(number)
        self.spoiled = True
        return None

    def details(self, raw: msgspec.Raw) -> _Details:
        try:
            return _decode_details(raw) or _Details()
        except (msgspec.DecodeError, RecursionError):
            self.spoiled = True
            return _Details()

    def part(self, raw: msgspec.Raw, whole: int) -> int:
        """Of ``whole``, at most all."""
        count = self.count(raw) or 0
        self.spoiled = self.spoiled or count > whole
        return min(count, whole)


def read_usage(raw: msgspec.Raw, response_id: str | None) -> ToldUsage | None:
    """What the upstream says; ``None`` where it says nothing (null, ``{}``) or only nonsense.

    A direction that is not told is what ``total_tokens`` leaves of the other one, else nothing; a
    total alone counts as input.
    """
    return _read_plain(raw, response_id) or _read_odd(raw, response_id)


def _read_plain(raw: msgspec.Raw, response_id: str | None) -> ToldUsage | None:
    """In one go; ``None`` where anything is odd, which is then read field by field."""
    try:
        told = _decode_plain(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    came = told.input_tokens_details or _NO_DETAILS
    went = told.output_tokens_details or _NO_DETAILS
    read, written, reasoning = told.input_tokens, told.output_tokens, went.reasoning_tokens
    cached, cache_write = came.cached_tokens, came.cache_write_tokens
    if cached > read or cache_write > read or reasoning > written:
        return None
    usage = Usage(
        source="response",
        upstream_id=response_id,
        input_text=read,
        cached_text=cached,
        output_text=written,
        input_total=read,
        output_total=written,
    )
    return ToldUsage(usage, reasoning_tokens=reasoning, cache_write_tokens=cache_write)


def _read_odd(raw: msgspec.Raw, response_id: str | None) -> ToldUsage | None:
    try:
        told = _decode_usage(raw) or _Wire()
    except (msgspec.DecodeError, RecursionError):
        return None
    fields = _Fields()
    read, written = fields.count(told.input_tokens), fields.count(told.output_tokens)
    total = fields.count(told.total_tokens)
    if read is None and written is None and total is None:
        return None
    spoiled = fields.spoiled or read is None or written is None
    if read is None:
        read = max(0, (total or 0) - (written or 0))
    if written is None:
        written = max(0, (total or 0) - read)
    came = fields.details(told.input_tokens_details)
    went = fields.details(told.output_tokens_details)
    cached = fields.part(came.cached_tokens, read)
    cache_write = fields.part(came.cache_write_tokens, read)
    reasoning = fields.part(went.reasoning_tokens, written)
    usage = Usage(
        source="response",
        upstream_id=response_id,
        input_text=read,
        cached_text=cached,
        output_text=written,
        input_total=read,
        output_total=written,
        estimated=spoiled or fields.spoiled,
    )
    return ToldUsage(usage, reasoning_tokens=reasoning, cache_write_tokens=cache_write)
