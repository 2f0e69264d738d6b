"""Tokens: told, guessed, shown."""

from __future__ import annotations

import msgspec
import pytest

from relayd.dialect.behind import Began, Reasoning, Text, ToolCall
from relayd.dialect.chat_usage import (
    COUNT_MAX,
    Tally,
    expected_usage,
    read_count,
    told_usage,
    tool_size,
    usage_object,
)
from relayd.dialect.chat_values import Tool
from tests.dialect.chat import TOOLS, request


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ((5, 9, 14), (5, 9, False)),
        ((5, 9, None), (5, 9, False)),
        ((5, None, 14), (5, 9, False)),
        ((None, 9, 14), (5, 9, False)),
        ((5, 9, 100), (91, 9, False)),  # the total is what is billed
        ((5, 9, 10), (1, 9, False)),
        ((5, 9, 4), (0, 4, False)),
        ((50, None, 14), (14, 0, False)),
        ((None, None, 14), (14, 0, True)),
        ((5, None, None), (5, 0, True)),
        ((None, 9, None), (0, 9, True)),
        ((0, 0, 0), (0, 0, False)),
    ],
)
def test_the_total_is_what_is_billed(
    told: tuple[int | None, int | None, int | None], expected: tuple[int, int, bool]
) -> None:
    usage = told_usage("sid", *told)

    assert usage is not None
    assert (usage.input_total, usage.output_total, usage.estimated) == expected
    assert (usage.input_text, usage.output_text) == (usage.input_total, usage.output_total)
    assert (usage.source, usage.upstream_id) == ("response", "sid")


def test_nothing_told_is_no_usage() -> None:
    assert told_usage("sid", None, None, None) is None


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (b"5", 5),
        (b"5.0", 5),
        (b"5.5", None),
        (b"-1", None),
        (b"true", None),
        (b'"5"', None),
        (b"null", None),
        (b"{}", None),
        (str(COUNT_MAX + 1).encode(), None),
        (b"1" * 400, None),
    ],
)
def test_only_what_can_be_is_believed(raw: bytes, count: int | None) -> None:
    assert read_count(msgspec.Raw(raw)) == count


def test_what_a_request_is_due_for_is_a_guess() -> None:
    plain, with_tools = expected_usage(request()), expected_usage(request(tools=TOOLS))

    assert (plain.input_total, plain.output_total, plain.estimated) == (2, 0, True)
    assert with_tools.input_total > plain.input_total
    unused = expected_usage(request(tools=TOOLS, tool_choice="none"))
    assert unused.input_total == plain.input_total, "none are sent"


@pytest.mark.parametrize("space", [b"", b" ", b"\n\t\t"])
def test_a_schema_is_as_long_as_it_is_without_its_white_space(space: bytes) -> None:
    schema = msgspec.Raw(b'{%b"type":%b"object"}' % (space, space))

    assert tool_size(Tool(name="f", description="é", parameters=schema)) == 1 + 2 + 17
    assert tool_size(Tool(name="f", description=None, parameters=None)) == 1


def test_earlier_calls_are_part_of_what_is_read() -> None:
    call = {"function": {"name": "f", "arguments": "x" * 40}}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "r"},
    ]

    assert expected_usage(request(messages=messages)).input_total == 11


def test_an_answer_that_was_cut_off_is_guessed_by_its_text() -> None:
    tally = Tally()
    for piece in (Began(None), Text("四个字符"), Reasoning("think"), ToolCall("f", "{}")):
        tally.add(piece)

    usage = tally.usage(expected_usage(request()), "sid")

    assert tally.size == 12 + 5 + 3
    assert (usage.input_total, usage.output_total) == (2, 5)
    assert usage.estimated


def test_usage_as_clients_read_it() -> None:
    usage = told_usage(None, 5, 9, 14)

    assert usage is not None
    assert usage_object(usage) == {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
