"""Topics, what follows them, and who may see, follow and publish."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_topics import (
    ALL_EVENTS,
    EVENT_PATTERNS_MAX,
    EVERYTHING,
    ID_MAX_CHARS,
    Filter,
    Scope,
    Selector,
    is_event_name,
    is_topic,
    parse_filter,
    parse_selector,
)

WORDS = st.text("ab:*sesion_wrkfltp~. \n", max_size=12)
KINDS = st.sampled_from(["session:", "workflow:", "tenant:", "ops", ""])
TEXTS = st.builds(str.__add__, KINDS, WORDS)


def selectors(*texts: str) -> tuple[Selector, ...]:
    found = tuple(map(parse_selector, texts))
    assert None not in found
    return tuple(each for each in found if each is not None)


def selector(text: str) -> Selector:
    return selectors(text)[0]


@pytest.mark.parametrize(
    "name",
    [
        *["ops", "session:a", "workflow:w1", "tenant:acme", "session:a:b.c~d-e_f"],
        *["session:sess_0", "session:" + "x" * ID_MAX_CHARS],
    ],
)
def test_names_of_topics(name: str) -> None:
    assert is_topic(name)
    assert parse_selector(name) == Selector(name, is_prefix=False)


@pytest.mark.parametrize(
    "name",
    [
        *["", "op", "ops:", "opsx", "session", "session:", "other:x", "session:a:", "session::a"],
        *[":a", "session:a b", "session:a\n", "session:é", "session:a/b"],
        *["session:" + "x" * 129, "ops\n"],
    ],
)
def test_what_is_no_name_of_a_topic(name: str) -> None:
    assert not is_topic(name)
    assert parse_selector(name) is None


@pytest.mark.parametrize(
    ("text", "follows", "ignores"),
    [
        ("*", ["ops", "session:a", "tenant:t"], []),
        ("s*", ["session:a"], ["workflow:s", "ops"]),
        ("session:*", ["session:a", "session:a:b"], ["workflow:a"]),
        ("session:ab*", ["session:ab", "session:abc"], ["session:a"]),
        ("session:a:*", ["session:a:b"], ["session:a", "session:ab"]),
        ("ops*", ["ops"], ["session:ops"]),
        ("session:ab", ["session:ab"], ["session:abc", "session:a"]),
    ],
)
def test_a_selector_matches(text: str, follows: list[str], ignores: list[str]) -> None:
    found = selector(text)

    assert [name for name in follows + ignores if found.matches(name)] == follows


@pytest.mark.parametrize(
    "text",
    [
        *["**", "*a", "session:*a", "x*", "opsx*", "session::*", "session:a::*", "session: *"],
        *["s *", "session:" + "x" * 129 + "*", "session:\n*", "*\n"],
    ],
)
def test_what_no_topic_can_match_is_no_selector(text: str) -> None:
    assert parse_selector(text) is None


@given(TEXTS)
def test_any_text_is_a_selector_that_says_itself_or_none(text: str) -> None:
    found = parse_selector(text)

    assert found is None or found == Selector(text, is_prefix=text.endswith("*"))
    assert found is None or found.is_prefix or is_topic(text)


@given(TEXTS, TEXTS, TEXTS)
def test_two_selectors_meet_in_what_both_match(one: str, other: str, name: str) -> None:
    first, second = Selector(f"{one}*", True), parse_selector(other) or EVERYTHING

    both = first.meet(second)

    assert both == second.meet(first)
    matches = both is not None and both.matches(name)
    assert matches == (first.matches(name) and second.matches(name))


@pytest.mark.parametrize(
    ("only", "but", "passing"),
    [
        ([], [], ["token_stream", "turn.started", "turn.ended", "error"]),
        (["turn.*"], [], ["turn.started", "turn.ended"]),
        (["error", "turn.ended"], [], ["turn.ended", "error"]),
        ([], ["token_stream"], ["turn.started", "turn.ended", "error"]),
        ([], ["t*"], ["error"]),
        (["turn.*"], ["turn.ended"], ["turn.started"]),
        (["*"], ["*"], []),
        (["turn."], [], []),
    ],
)
def test_a_filter_passes(only: list[str], but: list[str], passing: list[str]) -> None:
    found = parse_filter(only, but)
    assert found is not None
    events = ["token_stream", "turn.started", "turn.ended", "error"]

    assert [event for event in events if found.passes(event)] == passing
    assert found.lets_all == (not only and not but)


def test_an_empty_filter_is_one_for_all() -> None:
    assert parse_filter([], []) is ALL_EVENTS
    assert Filter() == ALL_EVENTS


@pytest.mark.parametrize(
    ("only", "but"),
    [
        *[([""], []), ([], ["a b"]), (["a*b"], []), (["x" * 65], []), (["**"], []), (["a\n"], [])],
        *[(["a"] * (EVENT_PATTERNS_MAX + 1), []), ([], ["a"] * (EVENT_PATTERNS_MAX + 1))],
    ],
)
def test_what_is_no_filter(only: list[str], but: list[str]) -> None:
    assert parse_filter(only, but) is None


@pytest.mark.parametrize("name", ["token_stream", "node:parallel_start", "a.b-c", "x" * 64])
def test_names_of_events(name: str) -> None:
    assert is_event_name(name)
    assert not is_event_name(name + " ")
    assert not is_event_name(name + "x" * 64)


USER = Scope(tenant="acme")
OPERATOR = Scope(tenant="acme", everything=True, publish=(EVERYTHING,))
NARROWED = Scope(tenant="acme", topics=selectors("workflow:w*", "tenant:acme"))


@pytest.mark.parametrize(
    ("scope", "seen"),
    [
        (USER, ["acme session:a", "acme workflow:w1", "acme workflow:x", "acme tenant:acme"]),
        (NARROWED, ["acme workflow:w1", "acme tenant:acme"]),
        (Scope(tenant="acme", topics=()), []),
        (Scope(tenant="other"), ["other workflow:w1", "other tenant:other"]),
        (Scope(tenant="acme", everything=True, topics=selectors("ops")), [" ops"]),
    ],
)
def test_who_sees_what(scope: Scope, seen: list[str]) -> None:
    everything = ["acme session:a", "acme workflow:w1", "acme workflow:x", "acme tenant:acme"]
    everything += ["other workflow:w1", "other tenant:other", "acme tenant:other", " ops"]

    assert [each for each in everything if scope.may_see(*each.split(" "))] == seen
    assert all(OPERATOR.may_see(*each.split(" ")) for each in everything)


@pytest.mark.parametrize(
    ("scope", "followed"),
    [
        (USER, ["*", "s*", "session:a", "workflow:*", "workflow:x", "tenant:acme", "tenant:*"]),
        (NARROWED, ["*", "workflow:*", "workflow:w1", "tenant:acme", "tenant:*"]),
        (Scope(tenant="acme", topics=()), []),
    ],
)
def test_who_follows_what(scope: Scope, followed: list[str]) -> None:
    texts = ["*", "s*", "session:a", "workflow:*", "workflow:x", "workflow:w1", "tenant:acme"]
    texts += ["tenant:*", "tenant:other", "tenant:acmes*", "ops", "o*"]
    expected = [text for text in texts if text in {*followed, "workflow:w1"} and followed]

    assert [text for text in texts if scope.may_follow(selector(text))] == expected
    assert all(OPERATOR.may_follow(selector(text)) for text in texts)


@given(TEXTS, TEXTS, st.booleans())
def test_what_may_not_be_followed_shows_nothing(text: str, name: str, everything: bool) -> None:
    """The check at subscribing and the one at delivery agree."""
    scope = Scope(tenant="a", everything=everything, topics=selectors("workflow:a*", "ops"))
    found = parse_selector(text)

    if found is not None and found.matches(name) and is_topic(name) and scope.may_see("a", name):
        assert scope.may_follow(found)


@pytest.mark.parametrize(
    ("publish", "published"),
    [
        ((), []),
        (("*",), ["workflow:w1", "workflow:x", "session:a"]),
        (("workflow:w*", "ops", "tenant:acme"), ["workflow:w1"]),
        (("session:*",), ["session:a"]),
    ],
)
def test_who_publishes_where(publish: tuple[str, ...], published: list[str]) -> None:
    scope = Scope(tenant="acme", everything=True, publish=selectors(*publish))
    topics = ["workflow:w1", "workflow:x", "session:a", "session:sess_1", "tenant:acme", "ops"]

    assert [topic for topic in [*topics, "workflow:"] if scope.may_publish(topic)] == published


@pytest.mark.parametrize(
    ("name", "owner", "operators"),
    [
        ("workflow:w1", "acme", "acme"),
        ("session:a", "acme", "acme"),
        ("session:sess_1", "acme", None),
        ("tenant:other", "other", "other"),
        ("ops", "", ""),
    ],
)
def test_whose_topic_a_name_means(name: str, owner: str, operators: str | None) -> None:
    assert USER.owner(name) == owner
    assert OPERATOR.owner(name) == operators
