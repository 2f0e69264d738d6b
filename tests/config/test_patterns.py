"""Names with ``*`` in them."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.patterns import Patterns

LETTERS = st.text("ab*", max_size=8)
NAMES = st.text("ab", max_size=10)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "", True),
        ("*", "anything", True),
        ("gpt-realtime*", "gpt-realtime", True),
        ("gpt-realtime*", "gpt-realtime-2", True),
        ("gpt-realtime*", "a-gpt-realtime", False),
        ("gpt-*-mini", "gpt-mini", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("GPT-*", "gpt-5", False),
        ("gpt-5", "gpt-5", True),
        ("gpt-5", "gpt-50", False),
        ("gpt-?", "gpt-5", False),
        ("gpt-[5]", "gpt-5", False),
        ("gpt-[5]", "gpt-[5]", True),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_only_the_star_is_special(pattern: str, name: str, matches: bool) -> None:
    assert Patterns.of([pattern]).matches(name) is matches


@given(LETTERS, NAMES)
def test_stars_mean_what_the_standard_library_says(pattern: str, name: str) -> None:
    assert Patterns.of([pattern]).matches(name) is fnmatch.fnmatchcase(name, pattern)


@given(st.lists(LETTERS, max_size=4), NAMES)
def test_a_name_matches_if_any_pattern_does(patterns: list[str], name: str) -> None:
    alone = [Patterns.of([pattern]).matches(name) for pattern in patterns]

    assert Patterns.of(patterns).matches(name) is any(alone)
