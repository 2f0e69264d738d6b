"""The count of what was reported."""

from __future__ import annotations

from relayd.sim.realtime.tally import Tally
from relayd.sim.realtime.usage import NO_USAGE, Tokens, Usage

TOLD = Usage(read=Tokens(5, 4, 3), cached=Tokens(2), written=Tokens(1, 9))


def test_what_was_told_adds_up_kind_by_kind() -> None:
    tally = Tally().plus_response(TOLD, TOLD).plus_response(TOLD, TOLD)

    assert (tally.responses, tally.untold) == (2, 0)
    assert tally.usage == TOLD + TOLD
    assert tally.cached == Tokens(4)


def test_a_response_that_told_nothing_is_counted_and_its_usage_kept_apart() -> None:
    tally = Tally().plus_response(TOLD, None)

    assert (tally.responses, tally.untold) == (1, 1)
    assert (tally.usage, tally.untold_usage) == (NO_USAGE, TOLD)


def test_cached_tokens_are_sorted_response_by_response() -> None:
    flat = Usage(read=Tokens(5, 5), cached=Tokens(unsorted=7))
    little = Usage(read=Tokens(50, 5), cached=Tokens(unsorted=7))

    tally = Tally().plus_response(flat, flat).plus_response(little, little)

    assert tally.usage.cached == Tokens(unsorted=14)
    assert tally.cached == Tokens(5 + 7, 2)


def test_two_tallies_add_up_field_by_field() -> None:
    one = Tally(
        responses=1,
        usage=TOLD,
        cached=Tokens(2),
        untold=3,
        untold_usage=TOLD,
        transcriptions=4,
        transcription_usage=TOLD,
        transcription_ms=5,
        transcriptions_untold=6,
    )

    assert one + one == Tally(
        responses=2,
        usage=TOLD + TOLD,
        cached=Tokens(4),
        untold=6,
        untold_usage=TOLD + TOLD,
        transcriptions=8,
        transcription_usage=TOLD + TOLD,
        transcription_ms=10,
        transcriptions_untold=12,
    )
