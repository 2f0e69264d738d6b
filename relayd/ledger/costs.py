"""What usage costs at a price: exact decimals, rounded once to whole nano-dollars.

A kind of token that was used and has no rate makes the whole cost unknown; a cost is never made
smaller by what is not known. Cached tokens without a rate of their own cost as much as others.
Tokens and seconds of one usage are two measures of the same audio, of which one is billed.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from relayd.config.pricebook import Price
from relayd.core.money import nano_of
from relayd.dialect.meter import TurnAsk, Usage

OUTPUT_RESERVED_MAX: Final = 4096
"""Output tokens that are set aside for a turn at most: few responses are longer."""

COST_MAX_USD: Final = Decimal(10**4)
"""Of one row. Who reports more is not believed."""

_MILLION: Final = Decimal(10**6)


def cost_of(usage: Usage, price: Price, factor: Decimal) -> int | None:
    """Nano-dollars for ``usage``; ``None`` where ``price`` lacks a rate for a part of it.

    ``None`` too beyond :data:`COST_MAX_USD`.

    Args:
        usage: Cached tokens are part of the input ones, and at most as many.
        price: Where it has no rate for tokens at all, the model is billed by time or request, and
            the tokens of a response are free.
        factor: The key's ``price_factor``.
    """
    total, is_whole = _total(usage, price, factor)
    return nano_of(total) if is_whole and total <= COST_MAX_USD else None


def known_cost(usage: Usage, price: Price, factor: Decimal) -> int:
    """Nano-dollars for the parts of ``usage`` that ``price`` has a rate for.

    What :func:`cost_of` says where that is known; never more than :data:`COST_MAX_USD`. It is for
    budgets, which had better count too little of an unknown cost than nothing.
    """
    total, _ = _total(usage, price, factor)
    return nano_of(min(total, COST_MAX_USD))


def time_cost(
    seconds: float, price: Price, factor: Decimal, *, per_request: bool = False
) -> int | None:
    """Nano-dollars for so much of a session that is billed by time.

    ``None`` where ``price`` has neither a rate per second nor one per request, and beyond
    :data:`COST_MAX_USD`.

    Args:
        per_request: The session is a request of its own, whose rate is due with this slice.
    """
    if price.per_second is None and price.per_request is None:
        return None
    total = Decimal(str(seconds)) * (price.per_second or 0)
    if per_request:
        total += price.per_request or 0
    total *= factor
    return nano_of(total) if total <= COST_MAX_USD else None


def reserve_for(ask: TurnAsk, price: Price, factor: Decimal) -> int:
    """What is set aside for a turn: its expected input and the longest likely output.

    The output counts as audio where it may be, since audio costs more. A rate that is missing
    counts as nothing here: what the turn is billed is decided when it has ended.
    """
    expected = ask.expected
    longest = ask.output_max_tokens or price.output_max_tokens or OUTPUT_RESERVED_MAX
    output = Decimal(min(longest, OUTPUT_RESERVED_MAX))
    as_audio = price.audio_out if ask.audio else None
    out_rate = price.text_out if as_audio is None else as_audio
    total = (
        expected.input_text * (price.text_in or 0)
        + expected.input_audio * (price.audio_in or 0)
        + expected.input_image * (price.image_in or 0)
        + output * (out_rate or 0)
    ) / _MILLION
    return nano_of((total + (price.per_request or 0)) * factor)


def _total(usage: Usage, price: Price, factor: Decimal) -> tuple[Decimal, bool]:
    """Dollars for what has a rate, and whether that is all of ``usage``."""
    kinds = (
        (usage.input_text - usage.cached_text, price.text_in),
        (usage.cached_text, _first(price.text_cached_in, price.text_in)),
        (usage.input_audio - usage.cached_audio, price.audio_in),
        (usage.cached_audio, _first(price.audio_cached_in, price.audio_in)),
        (usage.input_image - usage.cached_image, price.image_in),
        (usage.cached_image, _first(price.image_cached_in, price.image_in)),
        (usage.output_text, price.text_out),
        (usage.output_audio, price.audio_out),
    )
    used = [(count, rate) for count, rate in kinds if count > 0]
    has_token_rates = any(rate is not None for _, rate in kinds)
    if usage.seconds is not None and not (used and has_token_rates):
        known = Decimal(str(usage.seconds)) * (price.per_second or 0)
        is_whole = price.per_second is not None
    else:
        known = sum((count * rate for count, rate in used if rate is not None), Decimal(0))
        known /= _MILLION
        is_free = usage.source == "response" and not has_token_rates
        is_whole = is_free or all(rate is not None for _, rate in used)
    return (known + (price.per_request or 0)) * factor, is_whole


def _first(rate: Decimal | None, otherwise: Decimal | None) -> Decimal | None:
    return otherwise if rate is None else rate
