"""A provider of another shape, through the same hooks."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest

from relayd.config.spark import ChatDefaults
from relayd.config.url import parse_base_url
from relayd.dialect.behind import (
    Began,
    Effect,
    Fault,
    Faulted,
    Finished,
    FinishReason,
    Piece,
    Reasoning,
    Retry,
    Text,
    Used,
)
from relayd.dialect.meter import Usage
from relayd.dialect.runtask import RUNTASK, RunTask, TaskExchange
from tests.dialect.chat import KEY, TOOLS, WALL, FakeAccount, request

TASK = "0b5fd1a2"
PROVIDER = RunTask(new_task_id=lambda: TASK)


def exchange(chosen: FakeAccount | None = None, **members: object) -> TaskExchange:
    return PROVIDER.begin(request(**members), chosen or FakeAccount(), "qwen-max")


def event(
    name: str, task_id: str | None = TASK, *, header: object = None, **payload: object
) -> bytes:
    own = header if isinstance(header, dict) else {}
    said = {"header": {"event": name, "task_id": task_id} | own, "payload": payload}
    return json.dumps(said).encode()


def result(text: str, usage: object = None) -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "null"}
    return event("result-generated", output={"choices": [choice]}, usage=usage)


def played(talk: TaskExchange, *frames: bytes) -> list[Piece]:
    return [piece for each in frames for piece in talk.feed(each)]


def parameters(chosen: FakeAccount | None = None, **members: object) -> dict[str, Any]:
    (run,) = exchange(chosen, **members).opening()
    sent: dict[str, Any] = json.loads(run)["payload"]["parameters"]
    return sent


def test_a_request_is_a_task() -> None:
    (run,) = exchange().opening()

    assert json.loads(run) == {
        "header": {"action": "run-task", "task_id": TASK, "streaming": "out"},
        "payload": {
            "model": "qwen-max",
            "task_group": "aigc",
            "task": "text-generation",
            "function": "generation",
            "parameters": {"result_format": "message", "incremental_output": True},
            "input": {"messages": [{"role": "user", "content": "hello"}]},
        },
    }


def test_each_task_has_a_name_of_its_own() -> None:
    names = {RUNTASK.begin(request(), FakeAccount(), "m").upstream_id for _ in range(3)}

    assert len(names) == 3
    assert all(re.fullmatch(r"[0-9a-f-]{36}", name) for name in names)


def test_an_answer_from_its_start_to_its_end() -> None:
    usage = {"input_tokens": 5, "output_tokens": 9, "total_tokens": 14}

    assert played(
        exchange(),
        event("task-started"),
        result("he", usage={"input_tokens": 5, "output_tokens": 1}),
        result("llo", usage=usage),
        event("task-finished"),
    ) == [
        Began(TASK),
        Text("he"),
        Text("llo"),
        Used(
            Usage(
                source="response",
                upstream_id=TASK,
                input_text=5,
                output_text=9,
                input_total=5,
                output_total=9,
            )
        ),
        Finished(FinishReason.STOP),
    ]


def test_plain_text_and_thoughts() -> None:
    thought = {"message": {"reasoning_content": "hm", "content": ""}}

    assert played(
        exchange(),
        event("result-generated", output={"choices": [thought]}),
        event("result-generated", output={"text": "x", "finish_reason": "length"}),
        event("task-finished", output={"text": ""}),
    ) == [Began(TASK), Reasoning("hm"), Text("x"), Finished(FinishReason.LENGTH)]


def test_a_task_that_starts_has_not_begun_to_answer() -> None:
    talk = exchange()

    assert played(talk, event("task-started"), event("some-news")) == []
    failed = {"error_code": "InvalidParameter", "error_message": "temperature"}
    (piece,) = talk.feed(event("task-failed", header=failed))
    assert isinstance(piece, Faulted)
    assert piece.fault.status == 400


@pytest.mark.parametrize(
    ("code", "status", "word", "retry", "effect"),
    [
        ("InvalidParameter", 400, "invalid_value", Retry.NONE, Effect.NONE),
        ("DataInspectionFailed", 400, "content_filter", Retry.NONE, Effect.NONE),
        ("data_inspection_failed", 400, "content_filter", Retry.NONE, Effect.NONE),
        ("InvalidApiKey", 502, "upstream_auth_failed", Retry.ELSEWHERE, Effect.DISABLE),
        ("AccessDenied.X", 500, "upstream_misconfigured", Retry.NONE, Effect.DISABLE_MODEL),
        ("ModelNotFound", 500, "upstream_misconfigured", Retry.NONE, Effect.DISABLE_MODEL),
        ("Model.AccessDenied", 500, "upstream_misconfigured", Retry.NONE, Effect.DISABLE_MODEL),
        ("Arrearage", 429, "insufficient_quota", Retry.ELSEWHERE, Effect.DISABLE),
        (
            "AllocationQuota.FreeTierOnly",
            429,
            "insufficient_quota",
            Retry.ELSEWHERE,
            Effect.DISABLE,
        ),
        ("Throttling.RateQuota", 429, "rate_limit_exceeded", Retry.ELSEWHERE, Effect.COOL),
        ("InternalError.Timeout", 502, "upstream_error", Retry.SAME_ONCE, Effect.UNREACHABLE),
        ("RequestTimeOut", 502, "upstream_error", Retry.SAME_ONCE, Effect.UNREACHABLE),
        ("ServiceUnavailable", 503, "overloaded", Retry.ELSEWHERE, Effect.UNREACHABLE),
        ("SomethingNew", 502, "upstream_error", Retry.NONE, Effect.NONE),
        (None, 502, "upstream_error", Retry.NONE, Effect.NONE),
    ],
)
def test_what_a_failed_task_means(
    code: str | None, status: int, word: str, retry: Retry, effect: Effect
) -> None:
    header = {"error_code": code, "error_message": "what it says"}

    (piece,) = exchange().feed(event("task-failed", header=header))

    assert isinstance(piece, Faulted)
    fault = piece.fault
    assert (fault.status, fault.code, fault.retry, fault.effect) == (status, word, retry, effect)
    assert "what it says" in fault.detail
    assert fault.upstream_id == TASK


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff", b'{"header":{}}', event("result-generated", "another")]
)
def test_what_is_no_event_of_the_task_breaks_the_protocol(raw: bytes) -> None:
    talk = exchange()

    (piece,) = talk.feed(raw)

    assert isinstance(piece, Faulted)
    assert piece.fault.code == "upstream_protocol_error"
    assert talk.feed(result("more")) == ()


@pytest.mark.parametrize("frames", [[event("task-started")], [result("x")]])
def test_an_end_before_the_task_s_is_no_success(frames: list[bytes]) -> None:
    talk = exchange()
    assert talk.closed(1000, "").retry is Retry.SAME_ONCE

    played(talk, *frames)

    fault = talk.closed(1000, "bye")
    assert (fault.code, fault.retry) == ("upstream_truncated", Retry.ELSEWHERE)


def test_a_task_is_cancelled_by_its_name() -> None:
    frame = exchange().cancelling()

    assert frame is not None
    assert json.loads(frame)["header"] == {
        "action": "finish-task",
        "task_id": TASK,
        "streaming": "out",
    }


def test_parameters_and_defaults() -> None:
    chosen = FakeAccount(defaults=ChatDefaults(temperature=0.5, top_k=7, max_tokens=100))

    sent = parameters(
        chosen,
        max_tokens=9,
        stop="x",
        web_search_options={},
        enable_thinking=False,
        presence_penalty=1,
    )

    assert sent == {
        "result_format": "message",
        "incremental_output": True,
        "temperature": 0.5,
        "top_k": 7,
        "max_tokens": 9,
        "presence_penalty": 1.0,
        "stop": ["x"],
        "enable_search": True,
        "enable_thinking": False,
    }


def test_what_is_ignored_is_named() -> None:
    talk = exchange(
        tools=TOOLS, frequency_penalty=1, response_format={"type": "json_object"}, seed=1
    )

    assert talk.ignored == ("seed", "frequency_penalty", "response_format", "tools")
    assert exchange(tools=TOOLS, tool_choice="none").ignored == ()


def test_a_call_cannot_be_demanded() -> None:
    assert RUNTASK.takes(request(tools=TOOLS), FakeAccount()) is None
    fault = RUNTASK.takes(request(tools=TOOLS, tool_choice="required"), FakeAccount())

    assert fault is not None
    assert (fault.status, fault.param) == (400, "tool_choice")


@pytest.mark.parametrize(
    ("base_url", "target"),
    [
        ("wss://dashscope.aliyuncs.com", "/api-ws/v1/inference"),
        ("wss://dashscope.aliyuncs.com/own/path", "/own/path"),
    ],
)
def test_a_connection_presents_the_key(base_url: str, target: str) -> None:
    chosen = FakeAccount(base_url=parse_base_url(base_url))

    handshake = RUNTASK.target(chosen, "m", WALL)

    assert handshake.target == target
    assert handshake.headers == (("Authorization", f"Bearer {KEY}"),)
    assert RUNTASK.target(attrs.evolve(chosen, api_key=None), "m", WALL).headers == ()


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, b'{"code":"InvalidApiKey","message":"Invalid API-key"}', "upstream_auth_failed"),
        (403, b"<html>", "upstream_auth_failed"),
        (500, b"\xff", "upstream_error"),
    ],
)
def test_a_refused_connection(status: int, body: bytes, code: str) -> None:
    fault = RUNTASK.classify_handshake(status, body, None, WALL)

    assert isinstance(fault, Fault)
    assert fault.code == code
