"""What usage costs: to the last thousand-millionth of a dollar, and never less than is known."""

from __future__ import annotations

import datetime
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.pricebook import Price
from relayd.dialect.meter import TurnAsk, Usage
from relayd.ledger.costs import COST_MAX_USD, cost_of, known_cost, reserve_for, time_cost

ONE = Decimal(1)


def price(**rates: str) -> Price:
    figures = {name: Decimal(rate) for name, rate in rates.items()}
    unpriced = Price(models=("m",), date=datetime.date(2026, 1, 1), source="a test")
    return attrs.evolve(unpriced, **figures)  # type: ignore[arg-type]  # passed on as given


GPT_REALTIME = price(
    text_in="4",
    text_cached_in="0.4",
    audio_in="32",
    audio_cached_in="0.4",
    image_in="5",
    image_cached_in="0.5",
    text_out="16",
    audio_out="64",
)
USAGE = Usage(
    source="response",
    input_text=119,
    input_audio=13,
    cached_text=64,
    output_text=30,
    output_audio=91,
    input_total=132,
    output_total=121,
)


def test_a_response_costs_the_sum_of_its_kinds() -> None:
    by_hand = 55 * 4_000 + 64 * 400 + 13 * 32_000 + 30 * 16_000 + 91 * 64_000

    assert cost_of(USAGE, GPT_REALTIME, ONE) == by_hand


@pytest.mark.parametrize(
    ("factor", "expected"), [("1.5", 10_448_400), ("0.5", 3_482_800), ("0.00005", 348)]
)
def test_the_key_s_factor_applies_to_the_whole(factor: str, expected: int) -> None:
    assert cost_of(USAGE, GPT_REALTIME, Decimal(factor)) == expected


def test_cached_tokens_without_a_rate_of_their_own_cost_as_much_as_others() -> None:
    plain = attrs.evolve(GPT_REALTIME, text_cached_in=None)

    assert cost_of(USAGE, plain, ONE) == cost_of(attrs.evolve(USAGE, cached_text=0), plain, ONE)


def test_a_kind_that_was_used_and_has_no_rate_makes_the_cost_unknown() -> None:
    assert cost_of(USAGE, attrs.evolve(GPT_REALTIME, audio_out=None), ONE) is None


def test_a_kind_that_was_not_used_needs_no_rate() -> None:
    text = Usage(source="response", input_text=10, output_text=1, input_total=10, output_total=1)

    assert cost_of(text, price(text_in="4", text_out="16"), ONE) == 56_000


def test_a_model_that_is_billed_by_request_charges_no_tokens() -> None:
    assert cost_of(USAGE, price(per_second="0.001", per_request="0.004"), ONE) == 4_000_000


def test_a_transcription_by_duration_costs_its_seconds() -> None:
    usage = Usage(source="transcription", seconds=12.5)

    assert cost_of(usage, price(per_second="0.0001"), ONE) == 1_250_000


@pytest.mark.parametrize(
    ("usage", "rates"),
    [
        (Usage(source="transcription", seconds=2.0), {"audio_in": "2.5"}),
        (Usage(source="transcription", input_audio=9, input_total=9), {"per_second": "0.1"}),
    ],
    ids=["seconds without a rate", "tokens without a rate"],
)
def test_a_transcription_that_is_told_otherwise_than_it_is_priced_is_unknown(
    usage: Usage, rates: dict[str, str]
) -> None:
    assert cost_of(usage, price(**rates), ONE) is None


ESTIMATED = Usage(
    source="transcription", input_audio=40, output_text=10, seconds=4.0, estimated=True
)


@pytest.mark.parametrize(
    ("rates", "nano"),
    [
        ({"per_second": "0.0001"}, 400_000),
        ({"audio_in": "2.5", "text_out": "10"}, 40 * 2_500 + 10 * 10_000),
        ({"audio_in": "2.5", "text_out": "10", "per_second": "0.0001"}, 200_000),
        ({"audio_in": "2.5", "per_second": "0.0001"}, None),
        ({"per_request": "1"}, None),
    ],
    ids=["seconds", "tokens", "tokens before seconds", "not all tokens", "neither"],
)
def test_a_usage_in_both_measures_is_billed_by_the_one_that_has_a_price(
    rates: dict[str, str], nano: int | None
) -> None:
    assert cost_of(ESTIMATED, price(**rates), ONE) == nano


@pytest.mark.parametrize(
    ("usage", "rates", "nano"),
    [
        (USAGE, {"text_out": "16"}, 30 * 16_000),
        (USAGE, {"text_out": "16", "per_request": "0.001"}, 30 * 16_000 + 1_000_000),
        (ESTIMATED, {"audio_in": "2.5"}, 40 * 2_500),
        (Usage(source="transcription", seconds=2.0), {"audio_in": "2.5"}, 0),
    ],
)
def test_the_known_part_of_an_unknown_cost(usage: Usage, rates: dict[str, str], nano: int) -> None:
    assert cost_of(usage, price(**rates), ONE) is None
    assert known_cost(usage, price(**rates), ONE) == nano
    assert known_cost(usage, price(**rates), Decimal(2)) == 2 * nano


def test_the_known_part_of_a_known_cost_is_all_of_it() -> None:
    assert known_cost(USAGE, GPT_REALTIME, ONE) == cost_of(USAGE, GPT_REALTIME, ONE)


def test_nonsense_of_an_upstream_is_not_believed() -> None:
    huge = Usage(source="response", output_audio=2**53, output_total=2**53)

    assert cost_of(huge, GPT_REALTIME, ONE) is None
    assert known_cost(huge, GPT_REALTIME, ONE) == 10_000 * 10**9
    assert cost_of(Usage(source="transcription", seconds=1e300), price(per_second="1"), ONE) is None


def test_time_costs_by_the_second_and_the_request_once() -> None:
    both = price(per_second="0.01", per_request="1")

    assert time_cost(60.0, both, ONE) == 600_000_000
    assert time_cost(60.0, both, Decimal(2), per_request=True) == 3_200_000_000
    assert time_cost(60.0, GPT_REALTIME, ONE) is None


def test_a_slice_of_time_costs_no_more_than_any_row() -> None:
    dear = price(per_second="1")

    assert time_cost(10_000.0, dear, ONE) == 10_000 * 10**9
    assert time_cost(10_000.0, dear, Decimal("1.0001")) is None
    assert time_cost(10_000.001, dear, ONE) is None


def ask(**more: object) -> TurnAsk:
    expected = Usage(source="response", input_text=10, input_audio=100, estimated=True)
    return TurnAsk(now=0.0, expected=expected, **more)  # type: ignore[arg-type]  # passed on


@pytest.mark.parametrize(
    ("more", "limit", "output_nano"),
    [
        ({}, None, 4096 * 64_000),
        ({"output_max_tokens": 50}, None, 50 * 64_000),
        ({"output_max_tokens": 50, "audio": False}, None, 50 * 16_000),
        ({"output_max_tokens": 10_000}, None, 4096 * 64_000),
        ({}, 1000, 1000 * 64_000),
    ],
    ids=["longest", "the client's limit", "text alone", "never more", "the model's limit"],
)
def test_the_expected_input_and_the_longest_output_are_set_aside(
    more: dict[str, object], limit: int | None, output_nano: int
) -> None:
    known = attrs.evolve(GPT_REALTIME, output_max_tokens=limit)

    assert reserve_for(ask(**more), known, ONE) == 10 * 4_000 + 100 * 32_000 + output_nano


COUNTS = st.integers(0, 10**6)


@given(st.tuples(COUNTS, COUNTS, COUNTS), st.tuples(COUNTS, COUNTS))
def test_more_cached_tokens_never_cost_more(
    given_tokens: tuple[int, int, int], out: tuple[int, int]
) -> None:
    text, audio, image = given_tokens
    usage = Usage(
        source="response",
        input_text=text,
        input_audio=audio,
        input_image=image,
        output_text=out[0],
        output_audio=out[1],
    )
    cached = attrs.evolve(usage, cached_text=text, cached_audio=audio // 2, cached_image=image // 3)

    cheaper, dearer = cost_of(cached, GPT_REALTIME, ONE), cost_of(usage, GPT_REALTIME, ONE)

    assert cheaper is not None
    assert dearer is not None
    assert 0 <= cheaper <= dearer <= COST_MAX_USD * 10**9
