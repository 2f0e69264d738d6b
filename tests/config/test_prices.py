"""The settings of the prices file, their names and defaults: users' files depend on them."""

from __future__ import annotations

import datetime

import attrs

from relayd.config.pricebook import Price
from relayd.config.prices import PriceSettings, TokenPrices


def names(cls: type[attrs.AttrsInstance]) -> set[str]:
    return {field.name for field in attrs.fields(cls)}


def test_a_price_s_defaults() -> None:
    date = datetime.date(2026, 11, 1)

    assert attrs.asdict(PriceSettings(models=("a",), date=date, source="b"), recurse=False) == {
        "models": ("a",),
        "date": date,
        "source": "b",
        "per_million": TokenPrices(),
        "per_second": None,
        "per_request": None,
        "output_max_tokens": None,
    }
    assert set(attrs.asdict(TokenPrices()).values()) == {None}


def test_everything_in_the_file_is_in_a_price() -> None:
    settings = names(PriceSettings) - {"per_million"} | names(TokenPrices)

    assert settings == {name for name in names(Price) if not name.startswith("_")}
