"""Dollars and nano-dollars."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.core.money import NANO, nano_of, usd_of

IN_64_BITS = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize(
    ("usd", "nano"),
    [
        ("0", 0),
        ("1", NANO),
        ("0.000000001", 1),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("0.0000000025", 2),
        ("0.00000000250000000000000000001", 3),
        ("-0.0000000015", -2),
        ("1E+3", 1000 * NANO),
        ("9223372036.854775807", 2**63 - 1),
    ],
)
def test_dollars_are_rounded_once_half_to_even(usd: str, nano: int) -> None:
    assert nano_of(Decimal(usd)) == nano


@given(IN_64_BITS)
def test_a_nano_dollar_is_never_lost_on_the_way_there_and_back(nano: int) -> None:
    assert nano_of(usd_of(nano)) == nano


@given(st.lists(IN_64_BITS, max_size=20))
def test_the_sum_of_the_parts_is_the_part_of_the_sum(parts: list[int]) -> None:
    assert sum(map(usd_of, parts)) == usd_of(sum(parts))


def test_an_amount_is_shown_in_full() -> None:
    assert f"{usd_of(1_234_567_890):f}" == "1.234567890"
