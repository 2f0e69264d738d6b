"""What the shapes make of money and time."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest

from relayd.service.admin.shapes import ENCODER, dollars, moment


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0E-9", "0"),
        ("12.500000000", "12.5"),
        ("100", "100"),
        ("1E+2", "100"),
        ("0.000000001", "1E-9"),
        ("9223372036.854775807", "9223372036.854775807"),
    ],
)
def test_dollars_are_plain_and_exact(amount: str, text: str) -> None:
    assert ENCODER.encode(dollars(Decimal(amount))).decode() == text


def test_a_moment_is_utc_to_the_millisecond() -> None:
    assert moment(0.0016) == datetime.datetime(1970, 1, 1, 0, 0, 0, 2000, datetime.UTC)
    assert ENCODER.encode(moment(1_800_000_000.25)) == b'"2027-01-15T08:00:00.250000Z"'
