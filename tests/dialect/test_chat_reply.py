"""What a client is sent, as its SDK reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relayd.dialect import chat_reply
from relayd.dialect.behind import FinishReason, Reasoning, Text, ToolCall
from relayd.dialect.chat_reply import DONE, Collected, Reply, reply_id, sse
from relayd.dialect.chat_usage import told_usage
from tests.dialect.chat import SID

USAGE = told_usage(SID, 5, 9, 14)
SHOWN = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


def reply(*, include_usage: bool = False) -> Reply:
    return Reply(
        model="spark", id=reply_id(SID), created=1_700_000_000, include_usage=include_usage
    )


def chunk(raw: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(raw)
    return read


def choice(raw: bytes) -> dict[str, Any]:
    (only,) = chunk(raw)["choices"]
    assert only.pop("index") == 0
    assert only.pop("logprobs") is None
    return dict(only)


def test_each_chunk_says_what_it_belongs_to() -> None:
    built = reply()

    for raw in (built.opening(), built.content(Text("x")), built.last(FinishReason.STOP)):
        said = chunk(raw)
        said.pop("choices")
        assert said == {
            "id": reply_id(SID),
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "spark",
        }


def test_the_deltas() -> None:
    built = reply()

    assert choice(built.opening()) == {
        "delta": {"role": "assistant", "content": ""},
        "finish_reason": None,
    }
    assert choice(built.content(Text('a"\n€')))["delta"] == {"content": 'a"\n€'}
    assert choice(built.content(Reasoning("hm")))["delta"] == {"reasoning_content": "hm"}
    assert choice(built.last(FinishReason.LENGTH)) == {"delta": {}, "finish_reason": "length"}


def test_calls_are_numbered_and_their_ids_differ() -> None:
    built, other = reply(), Reply(model="spark", id=reply_id("other"), created=0)

    calls = [
        choice(each.content(ToolCall("f", '{"a":1}')))["delta"]["tool_calls"][0]
        for each in (built, built, other)
    ]

    assert [call["index"] for call in calls] == [0, 1, 0]
    assert len({call["id"] for call in calls}) == 3
    assert all(call["id"].startswith("call_") for call in calls)
    assert calls[0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert calls[0]["type"] == "function"


def test_usage_has_a_chunk_of_its_own_and_is_null_in_all_others() -> None:
    built = reply(include_usage=True)
    assert USAGE is not None

    for raw in (built.opening(), built.content(Text("x")), built.last(FinishReason.STOP)):
        assert chunk(raw)["usage"] is None
    last = chunk(built.usage(USAGE))
    assert last["choices"] == []
    assert last["usage"] == SHOWN


def test_without_being_asked_for_usage_is_not_named() -> None:
    assert "usage" not in chunk(reply().content(Text("x")))


def test_events_are_lines() -> None:
    assert sse(reply().content(Text("a\nb"))).count(b"\n") == 2
    assert sse(b"{}") == b"data: {}\n\n"
    assert DONE == b"data: [DONE]\n\n"


def test_an_id_is_the_upstream_s_and_not_the_same() -> None:
    assert reply_id(SID) == reply_id(SID) != reply_id(SID + "x")
    assert reply_id(SID).startswith("chatcmpl-")
    assert SID not in reply_id(SID)


def test_a_whole_answer() -> None:
    collected = Collected()
    for piece in (Reasoning("h"), Reasoning("m"), Text("he"), Text("llo")):
        assert collected.add(piece) is None

    assert json.loads(collected.whole(reply(), FinishReason.STOP, USAGE)) == {
        "id": reply_id(SID),
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "spark",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "hello",
                    "refusal": None,
                    "reasoning_content": "hm",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": SHOWN,
    }


def test_a_whole_answer_of_calls() -> None:
    collected = Collected()
    for _ in range(2):
        collected.add(ToolCall("f", "{}"))

    whole = json.loads(collected.whole(reply(), FinishReason.TOOL_CALLS, None))

    message = whole["choices"][0]["message"]
    assert message["content"] is None
    assert len({call["id"] for call in message["tool_calls"]}) == 2
    assert "index" not in message["tool_calls"][0]
    assert whole["usage"] is None


def test_an_answer_without_anything_is_an_empty_text() -> None:
    whole = json.loads(Collected().whole(reply(), FinishReason.CONTENT_FILTER, USAGE))

    assert whole["choices"][0]["message"]["content"] == ""


def test_an_answer_that_cannot_be_held_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_reply, "ANSWER_MAX_BYTES", 10)
    collected = Collected()

    assert collected.add(Text("四个字")) is None
    fault = collected.add(ToolCall("f", "{}"))

    assert fault is not None
    assert (fault.status, fault.code) == (502, "upstream_too_big")
