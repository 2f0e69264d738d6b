"""Tokens, and the usage object they become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.realtime.usage import (
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


def test_usage_adds_up_kind_by_kind() -> None:
    usage = Usage(read=Tokens(5, 4, 3, 2), cached=Tokens(2, 1), written=Tokens(1, 9))

    assert usage + usage == Usage(
        read=Tokens(10, 8, 6, 4), cached=Tokens(4, 2), written=Tokens(2, 18)
    )
    assert usage.read.total == 14


@pytest.mark.parametrize(
    ("cached", "by_kind"),
    [
        (Tokens(3, 2, 1), Tokens(3, 2, 1)),
        (Tokens(unsorted=4), Tokens(4)),
        (Tokens(unsorted=12), Tokens(10, 2)),
        (Tokens(unsorted=33), Tokens(10, 20, 3)),
        (Tokens(1, unsorted=10), Tokens(10, 1)),
    ],
)
def test_cached_tokens_without_a_kind_count_as_text_first(cached: Tokens, by_kind: Tokens) -> None:
    assert Usage(read=Tokens(10, 20, 30), cached=cached).sorted_cached() == by_kind


COUNTS = st.integers(0, 2**40)


@given(st.builds(Tokens, COUNTS, COUNTS, COUNTS), st.integers(0, 2**42))
def test_sorting_loses_no_token_and_caches_none_that_was_not_read(read: Tokens, flat: int) -> None:
    flat = min(flat, read.total)

    by_kind = Usage(read=read, cached=Tokens(unsorted=flat)).sorted_cached()

    assert by_kind.total == flat
    assert by_kind.at_most(read) == by_kind
