"""Reading the prices file: every mistake at once, each where it was made."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.files import Surroundings
from relayd.config.load import ConfigError, load
from relayd.config.price_file import prices_of, prices_path, read_prices
from relayd.config.pricebook import Price, PriceBook
from relayd.config.schema import Settings
from relayd.config.storage import PRICES_MAX_BYTES, LedgerSettings

Load = Callable[..., Settings]
Mistakes = Callable[..., dict[str, str]]

HEAD = '[[prices]]\nmodels = ["a"]\ndate = 2026-11-01\nsource = "a list"\n'
PRICE = HEAD + 'per_second = "1"\n'

# A prices file, the path of its only mistake, and a piece of what is said about it.
BROKEN = [
    ("price = 1", "price", 'did you mean "prices"'),
    ("server = 1", "server", "known here: prices"),
    ("prices = {}", "prices", "[[prices]]"),
    ("prices = [1]", "prices[0]", "expected a table, found 1"),
    (HEAD, "prices[0]", "no price in it"),
    (HEAD + "per_million = {}", "prices[0]", "no price in it"),
    (HEAD + "output_max_tokens = 1", "prices[0]", "no price in it"),
    (PRICE + "model = 1", "prices[0].model", 'did you mean "models"'),
    (PRICE.replace('["a"]', "[]"), "prices[0].models", "at least one model"),
    (PRICE.replace('["a"]', '"a"'), "prices[0].models", "write it in brackets"),
    (PRICE.replace('["a"]', '["a", ""]'), "prices[0].models[1]", "a model's name"),
    (PRICE.replace('["a"]', '["a", "a"]'), "prices[0].models[1]", "repeats prices[0].models[0]"),
    (
        PRICE.replace('"a"', '"*"') + PRICE.replace('"a"', '"b", ""'),
        "prices[1].models[1]",
        "a model's name",
    ),
    (
        PRICE.replace('"a"', '"b", ""') + PRICE.replace('"a"', '"*"'),
        "prices[0].models[1]",
        "a model's name",
    ),
    (PRICE + PRICE, "prices[1].models[0]", "repeats prices[0].models[0]"),
    (PRICE.replace('"a"', '"a*"') * 2, "prices[1].models[0]", "repeats prices[0].models[0]"),
    (PRICE.replace("date = 2026-11-01\n", ""), "prices[0].date", "missing; expected a date"),
    (PRICE.replace("2026-11-01", '"2026-11-01"'), "prices[0].date", "without quotes"),
    (PRICE.replace("2026-11-01", "2026-11-01T00:00:00Z"), "prices[0].date", "leave the time out"),
    (PRICE.replace('source = "a list"\n', ""), "prices[0].source", "missing; expected text"),
    (PRICE.replace("a list", " "), "prices[0].source", "printable"),
    (PRICE.replace('"1"', "0.1"), "prices[0].per_second", "write it in quotes"),
    (PRICE.replace('"1"', '"1e-3"'), "prices[0].per_second", "a decimal in quotes"),
    (PRICE.replace('"1"', '"-1"'), "prices[0].per_second", "at least 0"),
    (PRICE.replace('"1"', '"1000001"'), "prices[0].per_second", "at most 1000000"),
    (PRICE.replace("per_second", "per_minute"), "prices[0].per_minute", "unknown setting"),
    (PRICE + "per_request = true", "prices[0].per_request", "found true"),
    (PRICE + "output_max_tokens = 0", "prices[0].output_max_tokens", "at least 1"),
    (HEAD + "per_million = 3", "prices[0].per_million", "expected a table, found 3"),
    (
        HEAD + "per_million = { text_in = 0.4 }",
        "prices[0].per_million.text_in",
        'found 0.4; write it in quotes, as in "0.4"',
    ),
    (
        HEAD + 'per_million = { text_cached = "4" }',
        "prices[0].per_million.text_cached",
        'did you mean "text_cached_in"',
    ),
]


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """Where prices are by default."""
    return tmp_path / "prices.toml"


@pytest.mark.parametrize(("text", "path", "fragment"), BROKEN)
def test_a_mistake_is_reported_where_it_was_made(
    prices: Path, mistakes_in: Mistakes, text: str, path: str, fragment: str
) -> None:
    prices.write_text(text)
    mistakes = mistakes_in("")

    assert list(mistakes) == [path]
    assert fragment in mistakes[path]


def test_mistakes_of_both_files_are_reported_at_once_each_with_its_file(prices: Path) -> None:
    prices.write_text(PRICE + "typo = 1\n" + HEAD + 'per_second = "x"')
    config = prices.with_name("relayd.toml")
    config.write_text("[limits]\nstall_s = 0")

    with pytest.raises(ConfigError) as caught:
        load(config, environ={})

    assert [": ".join(line.split(": ")[:2]) for line in caught.value.lines()] == [
        f"{config}: limits.stall_s",
        f"{prices}: prices[0].typo",
        f"{prices}: prices[1].per_second",
        f"{prices}: prices[1].models[0]",
    ]


def test_prices_arrive_as_they_stand(prices: Path, load_text: Load) -> None:
    prices.write_text(
        HEAD
        + 'per_million = { text_in = "4", text_cached_in = "0.40", audio_in = 32 }\n'
        + 'per_second = "0.000283333333"\nper_request = 0\noutput_max_tokens = 4096\n'
    )

    settings = load_text("")

    assert settings.ledger.prices == str(prices)
    assert settings.prices == PriceBook(
        (
            Price(
                models=("a",),
                text_in=Decimal(4),
                text_cached_in=Decimal("0.4"),
                audio_in=Decimal(32),
                per_second=Decimal("0.000283333333"),
                per_request=Decimal(0),
                output_max_tokens=4096,
                date=datetime.date(2026, 11, 1),
                source="a list",
            ),
        )
    )


def test_without_a_prices_file_there_are_no_prices(load_text: Load) -> None:
    settings = load_text("")

    assert settings.prices == PriceBook()
    assert settings.ledger.prices is None


def test_a_prices_file_may_be_empty(prices: Path, load_text: Load) -> None:
    prices.touch()

    assert load_text("").prices == PriceBook()


def test_a_named_prices_file_is_read_instead_of_the_usual_one(
    prices: Path, load_text: Load
) -> None:
    prices.write_text("typo = 1")
    prices.with_name("other.toml").write_text(PRICE)

    settings = load_text('[ledger]\nprices = "other.toml"')

    assert len(settings.prices.prices) == 1
    assert settings.ledger == LedgerSettings(prices=str(prices.with_name("other.toml")))


def test_a_prices_file_that_is_named_and_missing_is_a_mistake(mistakes_in: Mistakes) -> None:
    (path, message) = next(iter(mistakes_in('[ledger]\nprices = "other.toml"').items()))

    assert path == "ledger.prices"
    assert "other.toml" in message
    assert "No such file" in message


def test_a_usual_prices_file_that_cannot_be_read_is_a_mistake(
    prices: Path, mistakes_in: Mistakes
) -> None:
    prices.symlink_to(prices.with_name("nowhere"))

    assert "No such file" in mistakes_in("")["ledger.prices"]


@pytest.mark.parametrize(
    ("content", "words"), [(b"\xff", "not UTF-8 text"), (b"prices", "not valid TOML")]
)
def test_a_prices_file_that_is_no_toml_is_a_mistake_that_names_it(
    prices: Path, mistakes_in: Mistakes, content: bytes, words: str
) -> None:
    prices.write_bytes(content)
    mistakes = mistakes_in("")

    assert list(mistakes) == ["ledger.prices"]
    assert mistakes["ledger.prices"].startswith(f'cannot use "{prices}": {words}')


def test_a_prices_file_is_not_read_beyond_its_bound(prices: Path, mistakes_in: Mistakes) -> None:
    with prices.open("wb") as file:
        file.truncate(PRICES_MAX_BYTES + 1)  # sparse

    assert "longer than" in mistakes_in("")["ledger.prices"]


@pytest.mark.parametrize("text", ["ledger = 3", "[ledger]\nprices = 3"])
def test_a_mistake_in_where_prices_are_is_not_followed_by_others(
    prices: Path, mistakes_in: Mistakes, text: str
) -> None:
    prices.write_text("typo = 1")

    assert len(mistakes_in(text)) == 1


def test_prices_in_the_configuration_are_told_where_they_belong(mistakes_in: Mistakes) -> None:
    assert "ledger.prices" in mistakes_in(PRICE)["prices"]


def test_the_usual_place_is_looked_at_where_none_is_named(prices: Path) -> None:
    around = Surroundings(environ={}, directory=prices.parent)

    assert prices_path(LedgerSettings(), around) is None
    prices.touch()
    assert prices_path(LedgerSettings(), around) == prices
    assert prices_path(LedgerSettings(prices="/named"), around) == Path("/named")


def test_every_mistake_names_the_file(prices: Path) -> None:
    prices.write_text("a = 1\nprices = 2")

    book, mistakes = read_prices(prices, Surroundings(environ={}, directory=prices.parent))

    assert book == PriceBook()
    assert [(mistake.path, mistake.file) for mistake in mistakes] == [
        ("a", str(prices)),
        ("prices", str(prices)),
    ]


SCALARS = (
    st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400)])  # beyond what a float holds
    | st.floats()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.text()
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(), SCALARS, max_size=2)
RATES = st.dictionaries(st.sampled_from(["text_in", "audio_out"]), st.just("0.5") | VALUES)
SOUND = {
    "models": st.lists(st.sampled_from(["a", "b*", "c"]), max_size=2),
    "date": st.dates(),
    "source": st.just("a list"),
    "per_million": RATES,
    "per_second": st.just("0.01"),
}
TABLES = st.fixed_dictionaries(
    {}, optional={name: sound | VALUES for name, sound in SOUND.items()}
) | st.fixed_dictionaries(SOUND)


@given(st.dictionaries(st.just("prices") | st.text(), VALUES | st.lists(TABLES, max_size=2)))
def test_whatever_stands_in_a_document_only_mistakes_come_of_it(document: dict[str, Any]) -> None:
    book, mistakes = prices_of(document, Surroundings(environ={}, directory=Path("/nonexistent")))

    assert isinstance(book, PriceBook)
    for mistake in mistakes:
        assert mistake.message
        assert str(mistake).isprintable()
    if not mistakes:
        for price in book.prices:
            assert any(isinstance(value, Decimal) for value in attrs.astuple(price))
