"""Decimals in the configuration."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.amounts import DIGITS_MAX, Amount
from relayd.config.files import Surroundings
from relayd.config.mistakes import Wrong

AROUND = Surroundings(environ={}, directory=Path("/nonexistent"))
RULE = Amount(least=Decimal("0.01"), most=Decimal(1000))


def refusal_of(rule: Amount, value: object) -> str:
    with pytest.raises(Wrong) as caught:
        rule.read(value, AROUND)
    return str(caught.value)


@pytest.mark.parametrize("value", ["12.50", "0.01", "1000", "999.999999999", 1, 1000])
def test_a_decimal_is_read_to_the_digit(value: str | int) -> None:
    read = RULE.read(value, AROUND)

    assert str(read) == str(value)


@pytest.mark.parametrize(
    "value",
    ["", "a", "-1", "+1", "1.", ".5", "1e3", "1_0", " 1", "1\n", "01", "NaN", "inf", "٣", "1,5"],
)
def test_only_plain_decimals_are_read(value: str) -> None:
    assert 'expected a decimal in quotes such as "12.50"' in refusal_of(RULE, value)


@pytest.mark.parametrize("value", [True, False, None, [], {}, [1]])
def test_nothing_but_text_and_integers_is_a_decimal(value: object) -> None:
    assert "expected a decimal" in refusal_of(RULE, value)


@pytest.mark.parametrize("value", [0.4, 1.0, float("nan"), float("inf")])
def test_a_number_with_a_point_is_told_to_go_into_quotes(value: float) -> None:
    assert "write it in quotes" in refusal_of(RULE, value)


def test_the_lower_bound_holds() -> None:
    for value in ("0", "0.009", 0, -1, -(10**5000)):
        assert "at least 0.01" in refusal_of(RULE, value)


def test_the_upper_bound_holds() -> None:
    for value in ("1000.000000001", "1001", 1001, 10**20, 10**5000):
        assert "expected at most 1000" in refusal_of(RULE, value)


def test_digits_are_bounded() -> None:
    assert "at most 9 digits after the point" in refusal_of(RULE, "1.0000000000")
    assert RULE.read("0." + "1" * 9, AROUND) == Decimal("0.111111111")
    assert "expected a decimal" in refusal_of(RULE, "1" * (DIGITS_MAX + 1))


@given(st.text("0123456789.-+eE _", max_size=30) | st.text() | st.integers())
def test_what_is_read_is_within_its_bounds_and_what_was_written(value: str | int) -> None:
    try:
        read = RULE.read(value, AROUND)
    except Wrong:
        return
    assert RULE.least <= read <= RULE.most
    assert str(read) == str(value)
