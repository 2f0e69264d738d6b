from __future__ import annotations

import enum
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import PurePosixPath

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relayd.core.money import NANO, usd_of
from relayd.observe.values import (
    DEPTH_MAX,
    DIGITS_MAX,
    HIDDEN,
    ITEMS_MAX,
    TEXT_MAX,
    plain_field,
    plain_fields,
    plain_value,
)


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    YES = "yes"


class Number(enum.IntEnum):
    ONE = 1


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (12, 12),
        (1.5, 1.5),
        ("text", "text"),
        (Colour.RED, "red"),
        (Word.YES, "yes"),
        (Number.ONE, 1),
        (b"\xc3\xa9t\xc3\xa9\xff", "été\\xff"),
        (bytearray(b"x"), "x"),
        (PurePosixPath("/a/b"), "/a/b"),
        (ValueError("bad"), "ValueError: bad"),
        (Decimal("0.10"), msgspec.Raw(b"0.10")),
        (Decimal("7.0E-8"), msgspec.Raw(b"0.000000070")),
        (Decimal("-1E-9"), msgspec.Raw(b"-0.000000001")),
        (Decimal("1.2E+3"), msgspec.Raw(b"1200")),
        (Decimal("1E+999999"), "<1000000 digits>"),
        (Decimal("1E-999999"), "<999999 digits>"),
        (Decimal("NaN"), None),
        (Decimal("-Infinity"), None),
        (2**63 - 1, 2**63 - 1),
        (2**80, "<81 bits>"),
        (("a", 1), ["a", 1]),
        ({"a": (1, b"b")}, {"a": [1, "b"]}),
        ({Decimal("7E-8"): 1}, {"7E-8": 1}),
        (Hostile(), "<Hostile>"),
        (int, "<type>"),
    ],
)
def test_a_value_is_shown_as_json_knows_it(value: object, shown: object) -> None:
    assert plain_value(value) == shown


@pytest.mark.parametrize(
    "name", ["authorization", "Authorization", "api_key", "x-api-key", "token"]
)
def test_a_field_that_is_named_like_a_key_is_hidden(name: str) -> None:
    assert plain_field(name, "sk-1") == HIDDEN
    assert plain_field(name, None) is None


@pytest.mark.parametrize("headers", [dict, list, tuple])
def test_header_values_that_may_hold_a_key_are_hidden_by_name(
    headers: Callable[[list[tuple[object, object]]], object],
) -> None:
    given_headers = headers([("Host", "relay"), ("Authorization", "Bearer x"), ("COOKIE", "y")])

    shown = repr(plain_field("headers", given_headers))

    assert "relay" in shown
    assert "Bearer" not in shown
    assert "'y'" not in shown


def test_header_names_may_be_bytes() -> None:
    assert plain_field("headers", [(b"api-key", b"x")]) == [["api-key", HIDDEN]]


def test_a_message_loses_what_looks_like_a_key() -> None:
    assert plain_field("message", "got sk-abcdefgh12") == "got [redacted]"


@pytest.mark.parametrize("character", ["\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\ud800"])
def test_what_ends_a_line_or_steers_a_terminal_is_escaped(character: str) -> None:
    shown = plain_value(f"a{character}b")

    assert isinstance(shown, str)
    assert shown.isprintable()


def test_a_long_text_is_cut() -> None:
    assert plain_value("x" * 10_000) == "x" * TEXT_MAX + "…"
    assert plain_value(b"x" * 10_000) == "x" * TEXT_MAX + "…"


def test_long_and_deep_collections_are_cut() -> None:
    nested: object = "deep"
    for _ in range(100):
        nested = [nested]

    assert len(msgspec.json.encode(plain_value(nested))) <= len("<list>") + 2 * DEPTH_MAX + 2
    assert plain_value(list(range(1000))) == list(range(ITEMS_MAX))
    assert len(msgspec.json.encode(plain_value({i: i for i in range(1000)}))) < 1000


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.binary()
    | st.text(st.characters()) | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(), inner),
)  # fmt: skip


@given(st.text(), ANYTHING)
def test_any_value_can_be_encoded(name: str, value: object) -> None:
    encoded = msgspec.json.encode(plain_field(name, value))

    msgspec.json.decode(encoded)


NAMES = st.sampled_from(["account", "message", "api_key", "traceback", "authorization"]) | st.text()
PLAIN = st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.text("aé\x85\n")


@given(NAMES, PLAIN | ANYTHING)
@example("account", "a" * (TEXT_MAX + 1))
@example("account", 1 << 63)
@example("message", "sk-abcdefghijklmnopqrstuvwxyz")
@example("api_key", "x")
def test_fields_are_shown_as_each_is_alone(name: str, value: object) -> None:
    shown = plain_fields({name: value})

    assert msgspec.json.encode(shown) == msgspec.json.encode({name: plain_field(name, value)})


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_written_in_plain_digits_and_is_still_the_same_number(value: Decimal) -> None:
    text = msgspec.json.encode(plain_field("cost_usd", value)).decode()

    if text.startswith('"<'):
        assert max(value.adjusted() + 1, 0) - min(int(value.as_tuple().exponent), 0) > DIGITS_MAX
    else:
        assert set(text) <= set("-.0123456789")
        assert len(text) <= len("-0.") + DIGITS_MAX
        assert Decimal(text) == value
        assert isinstance(json.loads(text), int | float)


@pytest.mark.parametrize("nano", [1, 70, 999, 1_000, 123_456_789, 10**13])
def test_an_amount_of_money_is_never_written_with_an_exponent(nano: int) -> None:
    text = msgspec.json.encode(plain_field("cost_usd", usd_of(nano))).decode()

    assert text == f"{nano // NANO}.{nano % NANO:09d}"
