"""Usage as upstreams tell it, made whole: every token has a kind, and parts add up to totals.

Every field is optional in the wild. What is missing is filled in from an estimate, and marked;
what contradicts itself is cut down, so that no part exceeds its whole and no cost can be negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import attrs
import msgspec

from relayd.dialect.meter import Usage
from relayd.dialect.realtime_estimates import share

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**9)]

_Counts = tuple[int, int, int]  # of text, audio and image


class _Details(msgspec.Struct):
    text_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None

    @property
    def told(self) -> bool:
        """Whether any kind is told apart."""
        return (self.text_tokens, self.audio_tokens, self.image_tokens) != (None, None, None)

    @property
    def counts(self) -> _Counts:
        """What is not told is zero."""
        return self.text_tokens or 0, self.audio_tokens or 0, self.image_tokens or 0


class _InputDetails(_Details):
    cached_tokens: Count | None = None
    cached_tokens_details: _Details | None = None


class WireUsage(msgspec.Struct):
    """``usage`` of a response or of a transcription."""

    type: str | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    seconds: Seconds | None = None
    input_token_details: _InputDetails | None = None
    output_token_details: _Details | None = None

    @property
    def input_details(self) -> _InputDetails:
        """Empty where there are none."""
        return self.input_token_details or _InputDetails()

    @property
    def output_details(self) -> _Details:
        """Empty where there are none."""
        return self.output_token_details or _Details()

    @property
    def tells_tokens(self) -> bool:
        """Whether it says anything of tokens."""
        totals = (self.input_tokens, self.output_tokens)
        return totals != (None, None) or self.input_details.told or self.output_details.told


_decode_usage: Final = msgspec.json.Decoder(WireUsage | None).decode


def decode_usage(raw: msgspec.Raw) -> WireUsage | None:
    """What the upstream says; ``None`` where it says nothing (null, ``{}``) or nonsense."""
    try:
        wire: WireUsage | None = _decode_usage(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    if wire is None or not (wire.tells_tokens or wire.seconds is not None):
        return None
    return wire


def complete(wire: WireUsage, estimate: Usage) -> Usage:
    """The usage that ``wire`` tells.

    * Details that add up to less than their total: the rest goes to the kinds in the proportion
      of ``estimate``, else to text.
    * Details that add up to more: they are cut down to the total, in proportion.
    * No total: the sum of the details; neither: the estimate.
    * Cached tokens of no kind count as text first, then as audio, then as images. None exceeds
      the tokens of its kind.

    The output of a transcription is text.

    Args:
        wire: With something in it (:func:`decode_usage`).
        estimate: What was observed, with source and id.

    Returns:
        Marked as estimated where any number is not the upstream's own.
    """
    by_time = wire.seconds is not None and (wire.type == "duration" or not wire.tells_tokens)
    if by_time:
        return Usage(source=estimate.source, upstream_id=estimate.upstream_id, seconds=wire.seconds)
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
    cached, all_fit = _cached(wire.input_details, read.counts)
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
        estimated=read.estimated or written.estimated or not all_fit,
    )


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


def _cached(details: _InputDetails, counts: _Counts) -> tuple[_Counts, bool]:
    """Cached tokens by kind, and whether all that are told have found a place."""
    of_kind = (details.cached_tokens_details or _Details()).counts
    cached = [min(told, count) for told, count in zip(of_kind, counts, strict=True)]
    rest = max(0, (details.cached_tokens or 0) - sum(of_kind))
    all_fit = sum(cached) == sum(of_kind)
    for place, count in enumerate(counts):
        more = min(rest, count - cached[place])
        cached[place] += more
        rest -= more
    return _three(cached), all_fit and rest == 0
