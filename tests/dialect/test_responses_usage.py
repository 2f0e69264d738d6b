"""Usage of a response: every shape that was seen, and shapes that nobody should send."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.meter import Usage
from relayd.dialect.responses_usage import COUNT_MAX, ToldUsage, read_usage


def usage_of(wire: object) -> ToldUsage | None:
    return read_usage(msgspec.Raw(json.dumps(wire).encode()), "resp_1")


def told(wire: object) -> ToldUsage:
    usage = usage_of(wire)
    assert usage is not None
    return usage


def test_every_number_is_read() -> None:
    assert usage_of(
        {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 15},
            "total_tokens": 120,
        }
    ) == ToldUsage(
        Usage(
            source="response",
            upstream_id="resp_1",
            input_text=100,
            cached_text=60,
            output_text=20,
            input_total=100,
            output_total=20,
        ),
        reasoning_tokens=15,
        cache_write_tokens=30,
    )


@pytest.mark.parametrize(
    "wire",
    [
        None,
        {},
        {"input_tokens": None},
        {"input_tokens_details": {"cached_tokens": 5}},
        {"input_tokens": -5},
        {"input_tokens": 5.5},
        {"input_tokens": True},
        {"input_tokens": "5"},
        {"input_tokens": COUNT_MAX + 1},
        {"input_tokens": 1e300, "output_tokens": {}, "total_tokens": []},
        [],
        "usage",
        5,
    ],
)
def test_no_usage_and_nonsense_are_none(wire: object) -> None:
    assert usage_of(wire) is None


@pytest.mark.parametrize(
    "raw",
    [
        b'{"input_tokens":',
        b'{"input_tokens":' + b"1" * 5000 + b"}",
        b'{"input_tokens_details":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_cannot_be_read_is_none(raw: bytes) -> None:
    assert read_usage(msgspec.Raw(raw), None) is None


@pytest.mark.parametrize(
    ("wire", "read", "written"),
    [
        ({"input_tokens": 7}, 7, 0),
        ({"output_tokens": 7}, 0, 7),
        ({"input_tokens": 7, "total_tokens": 10}, 7, 3),
        ({"output_tokens": 7, "total_tokens": 10}, 3, 7),
        ({"output_tokens": 17, "total_tokens": 10}, 0, 17),
        ({"total_tokens": 10}, 10, 0),
        ({"input_tokens": 7, "output_tokens": -1}, 7, 0),
    ],
)
def test_what_is_not_told_is_made_up_and_marked(
    wire: dict[str, int], read: int, written: int
) -> None:
    usage = told(wire).usage

    assert (usage.input_total, usage.output_total, usage.estimated) == (read, written, True)


def test_both_directions_alone_are_the_upstreams_own_word() -> None:
    usage = told({"input_tokens": 7.0, "output_tokens": 3, "total_tokens": 99}).usage

    assert (usage.input_text, usage.output_text, usage.estimated) == (7, 3, False)


def test_a_part_is_cut_down_to_its_whole_and_marked() -> None:
    usage = told(
        {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 11, "cache_write_tokens": 12},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 4},
        }
    )

    assert (usage.usage.cached_text, usage.cache_write_tokens, usage.reasoning_tokens) == (
        10,
        10,
        3,
    )
    assert usage.usage.estimated


def test_odd_details_hide_nothing_else() -> None:
    usage = told(
        {"input_tokens": 10, "output_tokens": 3, "input_tokens_details": [], "x": {"y": 1}}
    ).usage

    assert (usage.input_total, usage.output_total, usage.estimated) == (10, 3, True)


NUMBERS = st.one_of(
    st.none(),
    st.integers(-10, 2 * COUNT_MAX),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.booleans(),
)
DETAILS = st.one_of(
    st.none(),
    st.integers(),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("cached_tokens", "cache_write_tokens", "reasoning_tokens"), NUMBERS
        ),
    ),
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), NUMBERS),
            **dict.fromkeys(("input_tokens_details", "output_tokens_details"), DETAILS),
        },
    )
)
def test_whatever_is_told_no_part_exceeds_its_whole(wire: dict[str, object]) -> None:
    told = usage_of(wire)

    if told is not None:
        usage = told.usage
        assert 0 <= usage.cached_text <= usage.input_total == usage.input_text <= COUNT_MAX
        assert 0 <= told.cache_write_tokens <= usage.input_total
        assert 0 <= told.reasoning_tokens <= usage.output_total == usage.output_text <= COUNT_MAX
