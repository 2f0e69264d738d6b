"""Tokens, and the usage object they become."""

from __future__ import annotations

import pytest

from relayd.sim.realtime.usage import (
    Tally,
    Tokens,
    Usage,
    model_audio_tokens,
    user_audio_tokens,
    words,
)


def test_a_word_is_a_token() -> None:
    assert words("two  words") == 2
    assert words("") == 0


@pytest.mark.parametrize(("length_ms", "user", "model"), [(0, 0, 0), (1000, 10, 20), (1, 1, 1)])
def test_audio_costs_by_the_second(length_ms: int, user: int, model: int) -> None:
    assert (user_audio_tokens(length_ms), model_audio_tokens(length_ms)) == (user, model)


def test_usage_has_the_documented_shape() -> None:
    usage = Usage(read=Tokens(119, 13, 0), cached=Tokens(64, 0, 0), written=Tokens(30, 91))

    assert usage.on_the_wire() == {
        "total_tokens": 253,
        "input_tokens": 132,
        "output_tokens": 121,
        "input_token_details": {
            "text_tokens": 119,
            "audio_tokens": 13,
            "image_tokens": 0,
            "cached_tokens": 64,
            "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
    }


def test_a_tally_adds_up_kind_by_kind() -> None:
    usage = Usage(read=Tokens(5, 4, 3), cached=Tokens(2), written=Tokens(1, 9))

    tally = Tally().plus_response(usage).plus_response(usage).plus_transcription(tokens=7)

    assert tally.responses == 2
    assert tally.usage.read == Tokens(10, 8, 6)
    assert tally.usage.written.total == 20
    assert (tally + tally).transcription_tokens == 14
