"""What Spark's HTTP interface says, as pieces."""

from __future__ import annotations

import json

import hypothesis
import hypothesis.strategies as st
import pytest

from relayd.config.url import parse_base_url
from relayd.dialect.behind import (
    Began,
    Effect,
    Faulted,
    Finished,
    FinishReason,
    Piece,
    Reasoning,
    Text,
    ToolCall,
    Used,
)
from relayd.dialect.spark_http import (
    CALLS_MAX,
    EVENT_MAX_BYTES,
    HTTP_HOST,
    Events,
    HttpExchange,
    http_url,
)
from tests.dialect import chat
from tests.dialect.chat import SID

USAGE = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
STOP = Finished(FinishReason.STOP)


def event(delta: object = None, **members: object) -> bytes:
    choices = [] if delta is None else [{"delta": delta, "index": 0}]
    return json.dumps({"code": 0, "sid": SID, "choices": choices} | members).encode()


def exchange(limit: int | None = None) -> HttpExchange:
    return HttpExchange.of(chat.account(), limit, ("seed",))


def fed(*events: bytes, limit: int | None = None) -> list[Piece]:
    made = exchange(limit)
    return [piece for each in events for piece in made.feed(each)]


# -- where


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("v1.1", "/v1/chat/completions"),
        ("v3.5", "/v1/chat/completions"),
        ("max-32k", "/v1/chat/completions"),
        ("x1.5", "/v2/chat/completions"),
        ("x2", "/x2/chat/completions"),
    ],
)
def test_where_a_model_is_asked(version: str, path: str) -> None:
    url = http_url(chat.account(version))
    assert (url.tls, url.host, url.port, url.path) == (True, HTTP_HOST, 443, path)


def test_an_address_of_ones_own() -> None:
    made = chat.FakeAccount(
        base_url=parse_base_url("ws://127.0.0.1:81/spark"), spark=chat.settings()
    )
    url = http_url(made)
    assert (url.tls, url.authority) == (False, "127.0.0.1:81")
    assert url.path == "/spark/v1/chat/completions"


# -- events


def test_data_with_and_without_a_blank() -> None:
    events = Events()
    assert events.feed(b'data:{"a":1}\n\ndata: {"b":2}\r\n\r\n: comment\n\nevent: x\n') == [
        b'{"a":1}',
        b'{"b":2}',
    ]


@hypothesis.given(st.lists(st.integers(0, 60), max_size=8))
def test_how_bytes_are_cut_changes_nothing(cuts: list[int]) -> None:
    data = b'data:{"a":"1"}\n\ndata: [DONE]\n\nid: 7\n\ndata:x\n\n'
    events, found, last = Events(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        found += events.feed(data[last:cut])
        last = max(last, min(cut, len(data)))
    assert found == [b'{"a":"1"}', b"[DONE]", b"x"]


def test_an_event_without_an_end() -> None:
    events = Events()
    assert events.feed(b"data:" + b"x" * EVENT_MAX_BYTES) == []
    assert events.too_big


def test_an_event_that_is_too_long_is_not_read() -> None:
    events = Events()
    assert events.feed(b"data:" + b"x" * EVENT_MAX_BYTES + b"\n") == []


# -- pieces


def test_a_whole_answer() -> None:
    pieces = fed(
        event({"role": "assistant", "content": "Hel"}),
        event({"content": "lo"}, usage=USAGE),
        b"[DONE]",
        event({"content": "late"}),
    )
    began, hel, lo, used, last = pieces
    assert (began, hel, lo, last) == (Began(SID), Text("Hel"), Text("lo"), STOP)
    assert isinstance(used, Used)
    assert (used.usage.input_total, used.usage.output_total) == (5, 9)


def test_thoughts() -> None:
    assert Reasoning("Hm.") in fed(event({"reasoning_content": "Hm."}))


@pytest.mark.parametrize("in_a_list", [True, False])
def test_a_call_as_an_object_and_in_a_list(in_a_list: bool) -> None:
    call = {"index": 0, "function": {"name": "f", "arguments": '{"a":1}'}}
    delta = {"tool_calls": [call] if in_a_list else call}
    assert fed(event(delta), b"[DONE]")[1:] == [
        ToolCall("f", '{"a":1}'),
        Finished(FinishReason.TOOL_CALLS),
    ]


def test_a_call_in_pieces_is_put_together() -> None:
    def part(index: int, **function: str) -> bytes:
        return event({"tool_calls": [{"index": index, "function": function}]})

    pieces = fed(
        part(0, name="f", arguments='{"a'),
        part(1, name="g", arguments="{}"),
        part(0, arguments='":1}'),
        b"[DONE]",
    )
    assert pieces[1:-1] == [ToolCall("f", '{"a":1}'), ToolCall("g", "{}")]


def test_as_many_calls_as_may_be_as_long_as_they_may_be() -> None:
    calls = [{"index": at, "function": {"name": "f"}} for at in range(CALLS_MAX)]
    half = {"index": 0, "function": {"arguments": "x" * (EVENT_MAX_BYTES // 2)}}
    more = event({"tool_calls": half})
    pieces = fed(event({"tool_calls": calls}), more, more, b"[DONE]")
    whole = [piece for piece in pieces if isinstance(piece, ToolCall)]
    assert len(whole) == CALLS_MAX
    assert len(whole[0].arguments) == EVENT_MAX_BYTES


@pytest.mark.parametrize(
    "beyond",
    [
        {"index": CALLS_MAX, "function": {"name": "f"}},
        {"index": 0, "function": {"arguments": "x" * (EVENT_MAX_BYTES + 1)}},
    ],
)
def test_an_answer_whose_calls_cannot_be_kept_whole_is_none(beyond: object) -> None:
    calls = [{"index": at, "function": {"name": "f"}} for at in range(CALLS_MAX)]
    pieces = fed(event({"tool_calls": calls}), event({"tool_calls": beyond}), b"[DONE]")
    began, last = pieces
    assert began == Began(SID)
    assert isinstance(last, Faulted)
    assert (last.fault.status, last.fault.upstream_id) == (502, SID)


def test_what_a_search_has_found_is_not_the_answer() -> None:
    assert fed(event({"role": "tool", "content": "[{}]"})) == [Began(SID)]


@pytest.mark.parametrize(
    ("limit", "reason", "expected"),
    [
        (9, None, FinishReason.LENGTH),
        (10, None, FinishReason.STOP),
        (None, None, FinishReason.STOP),
        (None, "length", FinishReason.LENGTH),
        (None, "content_filter", FinishReason.CONTENT_FILTER),
        (9, "stop", FinishReason.LENGTH),
    ],
)
def test_why_it_ended(limit: int | None, reason: str | None, expected: FinishReason) -> None:
    choice = {"delta": {"content": "x"}, "finish_reason": reason}
    last = json.dumps({"sid": SID, "choices": [choice], "usage": USAGE}).encode()
    assert fed(last, b"[DONE]", limit=limit)[-1] == Finished(expected)


def test_an_audited_answer() -> None:
    pieces = fed(event({"content": "x"}), event({"content": "bad"}, code=10014))
    assert pieces[1:] == [Text("x"), Finished(FinishReason.CONTENT_FILTER)]


@pytest.mark.parametrize(
    "error",
    [
        event(code=10012, message="engine a1b2c3d4"),
        json.dumps({"sid": SID, "error": {"code": "10012", "message": "engine a1b2c3d4"}}).encode(),
    ],
)
def test_an_error_within_a_stream(error: bytes) -> None:
    (piece,) = fed(error)
    assert isinstance(piece, Faulted)
    assert piece.fault.status == 502
    assert piece.fault.message == f"Spark 10012: engine [redacted] (sid={SID})"


def test_an_error_without_a_code_is_one() -> None:
    (piece,) = fed(json.dumps({"error": {"message": "no"}}).encode())
    assert isinstance(piece, Faulted)
    assert piece.fault.status == 502


@pytest.mark.parametrize("bad", [b"", b"[]", b"{", b'{"choices":1}', b"\xff", b"[" * 9999])
def test_what_cannot_be_read(bad: bytes) -> None:
    (piece,) = fed(bad)
    assert isinstance(piece, Faulted)
    assert piece.fault.code == "upstream_protocol_error"


def test_an_end_of_nothing_is_no_answer() -> None:
    (piece,) = fed(b"[DONE]")
    assert isinstance(piece, Faulted)


@hypothesis.given(st.lists(st.one_of(st.binary(max_size=40), st.just(event({"content": "x"})))))
def test_anything_at_all(events: list[bytes]) -> None:
    pieces = fed(*events)
    ends = [isinstance(piece, Finished | Faulted) for piece in pieces]
    assert not any(ends[:-1])


# -- other answers


@pytest.mark.parametrize(
    ("status", "body", "code", "effect"),
    [
        (401, b'{"error":{"message":"HMAC"}}', "upstream_auth_failed", Effect.DISABLE),
        (401, b'{"error":{"code":"11200"}}', "upstream_auth_failed", Effect.DISABLE),
        (400, b'{"error":{"code":"10907","message":"long"}}', "context_length_exceeded", "none"),
        (403, b'{"error":{"code":11200}}', "upstream_not_entitled", Effect.DISABLE_MODEL),
        (429, b"busy", "rate_limit_exceeded", Effect.COOL),
        (404, b"", "upstream_misconfigured", Effect.DISABLE_MODEL),
        (307, b"", "upstream_error", Effect.UNREACHABLE),
        (500, b'{"error":{"code":"x"}}', "upstream_error", Effect.UNREACHABLE),
    ],
)
def test_another_status(status: int, body: bytes, code: str, effect: str) -> None:
    fault = exchange().refused(status, body)
    assert (fault.code, fault.effect) == (code, effect)


def test_an_answer_that_is_cut() -> None:
    made = exchange()
    assert made.closed("gone").retry == "same_once"
    made.feed(event({"content": "x"}))
    fault = made.closed("gone")
    assert (fault.code, fault.retry, fault.upstream_id) == ("upstream_truncated", "elsewhere", SID)
