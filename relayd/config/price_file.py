"""Reading the prices file: all of it, or every mistake in it at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from relayd.config.checks import Clash
from relayd.config.mistakes import Mistake, Wrong, path_shown
from relayd.config.parse import parse_toml
from relayd.config.pricebook import Price, PriceBook
from relayd.config.prices import PriceSettings, TokenPrices
from relayd.config.storage import PRICES_FILE, PRICES_MAX_BYTES
from relayd.config.structure import TableReader, Tables, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relayd.config.files import Surroundings
    from relayd.config.storage import LedgerSettings

TABLES: Final[Tables] = (TokenPrices, PriceSettings)

_TABLE: Final = "prices"
_NO_FIGURE: Final = (TokenPrices(), None, None)


def prices_path(ledger: LedgerSettings, around: Surroundings) -> Path | None:
    """The prices file to read: the named one, else the one in the usual place if it is there."""
    if ledger.prices is not None:
        return Path(ledger.prices)
    usual = around.beside(PRICES_FILE)
    # A link that leads nowhere is there: it was meant to lead somewhere.
    return usual if os.path.lexists(usual) else None


def read_prices(path: Path, around: Surroundings) -> tuple[PriceBook, tuple[Mistake, ...]]:
    """The prices in a file, to be used only if there are no mistakes beside them. Blocks.

    A file that cannot be read, or is no TOML, is a mistake at ``ledger.prices``; all others name
    the file and where in it they are.
    """
    try:
        content = around.read(path, max_bytes=PRICES_MAX_BYTES)
    except Wrong as wrong:
        return PriceBook(), wrong.under("ledger.prices").mistakes
    document = parse_toml(content)
    if isinstance(document, str):
        message = f"cannot use {path_shown(str(path))}: {document}"
        return PriceBook(), (Mistake("ledger.prices", message),)
    book, mistakes = prices_of(document, around)
    return book, tuple(attrs.evolve(mistake, file=str(path)) for mistake in mistakes)


def prices_of(
    document: Mapping[str, object], around: Surroundings
) -> tuple[PriceBook, tuple[Mistake, ...]]:
    """The prices in a parsed document, to be used only if there are no mistakes beside them."""
    reader = TableReader(around, TABLES)
    for name in document:
        if name != _TABLE:
            reader.mistakes.extend(unknown(name, (_TABLE,)).mistakes)
    prices = reader.tables(PriceSettings, document.get(_TABLE, []), _TABLE)
    of_single_settings = tuple(reader.mistakes)
    of_several = (
        clash.mistake for clash in _clashes(prices) if not clash.follows_from(of_single_settings)
    )
    return PriceBook(tuple(map(_price, prices))), (*of_single_settings, *of_several)


def _clashes(prices: Sequence[PriceSettings]) -> Iterator[Clash]:
    first = dict[str, str]()
    for index, price in enumerate(prices):
        path = f"{_TABLE}[{index}]"
        if (price.per_million, price.per_second, price.per_request) == _NO_FIGURE:
            message = "no price in it; give per_million, per_second or per_request"
            yield Clash(Mistake(path, message))
        for at, model in enumerate(price.models):
            here = f"{path}.models[{at}]"
            if model in first:
                message = f"repeats {first[model]}; a model or pattern has one price"
                # Of the lists: one with a mistake in it is replaced by a stand-in as a whole.
                lists = (f"{path}.models", first[model].rpartition("[")[0])
                yield Clash(Mistake(here, message), lists)
            first.setdefault(model, here)


def _price(settings: PriceSettings) -> Price:
    rates = settings.per_million
    return Price(
        models=settings.models,
        text_in=rates.text_in,
        text_cached_in=rates.text_cached_in,
        audio_in=rates.audio_in,
        audio_cached_in=rates.audio_cached_in,
        image_in=rates.image_in,
        image_cached_in=rates.image_cached_in,
        text_out=rates.text_out,
        audio_out=rates.audio_out,
        per_second=settings.per_second,
        per_request=settings.per_request,
        output_max_tokens=settings.output_max_tokens,
        date=settings.date,
        source=settings.source,
    )
