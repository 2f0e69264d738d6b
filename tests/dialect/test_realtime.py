"""The Realtime dialect's address upstream."""

from __future__ import annotations

import json

import pytest

from relayd.dialect.realtime import upstream_target
from tests.dialect.conversation import Talk


@pytest.mark.parametrize(
    ("model", "call_id", "intent", "target"),
    [
        ("gpt-realtime", None, None, "/v1/realtime?model=gpt-realtime"),
        (None, "rtc_1", None, "/v1/realtime?call_id=rtc_1"),
        (None, None, "transcription", "/v1/realtime?intent=transcription"),
        ("a b&c/d?é", None, None, "/v1/realtime?model=a%20b%26c%2Fd%3F%C3%A9"),
    ],
)
def test_the_target_holds_what_was_asked_for_encoded(
    model: str | None, call_id: str | None, intent: str | None, target: str
) -> None:
    assert upstream_target("/v1", model=model, call_id=call_id, intent=intent) == target


def test_line_breaks_do_not_reach_the_request_line() -> None:
    target = upstream_target("", model="a\r\nHost: b", call_id=None, intent=None)

    assert target.isprintable()
    assert " " not in target


def test_a_conversation_tells_errors_in_its_dialects_shape() -> None:
    event = json.loads(Talk().conversation.error_event("server_error", "drain", "goodbye"))

    assert (event["type"], event["error"]["code"]) == ("error", "drain")
