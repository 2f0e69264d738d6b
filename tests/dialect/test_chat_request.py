"""Requests as clients send them, and as nobody should."""

from __future__ import annotations

import json

import pytest

from relayd.dialect.chat_errors import Mistake
from relayd.dialect.chat_request import (
    NAMED_MAX,
    REQUEST_MAX_BYTES,
    REST_MAX_BYTES,
    STRUCTURES_MAX,
    read_request,
)
from relayd.dialect.chat_values import Message, Role, Thinking
from tests.dialect.chat import TOOLS, mistake, request


def test_a_request_in_full() -> None:
    read = request(
        stream=True,
        stream_options={"include_usage": True},
        temperature=0,
        top_p=0.5,
        top_k=3,
        presence_penalty=-1,
        frequency_penalty=2,
        max_tokens=9,
        max_completion_tokens=7.0,
        n=1,
        stop=["a", "b"],
        user="u",
        reasoning_effort="high",
        response_format={"type": "json_object"},
        web_search_options={},
    )

    assert read.model == "m"
    assert read.messages == (Message(role=Role.USER, text="hello"),)
    assert (read.stream, read.include_usage) == (True, True)
    assert (read.temperature, read.top_p, read.top_k) == (0.0, 0.5, 3)
    assert (read.presence_penalty, read.frequency_penalty) == (-1.0, 2.0)
    assert (read.max_tokens, read.max_tokens_param) == (7, "max_completion_tokens")
    assert (read.stop, read.user, read.response_format) == (("a", "b"), "u", "json_object")
    assert (read.thinking, read.thinking_param) == (Thinking.ENABLED, "reasoning_effort")
    assert read.web_search
    assert read.unsupported == ()


def test_a_request_that_says_little() -> None:
    silent = {
        "stream": None,
        "stream_options": None,
        "temperature": None,
        "max_tokens": None,
        "max_completion_tokens": None,
        "n": None,
        "stop": None,
        "tools": None,
        "tool_choice": None,
        "user": None,
        "response_format": None,
        "thinking": None,
        "reasoning_effort": None,
        "web_search_options": None,
    }

    for read in (request(), request(**silent)):
        assert (read.stream, read.include_usage, read.n) == (False, False, 1)
        assert (read.temperature, read.max_tokens, read.stop) == (None, None, ())
        assert (read.tools, read.web_search, read.thinking) == ((), False, None)
        assert read.unsupported == ()


@pytest.mark.parametrize(
    ("members", "limit"),
    [
        ({"max_tokens": 5}, (5, "max_tokens")),
        ({"max_tokens": 0}, (None, "max_tokens")),
        ({"max_tokens": 5, "max_completion_tokens": 0}, (None, "max_completion_tokens")),
        ({"max_completion_tokens": 6}, (6, "max_completion_tokens")),
    ],
)
def test_the_newer_limit_wins_and_zero_is_none(
    members: dict[str, object], limit: tuple[object, str]
) -> None:
    read = request(**members)

    assert (read.max_tokens, read.max_tokens_param) == limit


@pytest.mark.parametrize("top_k", [0, -1])
def test_a_top_k_that_means_off_is_silent(top_k: int) -> None:
    assert request(top_k=top_k).top_k is None


@pytest.mark.parametrize(
    ("members", "thinking"),
    [
        ({"thinking": {"type": "enabled"}}, (Thinking.ENABLED, "thinking")),
        ({"thinking": {"type": "auto"}}, (Thinking.AUTO, "thinking")),
        ({"enable_thinking": True}, (Thinking.ENABLED, "enable_thinking")),
        ({"enable_thinking": False}, (Thinking.DISABLED, "enable_thinking")),
        ({"reasoning_effort": "minimal"}, (Thinking.DISABLED, "reasoning_effort")),
        (
            {"thinking": {"type": "disabled"}, "reasoning_effort": "high"},
            (Thinking.DISABLED, "thinking"),
        ),
    ],
)
def test_thinking_in_every_spelling(members: dict[str, object], thinking: object) -> None:
    read = request(**members)

    assert (read.thinking, read.thinking_param) == thinking


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"n": 2}, "unsupported_value", "n"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": "1"}, "invalid_type", "n"),
        ({"model": None}, "missing_required_parameter", "model"),
        ({"model": 5}, "invalid_value", "model"),
        ({"model": ""}, "invalid_value", "model"),
        ({"model": "a\nb"}, "invalid_value", "model"),
        ({"model": "a" * 257}, "invalid_value", "model"),
        ({"messages": None}, "missing_required_parameter", "messages"),
        ({"stream": "true"}, "invalid_type", "stream"),
        ({"stream_options": True}, "invalid_type", "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "invalid_type", "stream_options"),
        ({"temperature": "hot"}, "invalid_type", "temperature"),
        ({"temperature": True}, "invalid_type", "temperature"),
        ({"temperature": 2.1}, "invalid_value", "temperature"),
        ({"top_p": -0.1}, "invalid_value", "top_p"),
        ({"top_k": 1.5}, "invalid_type", "top_k"),
        ({"presence_penalty": 3}, "invalid_value", "presence_penalty"),
        ({"max_tokens": -1}, "invalid_value", "max_tokens"),
        ({"max_tokens": 1.5}, "invalid_type", "max_tokens"),
        ({"max_completion_tokens": []}, "invalid_type", "max_completion_tokens"),
        ({"stop": 5}, "invalid_type", "stop"),
        ({"stop": [5]}, "invalid_type", "stop"),
        ({"user": 5}, "invalid_type", "user"),
        ({"response_format": "json"}, "invalid_type", "response_format"),
        ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
        ({"thinking": {"type": "deep"}}, "invalid_value", "thinking.type"),
        ({"thinking": 5}, "invalid_type", "thinking"),
        ({"enable_thinking": 5}, "invalid_type", "enable_thinking"),
        ({"reasoning_effort": "a bit"}, "invalid_value", "reasoning_effort"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, object], code: str, param: str) -> None:
    wrong = mistake(**members)

    assert (wrong.status, wrong.code, wrong.param) == (400, code, param)
    assert json.loads(wrong.body())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","x":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
        b'{"model":"m","temperature":1' + b"0" * 5000 + b"}",
    ],
)
def test_what_is_no_request_is_said_to_be_none(payload: bytes) -> None:
    read = read_request(payload)

    assert isinstance(read, Mistake)
    assert read.status == 400


@pytest.mark.parametrize(
    "payload",
    [
        b'{"model":"m"}' + b" " * REQUEST_MAX_BYTES,
        b'{"model":"m","messages":[' + b"{}," * STRUCTURES_MAX + b"{}]}",
        b'{"model":"m","messages":[' + b"[]," * STRUCTURES_MAX + b"[]]}",
        b'{"model":"m","x":"' + b"x" * REST_MAX_BYTES + b'"}',
        b'{"messages":"' + b"x" * REST_MAX_BYTES + b'","messages":[]}',
    ],
)
def test_what_would_take_too_much_is_refused_unread(payload: bytes) -> None:
    read = read_request(payload)

    assert isinstance(read, Mistake)
    assert (read.status, read.code) == (413, "request_too_large")


def test_members_that_nobody_acts_on_are_named() -> None:
    read = request(
        seed=7, logprobs=True, logit_bias={"1": 2}, parallel_tool_calls=False, store=True, zzz=0
    )

    assert read.unsupported == ("logit_bias", "logprobs", "seed", "store", "zzz")


def test_members_that_ask_for_nothing_are_not_named() -> None:
    read = request(
        seed=None,
        logprobs=False,
        top_logprobs=0,
        logit_bias={},
        metadata={},
        modalities=["text"],
        service_tier="auto",
        store=False,
        parallel_tool_calls=True,
    )

    assert read.unsupported == ()


def test_a_name_that_cannot_stand_in_a_header_is_left_out() -> None:
    bad = {"a b": 1, "a\r\nx": 1, "é": 1, "a" * 65: 1, "sk-canary1234567890": 1}

    assert request(**bad).unsupported == ()


def test_not_every_name_is_told() -> None:
    read = request(**{f"p{number:03}": 1 for number in range(100)})

    assert len(read.unsupported) == NAMED_MAX


def test_tools_and_their_kinds() -> None:
    search, other = {"type": "web_search_preview"}, {"type": "code_interpreter"}

    read = request(tools=[other, *TOOLS, search])

    assert [tool.name for tool in read.tools] == ["weather"]
    assert read.web_search_param == "tools[2]"
    assert read.unsupported == ("tools[0]",)


def test_a_value_s_repr_does_not_show_what_people_write() -> None:
    read = request(messages=[{"role": "user", "content": "canary"}], user="canary")

    assert "canary" not in repr(read)
    assert "canary" not in repr(read.messages)
