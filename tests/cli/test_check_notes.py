"""What is no mistake in a configuration, and yet hardly meant."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.cli.check_notes import notes, overlap
from relayd.config.pricebook import Price, PriceBook
from relayd.config.schema import AccountSettings, KeySettings, Settings


def price(*models: str, out: str | None = None, per_second: str | None = None) -> Price:
    return Price(
        models=models,
        audio_out=None if out is None else Decimal(out),
        per_second=None if per_second is None else Decimal(per_second),
        date=datetime.date(2026, 11, 1),
        source="a list",
    )


BOOK = PriceBook((price("large", "large-20*", out="100"), price("small", out="10")))
"""What is set aside for the longest response: 0.4096 and 0.04096 dollars."""


def noted(
    budget: str, *models: str, book: PriceBook = BOOK, factor: str = "1", enabled: bool = True
) -> list[str]:
    key = KeySettings(
        name="dev",
        budget_usd=Decimal(budget),
        models=models or ("*",),
        price_factor=Decimal(factor),
        enabled=enabled,
    )
    account = AccountSettings(name="a", provider="openai", model_map={"voice": "large"})
    return list(notes(Settings(keys=(key,), accounts=(account,), prices=book)))


@pytest.mark.parametrize(
    ("budget", "models", "is_noted"),
    [
        ("0.04", (), True),
        ("0.04096", (), False),
        ("0.4", ("large",), True),
        ("0.4", ("large-2*",), True),
        ("0.4096", ("large",), False),
        ("0.4", ("large", "sm*"), False),
        ("0.4", ("voice",), True),
        ("0.4096", ("voi*",), False),
        ("0", (), False),
        ("0.01", ("unknown",), False),
    ],
)
def test_a_budget_that_bears_no_response_of_any_model_is_noted(
    budget: str, models: tuple[str, ...], *, is_noted: bool
) -> None:
    assert bool(noted(budget, *models)) is is_noted


def test_the_note_names_the_key_its_budget_and_what_is_set_aside() -> None:
    (note,) = noted("0.3", "large", factor="2")

    assert "key dev has a budget of 0.3 US dollars, and 0.8192 are set aside" in note


def test_models_that_are_billed_by_time_are_left_out() -> None:
    timed = price("timed", per_second="1")

    assert noted("0.01", book=PriceBook((timed,))) == []
    assert len(noted("0.01", book=PriceBook((timed, *BOOK.prices)))) == 1


def test_a_disabled_key_is_not_noted() -> None:
    assert noted("0.01", enabled=False) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("", "*", True),
        ("a*", "*b", True),
        ("a*", "b*", False),
        ("a*c", "abc*", True),
        ("*a*", "b", False),
        ("ab", "a", False),
    ],
)
def test_patterns_overlap_where_a_name_matches_both(
    one: str, other: str, *, expected: bool
) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


@given(st.text("ab*", max_size=6), st.text("ab", max_size=6))
def test_a_name_overlaps_with_the_patterns_that_match_it(pattern: str, name: str) -> None:
    matches = re.fullmatch(pattern.replace("*", ".*"), name) is not None

    assert overlap(pattern, name) is matches


@given(st.text("ab", max_size=6), st.data())
def test_two_patterns_of_one_name_overlap(name: str, data: st.DataObject) -> None:
    def pattern() -> str:
        start = data.draw(st.integers(0, len(name)))
        return name[:start] + "*" + name[data.draw(st.integers(start, len(name))) :]

    assert overlap(pattern(), pattern())
