"""Answers of Spark's, frame by frame."""

from __future__ import annotations

import json

import pytest

from relayd.dialect.behind import (
    Began,
    Faulted,
    Finished,
    FinishReason,
    Piece,
    Reasoning,
    Retry,
    Text,
    ToolCall,
    Used,
)
from relayd.dialect.meter import Usage
from relayd.dialect.spark import SPARK
from relayd.dialect.spark_frames import SparkExchange
from tests.dialect.chat import SID, account, frame, request

USAGE = {"question_tokens": 4, "prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
BILLED = Usage(
    source="response",
    upstream_id=SID,
    input_text=5,
    output_text=9,
    input_total=5,
    output_total=9,
)


def exchange(**members: object) -> SparkExchange:
    return SPARK.begin(request(**members), account(), "m")


def played(talk: SparkExchange, *frames: bytes) -> list[Piece]:
    return [piece for each in frames for piece in talk.feed(each)]


def test_an_answer_from_its_first_frame_to_its_last() -> None:
    talk = exchange()

    assert talk.upstream_id is None
    assert played(
        talk,
        frame(status=0, content="he"),
        frame(content="llo"),
        frame(status=2, content="!", usage=USAGE),
    ) == [
        Began(SID),
        Text("he"),
        Text("llo"),
        Text("!"),
        Used(BILLED),
        Finished(FinishReason.STOP),
    ]
    assert talk.upstream_id == SID


def test_an_answer_of_one_frame() -> None:
    assert played(exchange(), frame(status=2, content="x", usage=USAGE)) == [
        Began(SID),
        Text("x"),
        Used(BILLED),
        Finished(FinishReason.STOP),
    ]


def test_thoughts_come_first() -> None:
    said = frame(status=0, reasoning_content="hm", content="x")

    assert played(exchange(), said) == [Began(SID), Reasoning("hm"), Text("x")]


def test_a_call_ends_with_its_reason() -> None:
    call = {"name": "weather", "arguments": '{"city":"合肥"}'}

    assert played(exchange(), frame(status=2, content="", function_call=call, usage=USAGE)) == [
        Began(SID),
        ToolCall("weather", '{"city":"合肥"}'),
        Used(BILLED),
        Finished(FinishReason.TOOL_CALLS),
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [("{broken", "{broken"), (None, ""), ({"a": [1]}, '{"a": [1]}'), ("", "")],
)
def test_arguments_are_passed_on_as_they_are(arguments: object, text: str) -> None:
    call = {"name": "f", "arguments": arguments}

    assert ToolCall("f", text) in played(exchange(), frame(status=2, function_call=call))


@pytest.mark.parametrize(
    ("limit", "reason"),
    [(8, FinishReason.LENGTH), (9, FinishReason.LENGTH), (10, FinishReason.STOP)],
)
def test_an_answer_as_long_as_it_may_be_was_cut(limit: int, reason: FinishReason) -> None:
    *_, end = played(exchange(max_tokens=limit), frame(status=2, content="x", usage=USAGE))

    assert end == Finished(reason)


def test_an_answer_as_long_as_the_model_s_own_limit_was_cut() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 4096, "total_tokens": 4097}

    *_, end = played(exchange(), frame(status=2, content="x", usage=usage))

    assert end == Finished(FinishReason.LENGTH)


def test_without_usage_no_answer_counts_as_cut() -> None:
    assert played(exchange(max_tokens=1), frame(status=2, content="x")) == [
        Began(SID),
        Text("x"),
        Finished(FinishReason.STOP),
    ]


def test_what_is_billed_is_the_total() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 114}

    used = next(
        piece
        for piece in played(exchange(), frame(status=2, usage=usage))
        if isinstance(piece, Used)
    )

    assert (used.usage.input_total, used.usage.output_total) == (105, 9)


@pytest.mark.parametrize(
    "frames",
    [
        [frame(status=0, content="so far"), frame(code=10014, message="audit")],
        [frame(code=10014, message="audit")],
        [frame(code=10014, message="audit", status=2, content="what must not be seen")],
    ],
)
def test_an_audited_answer_ends_as_filtered(frames: list[bytes]) -> None:
    pieces = played(exchange(), *frames)

    assert pieces[0] == Began(SID)
    assert pieces[-1] == Finished(FinishReason.CONTENT_FILTER)
    assert Text("what must not be seen") not in pieces


def test_a_search_s_results_are_no_answer() -> None:
    plugins = {"text": [{"name": "ifly_search", "content": "[]", "role": "tool"}]}
    said = {"header": {"code": 0, "sid": SID, "status": 0}, "payload": {"plugins": plugins}}
    talk = exchange()

    assert played(talk, json.dumps(said).encode()) == [Began(SID)]
    assert played(talk, frame(content="x")) == [Text("x")]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"payload": None},
        {"payload": {}},
        {"payload": {"choices": None, "usage": None}},
        {"payload": {"choices": {}}},
        {"payload": {"choices": {"text": None}}},
        {"payload": {"choices": {"text": []}}},
        {"payload": {"choices": {"text": [{}]}}},
        {"payload": {"choices": {"text": [{"content": None, "function_call": None}]}}},
        {"payload": {"usage": "odd"}, "more": [1]},
    ],
)
def test_any_member_may_be_missing(payload: dict[str, object]) -> None:
    said = json.dumps({"header": {"code": 0}} | payload).encode()

    assert played(exchange(), said) == [Began(None)]


def test_the_last_frame_is_told_by_either_status() -> None:
    said = {"header": {"code": 0, "status": 2}, "payload": {"choices": {"status": 1}}}

    assert played(exchange(), json.dumps(said).encode()) == [
        Began(None),
        Finished(FinishReason.STOP),
    ]


@pytest.mark.parametrize("usage", [{}, "5", [1], {"total_tokens": -1}, {"text": 5}])
def test_usage_that_cannot_be_read_is_none(usage: object) -> None:
    pieces = played(exchange(), frame(status=2, content="x", usage=usage))

    assert [type(piece) for piece in pieces] == [Began, Text, Finished]


def test_an_error_behind_content_ends_the_answer() -> None:
    pieces = played(exchange(), frame(status=0, content="x"), frame(code=10012, message="broken"))

    assert pieces[:2] == [Began(SID), Text("x")]
    assert isinstance(pieces[2], Faulted)
    assert pieces[2].fault.status == 502


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"header":{}}',
        b'{"header":{"code":"0"}}',
        b"\xff\xfe",
        b"[" * 9999,
    ],
)
def test_what_is_no_frame_breaks_the_protocol(raw: bytes) -> None:
    talk = exchange()

    (piece,) = talk.feed(raw)

    assert isinstance(piece, Faulted)
    assert (piece.fault.status, piece.fault.code) == (502, "upstream_protocol_error")
    assert talk.feed(frame(content="more")) == ()


@pytest.mark.parametrize(
    "end", [frame(status=2, content="x"), frame(code=10012), frame(code=10014)]
)
def test_nothing_follows_the_end(end: bytes) -> None:
    talk = exchange()
    played(talk, end)

    assert played(talk, frame(content="more"), frame(code=10012), b"{") == []


@pytest.mark.parametrize("code", [None, 1000, 1006])
def test_an_end_before_the_last_frame_is_no_success(code: int | None) -> None:
    untouched, begun = exchange(), exchange()
    played(begun, frame(status=0, content="so far"))

    assert untouched.closed(code, "close this ws conn").retry is Retry.SAME_ONCE
    fault = begun.closed(code, "close this ws conn")
    assert (fault.status, fault.code) == (502, "upstream_truncated")
    assert (fault.retry, fault.upstream_id) == (Retry.ELSEWHERE, SID)


@pytest.mark.parametrize("sid", ["a b", "a\r\nb", "", "é", "s" * 129, None])
def test_a_name_that_is_not_fit_for_a_header_is_none(sid: object) -> None:
    talk = exchange()

    assert played(talk, frame(status=0, content="x", sid=sid))[0] == Began(None)
    assert talk.upstream_id is None


def test_the_request_is_one_frame_and_a_close_cancels() -> None:
    talk = exchange()

    (opening,) = talk.opening()
    assert json.loads(opening)["payload"]["message"]["text"][0]["content"] == "hello"
    assert talk.cancelling() is None


def test_an_exchange_does_not_show_the_account() -> None:
    assert "test-api" not in repr(exchange())
