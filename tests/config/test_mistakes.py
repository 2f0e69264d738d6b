"""What messages are made of: paths, and pieces of the file that are safe to repeat."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.mistakes import (
    ConfigError,
    Mistake,
    Unavailable,
    Wrong,
    found,
    join,
    key_path,
    kind_of,
    path_shown,
    quoted,
)


@pytest.mark.parametrize(
    ("parent", "child", "path"),
    [
        ("accounts[1]", "weight", "accounts[1].weight"),
        ("models", "[2]", "models[2]"),
        ("server", "", "server"),
        ("", "server", "server"),
    ],
)
def test_paths_are_joined_as_toml_writes_them(parent: str, child: str, path: str) -> None:
    assert join(parent, child) == path


def test_a_mistake_of_the_whole_file_is_written_without_a_path() -> None:
    error = ConfigError("a.toml", [Mistake("", "not there"), Mistake("log", "not so")])

    assert error.lines() == ["a.toml: not there", "a.toml: log: not so"]


def test_a_mistake_in_another_file_is_told_with_that_file() -> None:
    other = Mistake("[0]", "not so", file="b.toml").under("prices")
    error = ConfigError("a.toml", [Mistake("log", "not so"), other])

    assert error.lines() == ["a.toml: log: not so", "b.toml: prices[0]: not so"]


def test_a_refusal_keeps_its_kind_on_the_way_up() -> None:
    refusal = Unavailable.because("no such file").under("[1]").under("models")

    assert isinstance(refusal, Unavailable)
    assert refusal.mistakes == (Mistake("models[1]", "no such file"),)
    assert not isinstance(Wrong.because("").under("a"), Unavailable)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (False, "false"),
        (-5, "-5"),
        (0.5, "0.5"),
        (10**18, "a much larger integer"),
        (-(10**18), "a much smaller integer"),
        ('say "a\\b"', '"say \\"a\\\\b\\""'),
        ("a\nb", '"a b"'),
        ("a" * 20 + " " + "b" * 20 + " " + "c" * 30, '"' + "a" * 20 + " " + "b" * 20),
        ("sk-proj-abcdefgh", '"[redacted]"'),
        ([], "a list"),
        ({}, "a table"),
        (datetime.date(2027, 1, 1), "a date or time"),
    ],
)
def test_what_was_found_is_shown_briefly(value: object, shown: str) -> None:
    assert found(value).startswith(shown)
    assert len(found(value)) < 80


def test_an_integer_that_python_does_not_print_can_be_spoken_of() -> None:
    assert found(10**5000) == "a much larger integer"


def test_a_kind_says_nothing_of_the_value() -> None:
    values: list[object] = [True, "a", 1, 1.5, [], {}, datetime.time()]

    assert [kind_of(value) for value in values] == [
        "a boolean",
        "text",
        "an integer",
        "a number",
        "a list",
        "a table",
        "a date or time",
    ]


def test_a_bare_key_stands_bare_and_others_in_quotes() -> None:
    assert key_path("keepalive_s") == "keepalive_s"
    assert key_path("a.b") == '"a.b"'
    assert key_path("") == '""'
    assert key_path("sk-proj-abcdefgh") == '"[redacted]"'


def test_a_long_path_keeps_its_end() -> None:
    shown = path_shown("/" + "a" * 500 + "/key.pem")

    assert shown.startswith('"…')
    assert shown.endswith('/key.pem"')
    assert len(shown) < 220


@given(st.text())
def test_nothing_that_is_shown_acts_on_a_terminal(text: str) -> None:
    for shown in (quoted(text), path_shown(text), key_path(text), found(text)):
        assert shown.isprintable()
