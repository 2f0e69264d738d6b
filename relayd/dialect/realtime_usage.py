"""Usage as upstreams tell it, made whole: every token has a kind, and parts add up to totals.

Every field is optional in the wild. What is missing is filled in from an estimate, and marked;
what contradicts itself is cut down, so that no part exceeds its whole and no cost can be negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import msgspec

from relayd.dialect.meter import Usage
from relayd.dialect.realtime_estimates import share

COUNT_MAX: Final = 10**9
"""Tokens of one kind in one response that are believed; no model reads as many."""

SECONDS_MAX: Final = 10.0**9
"""Seconds of audio that are believed."""

_NOTHING: Final = msgspec.Raw(b"null")

_BY_TIME: Final = msgspec.Raw(b'"duration"')

_Counts = tuple[int, int, int]  # of text, audio and image


class _RawDetails(msgspec.Struct):
    """Read field by field, so that an odd one does not hide the others; so is _RawUsage."""

    text_tokens: msgspec.Raw = _NOTHING
    audio_tokens: msgspec.Raw = _NOTHING
    image_tokens: msgspec.Raw = _NOTHING
    cached_tokens: msgspec.Raw = _NOTHING
    cached_tokens_details: msgspec.Raw = _NOTHING


class _RawUsage(msgspec.Struct):
    type: msgspec.Raw = _NOTHING
    input_tokens: msgspec.Raw = _NOTHING
    output_tokens: msgspec.Raw = _NOTHING
    total_tokens: msgspec.Raw = _NOTHING
    seconds: msgspec.Raw = _NOTHING
    input_token_details: msgspec.Raw = _NOTHING
    output_token_details: msgspec.Raw = _NOTHING


@attrs.frozen
class _Details:
    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None

    @property
    def told(self) -> bool:
        """Whether any kind is told apart."""
        return (self.text_tokens, self.audio_tokens, self.image_tokens) != (None, None, None)

    @property
    def counts(self) -> _Counts:
        """What is not told is zero."""
        return self.text_tokens or 0, self.audio_tokens or 0, self.image_tokens or 0


@attrs.frozen(kw_only=True)
class WireUsage:
    """``usage`` of a response or of a transcription, as far as it can be believed.

    Attributes:
        by_time: Whether its ``type`` says that seconds are billed.
        cached_tokens: Input tokens of any kind that were cached.
        spoiled: Whether a field was there that could not be believed, and is left out, or one is
            relayd's own.
    """

    by_time: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    seconds: float | None = None
    input_details: _Details = _Details()
    output_details: _Details = _Details()
    cached_tokens: int | None = None
    cached_details: _Details = _Details()
    spoiled: bool = False

    @property
    def tells_input(self) -> bool:
        """Whether it says anything of input tokens."""
        return self.input_tokens is not None or self.input_details.told

    @property
    def tells_output(self) -> bool:
        """Whether it says anything of output tokens."""
        return self.output_tokens is not None or self.output_details.told

    @property
    def tells_tokens(self) -> bool:
        """Whether it says anything of tokens."""
        return self.tells_input or self.tells_output or self.total_tokens is not None


_decode_usage: Final = msgspec.json.Decoder(_RawUsage | None).decode
_decode_details: Final = msgspec.json.Decoder(_RawDetails | None).decode
_decode_number: Final = msgspec.json.Decoder(float | None).decode


@attrs.define
class _Fields:
    """Reads one usage; what it cannot believe is left out, and remembered."""

    spoiled: bool = False

    def number(self, raw: msgspec.Raw, most: float) -> float | None:
        try:
            number: float | None = _decode_number(raw)
        except msgspec.DecodeError:
            number = -1.0
        if number is None or 0 <= number <= most:
            return number
        self.spoiled = True
        return None

    def count(self, raw: msgspec.Raw) -> int | None:
        """A whole number, which some encoders spell ``1000.0``."""
        number = self.number(raw, COUNT_MAX)
        if number is None or number.is_integer():
            return None if number is None else int(number)
        self.spoiled = True
        return None

    def parts(self, raw: msgspec.Raw) -> _RawDetails:
        try:
            return _decode_details(raw) or _RawDetails()
        except (msgspec.DecodeError, RecursionError):
            self.spoiled = True
            return _RawDetails()

    def details(self, raw: _RawDetails) -> _Details:
        return _Details(
            self.count(raw.text_tokens),
            self.count(raw.audio_tokens),
            self.count(raw.image_tokens),
        )


def decode_usage(raw: msgspec.Raw) -> WireUsage | None:
    """What the upstream says; ``None`` where it says nothing (null, ``{}``) or only nonsense."""
    try:
        told = _decode_usage(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    if told is None:
        return None
    fields = _Fields()
    read = fields.parts(told.input_token_details)
    wire = WireUsage(
        by_time=told.type == _BY_TIME,
        input_tokens=fields.count(told.input_tokens),
        output_tokens=fields.count(told.output_tokens),
        total_tokens=fields.count(told.total_tokens),
        seconds=fields.number(told.seconds, SECONDS_MAX),
        input_details=fields.details(read),
        output_details=fields.details(fields.parts(told.output_token_details)),
        cached_tokens=fields.count(read.cached_tokens),
        cached_details=fields.details(fields.parts(read.cached_tokens_details)),
    )
    if not (wire.tells_tokens or wire.seconds is not None):
        return None
    return attrs.evolve(wire, spoiled=fields.spoiled)


def complete(wire: WireUsage, estimate: Usage) -> Usage:
    """The usage that ``wire`` tells.

    * Details that add up to less than their total: the rest goes to the kinds in the proportion
      of ``estimate``, else to text.
    * Details that add up to more: they are cut down to the total, in proportion.
    * No total: the sum of the details; neither: what ``total_tokens`` leaves, else the estimate.
    * Only ``total_tokens``: shared in the proportion of ``estimate``, else input text.
    * Cached tokens of no kind count as text first, then as audio, then as images. None exceeds
      the tokens of its kind.

    The output of a transcription is text.

    Args:
        wire: With something in it (:func:`decode_usage`).
        estimate: What was observed, with source and id.

    Returns:
        Marked as estimated where any number is not the upstream's own.
    """
    if wire.seconds is not None and (wire.by_time or not wire.tells_tokens):
        return Usage(
            source=estimate.source,
            upstream_id=estimate.upstream_id,
            seconds=wire.seconds,
            estimated=wire.spoiled,
        )
    if wire.total_tokens is not None:
        wire = _with_total_shared(wire, wire.total_tokens, estimate)
    read = _direction(
        wire.input_tokens,
        wire.input_details,
        (estimate.input_text, estimate.input_audio, estimate.input_image),
    )
    out = wire.output_details
    if estimate.source == "transcription" and not out.told:
        out = _Details(text_tokens=wire.output_tokens or 0)
    written = _direction(
        wire.output_tokens, out, (estimate.output_text, estimate.output_audio, 0), kinds=2
    )
    cached, all_fit = _cached(wire, read.counts)
    return Usage(
        source=estimate.source,
        upstream_id=estimate.upstream_id,
        input_text=read.counts[0],
        input_audio=read.counts[1],
        input_image=read.counts[2],
        cached_text=cached[0],
        cached_audio=cached[1],
        cached_image=cached[2],
        output_text=written.counts[0],
        output_audio=written.counts[1],
        input_total=sum(read.counts),
        output_total=sum(written.counts),
        estimated=wire.spoiled or read.estimated or written.estimated or not all_fit,
    )


def _with_total_shared(wire: WireUsage, total: int, estimate: Usage) -> WireUsage:
    """Of a direction that tells nothing, what is left of the total; of both, their share."""
    if wire.tells_input and wire.tells_output:
        return wire
    if wire.tells_input:
        rest = max(0, total - _sum(wire.input_tokens, wire.input_details))
        return attrs.evolve(wire, output_tokens=rest, spoiled=True)
    if wire.tells_output:
        rest = max(0, total - _sum(wire.output_tokens, wire.output_details))
        return attrs.evolve(wire, input_tokens=rest, spoiled=True)
    seen = (estimate.input_total, estimate.output_total)
    read, written = share(total, seen if any(seen) else (1, 0))
    return attrs.evolve(wire, input_tokens=read, output_tokens=written, spoiled=True)


def _sum(total: int | None, details: _Details) -> int:
    return sum(details.counts) if total is None else total


@attrs.frozen
class _Direction:
    counts: _Counts
    estimated: bool


def _direction(
    total: int | None, details: _Details, expected: _Counts, *, kinds: int = 3
) -> _Direction:
    """One direction's tokens by kind; only the first ``kinds`` of them exist in it."""
    counts = details.counts[:kinds]
    told = sum(counts)
    if total is None and not details.told:
        return _Direction(expected, estimated=True)
    if total is None or total == told:
        return _Direction(_three(counts), estimated=False)
    if told > total:
        return _Direction(_three(share(total, counts)), estimated=True)
    weights = expected[:kinds] if any(expected) else (1, 0, 0)[:kinds]
    rest = share(total - told, weights)
    return _Direction(
        _three([count + more for count, more in zip(counts, rest, strict=True)]), estimated=True
    )


def _three(counts: Sequence[int]) -> _Counts:
    text, audio, *image = counts
    return text, audio, sum(image)


def _cached(wire: WireUsage, counts: _Counts) -> tuple[_Counts, bool]:
    """Cached tokens by kind, and whether all that are told have found a place."""
    of_kind = wire.cached_details.counts
    cached = [min(told, count) for told, count in zip(of_kind, counts, strict=True)]
    rest = max(0, (wire.cached_tokens or 0) - sum(of_kind))
    all_fit = sum(cached) == sum(of_kind)
    for place, count in enumerate(counts):
        more = min(rest, count - cached[place])
        cached[place] += more
        rest -= more
    return _three(cached), all_fit and rest == 0
