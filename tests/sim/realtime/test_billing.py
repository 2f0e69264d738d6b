"""What providers report of what a response has used, and what can be learnt from it."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from relayd.sim.realtime.billing import (
    BILLINGS,
    Billing,
    billing_of,
    misreport,
    report,
    report_empty,
    report_flat,
    report_totals,
)
from relayd.sim.realtime.scenario import Scenario
from relayd.sim.realtime.usage import Tokens, Usage

USED = Usage(read=Tokens(119, 13, 100), cached=Tokens(64, 5, 1), written=Tokens(30, 91))
TOTALS = {"total_tokens": 353, "input_tokens": 232, "output_tokens": 121}


def test_a_report_has_the_documented_shape() -> None:
    made = report(USED, 1)

    assert made.told == USED
    assert made.wire == TOTALS | {
        "input_token_details": {
            "text_tokens": 119,
            "audio_tokens": 13,
            "image_tokens": 100,
            "cached_tokens": 70,
            "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 5, "image_tokens": 1},
        },
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
    }


def test_a_flat_report_tells_no_kind_of_what_is_cached() -> None:
    made = report_flat(USED, 1)

    assert made.told == Usage(read=USED.read, cached=Tokens(unsorted=70), written=USED.written)
    assert made.wire == TOTALS | {
        "input_token_details": {
            "text_tokens": 119,
            "audio_tokens": 13,
            "image_tokens": 100,
            "cached_tokens": 70,
        },
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
    }


def test_totals_come_without_details_and_with_null_ones_by_turns() -> None:
    first, second, third = (report_totals(USED, number) for number in (1, 2, 3))

    assert first.wire == third.wire == TOTALS
    assert second.wire == TOTALS | {"input_token_details": None, "output_token_details": None}
    assert first.told == Usage(read=Tokens(unsorted=232), written=Tokens(unsorted=121))


def test_an_empty_report_tells_nothing() -> None:
    made = report_empty(USED, 1)

    assert (made.wire, made.told) == ({}, None)


def test_mistakes_come_one_after_the_other_and_tell_nothing() -> None:
    made = [misreport(USED, number) for number in range(1, 6)]

    assert [each.wire for each in made] == [None, {}, UNSET, {"output_token_details": None}, None]
    assert {each.told for each in made} == {None}


def test_what_has_no_billing_of_its_own_is_billed_as_documented() -> None:
    assert billing_of(Scenario.NORMAL) == Billing()


@pytest.mark.parametrize("scenario", BILLINGS)
def test_a_billing_of_its_own_differs_from_the_ordinary_one(scenario: Scenario) -> None:
    billing = billing_of(scenario)

    assert billing != Billing()
    assert billing.cached.at_most(billing.prompt) == billing.cached
