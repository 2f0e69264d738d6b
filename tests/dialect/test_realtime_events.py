"""What tells a Realtime event from another, and relayd's own."""

from __future__ import annotations

import json

import msgspec
import pytest

from relayd.dialect.realtime_events import (
    EVENT_ID_MAX_CHARS,
    HEAD,
    error_event,
    event_id_of,
    word,
)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b'{"type":"a.b","x":1', b"a.b"),
        (b' {\n"type" : "a_b" ', b"a_b"),
        (b'{"event_id":"e-1","type":"a"', b"a"),
        (b'{"event_id" : "" , "type" : "a"', b"a"),
    ],
)
def test_a_head_shows_a_type_that_stands_first_or_behind_the_id(
    payload: bytes, kind: bytes
) -> None:
    found = HEAD.match(payload)

    assert found is not None
    assert found[2] == kind


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"a',
        b'{"type":"a\\u002eb"',
        b'{"\\u0074ype":"a"',
        b'{"x":1,"type":"a"',
        b'{"event_id":"\\"","type":"a"',
        b'["type":"a"',
        b'\xef\xbb\xbf{"type":"a"',
        b'{"event_id":"' + b"e" * 129 + b'","type":"a"',
        b'{"type":"' + b"a" * 81 + b'"',
        b'{"type":""',
    ],
)
def test_a_head_that_does_not_show_its_type_proves_nothing(payload: bytes) -> None:
    assert HEAD.match(payload) is None


@pytest.mark.parametrize(
    ("payload", "event_id"),
    [
        (b'{"type":"x","event_id":"e"}', "e"),
        (b'{"type":"x"}', None),
        (b'{"event_id":5}', None),
        (b'{"event_id":null}', None),
        (b'{"event_id":"' + b"e" * 1000 + b'"}', "e" * EVENT_ID_MAX_CHARS),
        (b'{"x":' + b"[" * 100_000, None),
    ],
)
def test_an_events_id_is_read_where_it_has_one(payload: bytes, event_id: str | None) -> None:
    assert event_id_of(payload) == event_id


@pytest.mark.parametrize(
    ("spelled", "read"),
    [
        (b'"a\\u0062"', "ab"),
        (b'""', ""),
        (b"12", "12"),
        (b"-1.50", "-1.50"),
        (b"null", None),
        (b"true", None),
        (b'["a"]', None),
        (b'{"a":1}', None),
    ],
)
def test_a_word_is_a_string_or_a_number_as_it_is_spelled(spelled: bytes, read: str | None) -> None:
    assert word(msgspec.Raw(spelled)) == read


def test_relayds_own_errors_have_the_shape_of_the_upstreams() -> None:
    event = json.loads(error_event("invalid_request_error", "invalid_value", "what and why", "e1"))

    assert event["type"] == "error"
    assert event["event_id"]
    assert event["error"]["code"] == "invalid_value"
    assert event["error"]["type"] == "invalid_request_error"
    assert event["error"]["event_id"] == "e1" != event["event_id"]
    assert set(event["error"]) == {"type", "code", "message", "param", "event_id"}


def test_an_error_that_answers_no_event_names_none() -> None:
    assert json.loads(error_event("server_error", "drain", "why"))["error"]["event_id"] is None
