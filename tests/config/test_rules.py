"""Rules are strict about types, and read what they take."""

from __future__ import annotations

from pathlib import Path

import pytest

from relayd.config.files import Surroundings
from relayd.config.mistakes import Mistake, Unavailable, Wrong
from relayd.config.rules import (
    LIST_MAX,
    SECONDS_MAX,
    Flag,
    Integer,
    Items,
    Pairs,
    Rule,
    Seconds,
    Text,
    Word,
    nearest,
)

AROUND = Surroundings(environ={}, directory=Path("/nonexistent"))
ANY_TEXT = Text("text", lambda _: None)
NO_A = Text("text", lambda text: "no a" if "a" in text else None)


class Nowhere:
    """A rule for what is never there."""

    kind = "nothing"

    def read(self, value: object, around: Surroundings) -> str:
        raise Unavailable.because("not there")


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        (Flag(), True, True),
        (Integer(1, 5), 1, 1),
        (Integer(1, 5), 5, 5),
        (Seconds(), 3, 3.0),
        (Seconds(), 0.001, 0.001),
        (Seconds(), SECONDS_MAX, SECONDS_MAX),
        (Word(("a", "b")), "b", "b"),
        (NO_A, "xyz", "xyz"),
        (Items("a list", ANY_TEXT), ["a", "b"], ("a", "b")),
        (Items("a list", ANY_TEXT), [], ()),
        (Pairs("a table", lambda _: None, ANY_TEXT), {"b": "1", "a": "2"}, {"b": "1", "a": "2"}),
    ],
)
def test_a_rule_reads_what_it_takes(rule: Rule[object], value: object, expected: object) -> None:
    read = rule.read(value, AROUND)

    assert read == expected
    assert type(read) is not int or type(expected) is int


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (Flag(), [0, 1, "true", None, []]),
        (Integer(1, 5), [True, 0, 6, 1.0, "1", float("nan"), 10**400, []]),
        (Seconds(), [True, 0, -1, "1", float("nan"), float("inf"), SECONDS_MAX + 1, 10**400, []]),
        (Word(("a", "b")), ["A", "", 1, [], "a "]),
        (NO_A, ["cat", 1, [], {}]),
        (Items("a list", NO_A), ["a", 1, {}, ["a"], [1], [["b"]], ["b"] * (LIST_MAX + 1)]),
        (Items("a list", NO_A, "not empty"), [[]]),
        (Pairs("a table", lambda _: None, NO_A), [[], "a", {"b": "a"}, {"b": 1}]),
        (Pairs("a table", lambda name: name or None, ANY_TEXT), [{"a": "a"}]),
        (Pairs("a table", lambda _: None, NO_A), [{str(n): "" for n in range(LIST_MAX + 1)}]),
    ],
)
def test_a_rule_refuses_everything_else(rule: Rule[object], values: list[object]) -> None:
    for value in values:
        with pytest.raises(Wrong):
            rule.read(value, AROUND)


def test_a_list_reports_each_of_its_items() -> None:
    with pytest.raises(Wrong) as caught:
        Items("a list", NO_A).read(["a", "b", 3], AROUND)

    assert caught.value.mistakes == (
        Mistake("[0]", "no a"),
        Mistake("[2]", "expected text, found 3"),
    )


def test_a_list_is_unavailable_if_nothing_worse_is_wrong_with_it() -> None:
    with pytest.raises(Unavailable):
        Items("a list", Nowhere()).read(["a", "b"], AROUND)


def test_pairs_cannot_be_changed() -> None:
    pairs = Pairs("a table", lambda _: None, ANY_TEXT).read({"a": "b"}, AROUND)

    with pytest.raises(TypeError):
        pairs["a"] = "c"  # type: ignore[index]  # which is the point


def test_a_slip_of_the_keyboard_is_recognised() -> None:
    words = ("weight", "enabled")

    assert nearest("weiht", words) == 'did you mean "weight"?'
    assert nearest("Enabled", words) == 'did you mean "enabled"?'
    assert nearest("colour", words) == ""
    assert nearest(3, words) == ""
