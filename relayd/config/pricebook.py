"""Prices as sessions use them: found by the name of a model, exact decimals in US dollars."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal

import attrs

from relayd.config.patterns import Patterns


@attrs.frozen(kw_only=True)
class Price:
    """What some models cost. A rate that is ``None`` is not known, which is not the same as free.

    Attributes:
        models: Names and patterns of the models, as the account calls them.
        text_in: US dollars per million tokens, here and in the next seven.
        per_second: US dollars per second of a session or of audio.
        per_request: US dollars per response.
        output_max_tokens: The most output that a response of the model may have.
        date: When the figures were looked up.
        source: Where.
    """

    models: tuple[str, ...]
    text_in: Decimal | None = None
    text_cached_in: Decimal | None = None
    audio_in: Decimal | None = None
    audio_cached_in: Decimal | None = None
    image_in: Decimal | None = None
    image_cached_in: Decimal | None = None
    text_out: Decimal | None = None
    audio_out: Decimal | None = None
    per_second: Decimal | None = None
    per_request: Decimal | None = None
    output_max_tokens: int | None = None
    date: datetime.date
    source: str


@attrs.frozen
class PriceBook:
    """All prices, in the order of their file. Immutable, and replaced as a whole.

    Attributes:
        prices: Where two are for the same name, the first one counts.
    """

    prices: tuple[Price, ...] = ()
    _exact: Mapping[str, Price] = attrs.field(init=False, eq=False, repr=False)
    _patterned: tuple[tuple[Patterns, Price], ...] = attrs.field(init=False, eq=False, repr=False)

    @_exact.default
    def _by_name(self) -> Mapping[str, Price]:
        by_name = dict[str, Price]()
        for price in self.prices:
            for model in price.models:
                if "*" not in model:
                    by_name.setdefault(model, price)
        return by_name

    @_patterned.default
    def _compiled(self) -> tuple[tuple[Patterns, Price], ...]:
        return tuple(
            (Patterns.of(patterns), price)
            for price in self.prices
            if (patterns := [model for model in price.models if "*" in model])
        )

    def find(self, model: str) -> Price | None:
        """The price of ``model``: of its exact name, else of the first pattern that matches it."""
        if exact := self._exact.get(model):
            return exact
        for patterns, price in self._patterned:
            if patterns.matches(model):
                return price
        return None
