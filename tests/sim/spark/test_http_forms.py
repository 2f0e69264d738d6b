"""The objects of the HTTP API."""

from __future__ import annotations

import pytest

from relayd.sim.spark.errors import MESSAGES, error
from relayd.sim.spark.frames import content_frame, plugins_frame, text_of, with_usage
from relayd.sim.spark.http_forms import Form, code_of, error_body, error_chunk, status_of

FRAME = with_usage(content_frame("cht1", 2, 0, [text_of("hi")]), {"question_tokens": 1, "x": 2})


def form(*, is_full: bool = True, has_call_list: bool = False) -> Form:
    return Form(model="m", created=5, is_full=is_full, has_call_list=has_call_list)


def test_a_chunk_has_what_its_version_has() -> None:
    full, bare = form().chunk(FRAME), form(is_full=False).chunk(FRAME)

    assert full == bare | {
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [
            {"delta": {"role": "assistant", "content": "hi"}, "index": 0, "finish_reason": "stop"}
        ],
    }
    assert bare["usage"] == {"x": 2}


def test_usage_that_cannot_be_is_passed_on() -> None:
    assert form().chunk(with_usage(FRAME, "none"))["usage"] == "none"
    assert "usage" not in form().chunk(content_frame("cht1", 1, 0, []))


def test_a_frame_without_text_says_nothing() -> None:
    chunk = form().chunk({"header": {"code": 0, "sid": "cht1", "status": 0}})

    assert chunk["choices"] == [
        {"delta": {"role": "assistant", "content": ""}, "index": 0, "finish_reason": None}
    ]


def test_a_whole_answer_joins_its_frames() -> None:
    frames = [plugins_frame("cht1", ()), content_frame("cht1", 0, 0, [text_of("oh ")]), FRAME]

    assert form().whole(frames)["choices"] == [
        {"message": {"role": "tool", "content": "[]"}, "index": 0},
        {
            "message": {"role": "assistant", "content": "oh hi"},
            "index": 0,
            "finish_reason": "stop",
        },
    ]


@pytest.mark.parametrize("code", MESSAGES)
def test_every_code_has_a_status(code: int) -> None:
    frame = error(code).event("cht1")

    assert code_of(frame) == code
    assert 400 <= status_of(code) < 600
    assert error_chunk(frame) == {
        "code": code,
        "message": MESSAGES[code],
        "sid": "cht1",
        **error_body(MESSAGES[code], code),
    }


def test_a_frame_that_is_no_error_has_no_code() -> None:
    assert code_of(FRAME) == code_of({}) == 0
