"""Messages of every kind, and what is wrong with others."""

from __future__ import annotations

import pytest

from relayd.dialect.chat_messages import CALLS_MAX, MESSAGES_MAX, NAME_MAX_CHARS, PARTS_MAX
from relayd.dialect.chat_values import Call, Message, Role
from tests.dialect.chat import HELLO, mistake, request

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def test_every_role_is_read() -> None:
    read = request(
        messages=[
            {"role": "system", "content": "s"},
            {"role": "developer", "content": "d"},
            {"role": "user", "content": "u", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "r"},
            {"role": "tool", "content": "", "tool_call_id": "call_1"},
            {"role": "function", "content": "t", "name": "f"},
        ]
    )

    assert read.messages == (
        Message(role=Role.SYSTEM, text="s"),
        Message(role=Role.SYSTEM, text="d"),
        Message(role=Role.USER, text="u", name="ann"),
        Message(role=Role.ASSISTANT, tool_calls=(Call("call_1", "f", '{"a":1}'),)),
        Message(role=Role.TOOL, tool_call_id="call_1"),
        Message(role=Role.TOOL, text="t", name="f"),
    )


def test_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    assert request(messages=[{"role": "user", "content": parts}]).messages[0].text == "a\nb"


def test_an_assistant_s_refusal_is_its_text() -> None:
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}

    assert request(messages=[refused, *HELLO]).messages[0].text == "no"


@pytest.mark.parametrize(
    ("arguments", "text"), [({"a": 1}, '{"a": 1}'), (None, ""), ("not json", "not json")]
)
def test_arguments_are_kept_as_they_are_spelled(arguments: object, text: str) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    said = {"role": "assistant", "tool_calls": [call]}

    assert request(messages=[said, *HELLO]).messages[0].tool_calls == (Call(None, "f", text),)


@pytest.mark.parametrize(
    ("messages", "code", "param"),
    [
        ([], "invalid_value", "messages"),
        ({}, "invalid_type", "messages"),
        ("hello", "invalid_type", "messages"),
        ([5], "invalid_type", "messages"),
        (HELLO * (MESSAGES_MAX + 1), "invalid_value", "messages"),
        ([{"content": "x"}], "invalid_value", "messages[0].role"),
        ([{"role": "robot", "content": "x"}], "invalid_value", "messages[0].role"),
        ([{"role": 5, "content": "x"}], "invalid_value", "messages[0].role"),
        ([{"role": "user"}], "invalid_type", "messages[0].content"),
        ([{"role": "user", "content": ""}], "invalid_value", "messages[0].content"),
        ([{"role": "user", "content": []}], "invalid_value", "messages[0].content"),
        ([{"role": "user", "content": 5}], "invalid_type", "messages[0].content"),
        ([{"role": "user", "content": ["x"]}], "invalid_type", "messages[0].content"),
        ([{"role": "user", "content": [{"text": "x"}]}], "unsupported_content", "[0]"),
        ([{"role": "user", "content": [{"type": "text"}]}], "invalid_type", "[0].text"),
        (
            [{"role": "user", "content": [{"type": "text", "text": ""}] * (PARTS_MAX + 1)}],
            "invalid_value",
            "messages[0].content",
        ),
        ([*HELLO, {"role": "system", "content": ""}], "invalid_value", "messages[1].content"),
        ([*HELLO, {"role": "assistant", "content": "x"}], "invalid_value", "messages[1].role"),
        ([{"role": "tool"}], "invalid_type", "messages[0].content"),
        (
            [{"role": "user", "content": "x", "name": "n" * (NAME_MAX_CHARS + 1)}],
            "invalid_value",
            "messages[0].name",
        ),
        ([{"role": "user", "content": "x", "name": 5}], "invalid_type", "messages[0].name"),
        ([{"role": "assistant", "tool_calls": {}}, *HELLO], "invalid_type", ".tool_calls"),
        (
            [{"role": "assistant", "tool_calls": [CALL] * (CALLS_MAX + 1)}, *HELLO],
            "invalid_value",
            ".tool_calls",
        ),
        ([{"role": "assistant", "tool_calls": [{}]}, *HELLO], "invalid_value", "[0].function"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": ""}}]}, *HELLO],
            "invalid_value",
            "[0].function",
        ),
        (
            [
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 5}}]},
                *HELLO,
            ],
            "invalid_type",
            "[0].function.arguments",
        ),
    ],
)
def test_what_is_wrong_is_named(messages: object, code: str, param: str) -> None:
    wrong = mistake(messages=messages)

    assert (wrong.status, wrong.code) == (400, code)
    assert wrong.param is not None
    assert wrong.param.endswith(param)


def test_a_picture_is_refused_at_its_place() -> None:
    wrong = mistake(
        messages=[{"role": "user", "content": [{"type": "text", "text": "what is it?"}, IMAGE]}]
    )

    assert (wrong.status, wrong.code) == (400, "unsupported_content")
    assert wrong.param == "messages[0].content[1]"


def test_only_an_assistant_s_calls_are_read() -> None:
    assert request(messages=[HELLO[0] | {"tool_calls": "x"}]).messages[0].tool_calls == ()
