"""Errors on the wire."""

from __future__ import annotations

import pytest

from relayd.sim.responses import errors
from relayd.sim.responses.errors import ServiceError

CONSTANTS = [value for value in vars(errors).values() if isinstance(value, ServiceError)]


@pytest.mark.parametrize("error", CONSTANTS, ids=lambda error: error.code)
def test_every_error_has_all_that_a_client_needs(error: ServiceError) -> None:
    event = error.event()

    assert event["type"] == "error"
    assert event["status"] == error.status >= 400
    assert isinstance(event["error"], dict)
    assert {"type", "code", "message", "param"} <= event["error"].keys()
    assert event["error"]["type"]
    assert event["error"]["message"]


def test_the_documented_texts_are_kept_to_the_letter() -> None:
    assert errors.previous_response_not_found("resp_abc").event() == {
        "type": "error",
        "status": 400,
        "error": {
            "type": "invalid_request_error",
            "code": "previous_response_not_found",
            "message": "Previous response with id 'resp_abc' not found.",
            "param": "previous_response_id",
        },
    }
    assert errors.STREAM_LIMIT.message == (
        "This WebSocket connection has reached its maximum number of distinct stream IDs (32). "
        "Reuse an existing stream_id or open a new WebSocket connection."
    )
    assert errors.CONNECTION_LIMIT.message == (
        "Responses websocket connection limit reached (60 minutes). Create a new websocket "
        "connection to continue."
    )


def test_a_used_up_quota_says_until_when_in_the_event_and_in_headers() -> None:
    event = errors.usage_limit_reached(1_738_888_888).event()

    assert event["status"] == 429
    assert event["error"] == {
        "type": "usage_limit_reached",
        "code": None,
        "message": "The usage limit has been reached",
        "param": None,
        "plan_type": "pro",
        "resets_at": 1_738_888_888,
    }
    assert event["headers"] == {
        "x-codex-primary-used-percent": "100.0",
        "x-codex-primary-window-minutes": "300",
        "x-codex-primary-reset-at": "1738888888",
    }


def test_some_errors_are_wrong_on_purpose() -> None:
    assert "status" not in errors.WITHOUT_STATUS
    assert "error" not in errors.TOP_LEVEL
    assert errors.TOP_LEVEL["code"]
