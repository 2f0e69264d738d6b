"""No error event leaves without what every client needs to see it."""

from __future__ import annotations

import json

import pytest

from relayd.dialect.responses_errors import (
    CONNECTION_LIMIT_REACHED,
    INVALID_STREAM_ID,
    STREAM_LIMIT_REACHED,
    error_event,
    incomplete_event,
    previous_response_text,
)


def test_an_error_event_has_status_type_code_and_message() -> None:
    event = json.loads(error_event(503, "server_error", "gateway_busy", "Try again."))

    assert event == {
        "type": "error",
        "status": 503,
        "error": {
            "type": "server_error",
            "code": "gateway_busy",
            "message": "Try again.",
            "param": None,
        },
    }


def test_what_else_is_known_is_told() -> None:
    event = json.loads(
        error_event(
            400,
            "invalid_request_error",
            "x",
            "No.",
            param="model",
            stream_id="main",
            response_id="resp_1",
            headers={"retry-after": "5"},
        )
    )

    assert event["stream_id"] == "main"
    assert event["error"]["param"] == "model"
    assert event["error"]["message"] == "No. (response resp_1)"
    assert event["headers"] == event["error"]["headers"] == {"retry-after": "5"}


@pytest.mark.parametrize("status", [0, 101, 200, 399, 600, 1012])
def test_none_can_be_built_without_a_status_that_says_error(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        error_event(status, "server_error", "x", "y")


@pytest.mark.parametrize("words", [("", "x", "y"), ("x", "", "y"), ("x", "y", "")])
def test_none_can_be_built_without_its_words(words: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match="needs a type"):
        error_event(500, *words)


def test_a_preempted_response_ends_as_incomplete() -> None:
    event = json.loads(incomplete_event("resp_1", "preempted", "main"))

    assert event["type"] == "response.incomplete"
    assert event["stream_id"] == "main"
    assert event["response"]["id"] == "resp_1"
    assert event["response"]["status"] == "incomplete"
    assert event["response"]["incomplete_details"] == {"reason": "preempted"}
    assert "stream_id" not in json.loads(incomplete_event("resp_1", "preempted"))


def test_texts_that_clients_compare_are_the_upstreams_own() -> None:
    assert previous_response_text("resp_a") == "Previous response with id 'resp_a' not found."
    assert INVALID_STREAM_ID == (
        "The 'stream_id' field must be a non-empty string with at most 256 characters and may only"
        " contain letters, numbers, underscores, hyphens, and periods."
    )
    assert STREAM_LIMIT_REACHED == (
        "This WebSocket connection has reached its maximum number of distinct stream IDs (32)."
        " Reuse an existing stream_id or open a new WebSocket connection."
    )
    assert CONNECTION_LIMIT_REACHED == (
        "Responses websocket connection limit reached (60 minutes)."
        " Create a new websocket connection to continue."
    )
