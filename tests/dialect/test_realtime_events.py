"""The numbers and shapes that are read out of Realtime events."""

from __future__ import annotations

import json

import msgspec
import pytest

from relayd.dialect.meter import Usage
from relayd.dialect.realtime_events import HEAD, error_event, event_id_of, read_usage


def usage_of(wire: object) -> Usage | None:
    return read_usage(msgspec.Raw(json.dumps(wire).encode()), "response", "resp_1")


def test_every_kind_of_token_is_read() -> None:
    usage = usage_of(
        {
            "total_tokens": 253,
            "input_tokens": 132,
            "output_tokens": 121,
            "input_token_details": {
                "text_tokens": 119,
                "audio_tokens": 13,
                "image_tokens": 2,
                "cached_tokens": 66,
                "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 1, "image_tokens": 1},
            },
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        }
    )

    assert usage == Usage(
        source="response",
        upstream_id="resp_1",
        input_text=119,
        input_audio=13,
        input_image=2,
        cached_text=64,
        cached_audio=1,
        cached_image=1,
        output_text=30,
        output_audio=91,
        input_total=132,
        output_total=121,
    )
    assert usage.cached_total == 66


@pytest.mark.parametrize(
    ("cached", "text", "audio"),
    [(0, 0, 0), (5, 5, 0), (10, 10, 0), (13, 10, 3), (None, 0, 0)],
)
def test_cached_tokens_of_no_kind_are_text_first(cached: int | None, text: int, audio: int) -> None:
    details = {"text_tokens": 10, "audio_tokens": 20, "cached_tokens": cached}
    usage = usage_of({"input_tokens": 30, "input_token_details": details})

    assert usage is not None
    assert (usage.cached_text, usage.cached_audio) == (text, audio)


@pytest.mark.parametrize(
    "wire",
    [
        None,
        {},
        {"input_tokens": None, "output_tokens": None},
        {"total_tokens": 5},
        {"input_tokens": -5},
        {"input_tokens": 1 << 60},
        {"input_tokens": "5"},
        {"seconds": -1.0},
        [],
        "usage",
    ],
)
def test_no_usage_and_nonsense_are_none(wire: object) -> None:
    assert usage_of(wire) is None


def test_details_may_be_missing_or_null() -> None:
    wire = {"input_tokens": 3, "input_token_details": None, "output_token_details": None}

    assert usage_of(wire) == Usage(source="response", upstream_id="resp_1", input_total=3)


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
        (b'{"x":' + b"[" * 100_000, None),
    ],
)
def test_an_events_id_is_read_where_it_has_one(payload: bytes, event_id: str | None) -> None:
    assert event_id_of(payload) == event_id


def test_relayds_own_errors_have_the_shape_of_the_upstreams() -> None:
    event = json.loads(error_event("invalid_request_error", "invalid_value", "what and why"))

    assert event["type"] == "error"
    assert event["event_id"]
    assert event["error"]["code"] == "invalid_value"
    assert event["error"]["type"] == "invalid_request_error"
    assert set(event["error"]) == {"type", "code", "message", "param", "event_id"}
