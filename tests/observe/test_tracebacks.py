from __future__ import annotations

import pytest

from relayd.observe.tracebacks import (
    EXCEPTIONS_MAX,
    FRAMES_MAX,
    WORDS_MAX,
    describe_error,
    render_traceback,
)

CANARY = "sk-canary-1234567890"


def caught(words: str) -> ValueError:
    secret_local = CANARY
    try:
        raise ValueError(words + secret_local[:0])
    except ValueError as error:
        return error


def fail_at_depth(depth: int) -> None:
    if depth == 0:
        raise ValueError("bottom")
    fail_at_depth(depth - 1)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_a_traceback_names_the_function_the_line_and_the_error() -> None:
    text = render_traceback(caught("broken"))

    assert "in caught" in text
    assert "raise ValueError(" in text
    assert text.endswith("ValueError: broken")


def test_no_value_of_a_variable_is_shown() -> None:
    assert CANARY not in render_traceback(caught("broken"))


def test_what_looks_like_a_key_in_an_error_s_words_is_hidden() -> None:
    error = caught(f"bad header {CANARY}")

    assert CANARY not in render_traceback(error)
    assert describe_error(error) == "ValueError: bad header [redacted]"


def test_an_error_s_words_stay_on_one_line() -> None:
    error = caught('x\n  File "/etc/passwd", line 1\x1b[31m')

    assert render_traceback(error).splitlines()[-1].startswith("ValueError: x   File")
    assert "\x1b" not in render_traceback(error)


def test_a_cause_comes_before_what_it_caused() -> None:
    try:
        raise TypeError("second") from caught("first")
    except TypeError as error:
        text = render_traceback(error)

    first, caused, second = map(text.index, ("ValueError: first", "caused:", "TypeError: second"))
    assert first < caused < second


def test_a_context_that_was_hidden_stays_hidden() -> None:
    try:
        try:
            fail_at_depth(0)
        except ValueError:
            raise TypeError("shown") from None
    except TypeError as error:
        text = render_traceback(error)

    assert "bottom" not in text
    assert "shown" in text


def test_members_of_a_group_are_shown_indented() -> None:
    group = ExceptionGroup("both", [caught("one"), ExceptionGroup("inner", [caught("two")])])

    rows = render_traceback(group).splitlines()

    assert "  | ValueError: one" in rows
    assert "  |   | ValueError: two" in rows


def test_a_group_of_many_shows_a_bounded_number() -> None:
    text = render_traceback(ExceptionGroup("many", [caught(f"n{i}") for i in range(100)]))

    assert text.count("ValueError: n") == EXCEPTIONS_MAX - 1


def test_a_deep_stack_shows_its_innermost_frames() -> None:
    with pytest.raises(ValueError, match="bottom") as info:
        fail_at_depth(200)

    text = render_traceback(info.value)

    assert text.count("  File ") <= FRAMES_MAX
    assert 'raise ValueError("bottom")' in text


def test_long_words_are_cut() -> None:
    assert len(describe_error(caught("long " * 10_000))) <= WORDS_MAX


def test_an_error_that_cannot_be_printed_is_named() -> None:
    assert "Unprintable" in render_traceback(Unprintable())
