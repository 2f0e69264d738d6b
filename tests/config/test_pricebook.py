"""Prices by the name of a model."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.patterns import Patterns
from relayd.config.pricebook import Price, PriceBook

NAMES = st.text("ab*", min_size=1, max_size=4)


def price(*models: str, text_in: str = "1") -> Price:
    return Price(
        models=models,
        text_in=Decimal(text_in),
        date=datetime.date(2026, 11, 1),
        source="a test",
    )


def test_an_empty_book_has_no_price() -> None:
    assert PriceBook().find("gpt-realtime") is None
    assert PriceBook() == PriceBook(())


@pytest.mark.parametrize(
    ("model", "index"),
    [
        ("gpt-realtime", 2),
        ("gpt-realtime-mini", 0),
        ("gpt-realtime-2", 1),
        ("gpt-realtime-mini-2025", 0),
        ("relay/echo", 3),
        ("relay/echo/x", None),
        ("GPT-realtime", None),
        ("", None),
    ],
)
def test_an_exact_name_wins_then_the_first_pattern(model: str, index: int | None) -> None:
    prices = (
        price("*-mini*"),
        price("gpt-realtime*"),
        price("gpt-*", "gpt-realtime", "voice"),
        price("relay/echo"),
    )

    found = PriceBook(prices).find(model)

    assert found is (None if index is None else prices[index])


def test_an_exact_name_wins_over_a_pattern_of_the_same_price_before_it() -> None:
    early, late = price("a*", "b"), price("ab")

    assert PriceBook((early, late)).find("ab") is late
    assert PriceBook((early, late)).find("abc") is early


def test_of_two_equal_names_the_first_one_counts() -> None:
    first, second = price("a"), price("a", text_in="2")

    assert PriceBook((first, second)).find("a") is first


def test_a_book_can_be_compared_and_hashed() -> None:
    book = PriceBook((price("a"),))

    assert book == PriceBook((price("a"),))
    assert len({book, PriceBook((price("a"),)), PriceBook((price("b"),))}) == 2


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=4), st.text("ab", max_size=4))
def test_a_price_is_found_if_any_of_its_names_matches(lists: list[list[str]], model: str) -> None:
    found = PriceBook(tuple(price(*models) for models in lists)).find(model)

    candidates = [models for models in lists if Patterns.of(models).matches(model)]
    assert (found is None) is (not candidates)
    if found is not None:
        exact = [models for models in candidates if model in models]
        assert found.models == tuple((exact or candidates)[0])
