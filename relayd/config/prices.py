"""The settings of the prices file, in the manner of :mod:`relayd.config.schema`."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Final

import attrs

from relayd.config import kinds
from relayd.config.about import About, about
from relayd.config.amounts import Amount
from relayd.config.rules import TEXT_MAX_CHARS, Integer, Text
from relayd.config.times import Day

PRICE_MAX_USD: Final = Decimal(10**6)
"""More is a slip of units."""
PRICE_DECIMALS_MAX: Final = 12
"""Prices per minute have no end as prices per second: this many digits keep an hour exact to a
hundred-millionth of a dollar."""
OUTPUT_TOKENS_MAX: Final = 10**9

_AMOUNT: Final = Amount(most=PRICE_MAX_USD, decimals_max=PRICE_DECIMALS_MAX)


def _rate(meaning: str, default: str = "unknown") -> dict[str, About]:
    return about(_AMOUNT, meaning, default=default)


def _source_mistake(text: str) -> str | None:
    if text.strip() and len(text) <= TEXT_MAX_CHARS and text.isprintable():
        return None
    return f"expected 1 to {TEXT_MAX_CHARS} printable characters"


@attrs.frozen(kw_only=True)
class TokenPrices:
    """``prices.per_million``: US dollars per million tokens, by kind.

    Where a kind was used whose price is unknown, so is the cost of the whole.
    """

    text_in: Decimal | None = attrs.field(default=None, metadata=_rate("Text that goes in."))
    text_cached_in: Decimal | None = attrs.field(
        default=None, metadata=_rate("The part of it that the upstream had cached.", "as `text_in`")
    )
    audio_in: Decimal | None = attrs.field(default=None, metadata=_rate("Audio that goes in."))
    audio_cached_in: Decimal | None = attrs.field(
        default=None,
        metadata=_rate("The part of it that the upstream had cached.", "as `audio_in`"),
    )
    image_in: Decimal | None = attrs.field(default=None, metadata=_rate("Images that go in."))
    image_cached_in: Decimal | None = attrs.field(
        default=None,
        metadata=_rate("The part of them that the upstream had cached.", "as `image_in`"),
    )
    text_out: Decimal | None = attrs.field(default=None, metadata=_rate("Text that comes out."))
    audio_out: Decimal | None = attrs.field(default=None, metadata=_rate("Audio that comes out."))


@attrs.frozen(kw_only=True)
class PriceSettings:
    """``[[prices]]``: what some models cost. One table a price, with at least one figure in it."""

    models: tuple[str, ...] = attrs.field(
        metadata=about(
            kinds.PRICED_MODELS,
            "The models, as the account calls them; `relay/NAME` is a session of the passthrough"
            " account `NAME`. `*` stands for any run of characters. A model's exact name goes"
            " before patterns, and the first pattern that matches before the others.",
            stand_in=["*"],
        )
    )
    date: datetime.date = attrs.field(
        metadata=about(
            Day(), "When the figures were looked up.", stand_in=datetime.date(1970, 1, 1)
        )
    )
    source: str = attrs.field(
        metadata=about(
            Text("text", _source_mistake), "Where they were looked up.", stand_in="unknown"
        )
    )
    per_million: TokenPrices = attrs.field(
        factory=TokenPrices,
        metadata=about(
            None,
            "What tokens cost, see below. Without any of it, the tokens of a response are free.",
            default="none",
        ),
    )
    per_second: Decimal | None = attrs.field(
        default=None,
        metadata=_rate(
            "US dollars per second: of a session, or of the audio that a transcription bills.",
            "none",
        ),
    )
    per_request: Decimal | None = attrs.field(
        default=None, metadata=_rate("US dollars per response.", "none")
    )
    output_max_tokens: int | None = attrs.field(
        default=None,
        metadata=about(
            Integer(1, OUTPUT_TOKENS_MAX),
            "The most output that a response of the model may have: what is set aside for a turn"
            " that does not say, though never more than 4,096 tokens.",
            default="4096",
        ),
    )
