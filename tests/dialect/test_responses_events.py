"""What is read of server events, and what of an odd one is not."""

from __future__ import annotations

import json

import msgspec
import pytest

from relayd.dialect.responses_events import (
    HEAD,
    STATUS_BY_TERMINAL,
    WORD_MAX_CHARS,
    ServerEvent,
    decode_server_event,
    id_of,
    item_of,
    reason_of,
    response_of,
    steer_id_of,
    text_of,
)
from tests.dialect.responses import message

ODD: list[object] = [None, 5, "x", [], {}, True, 1.5]


def read(kind: str, **members: object) -> ServerEvent:
    return decode_server_event(message(type=kind, **members))


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"response.created"}',
        b' { "type" : "response.created" , "x":1}',
        b'{"stream_id":"a b","type":"response.created"',
        b'{"event_id":"e","sequence_number":12,"stream_id":"a","type":"response.created"',
    ],
)
def test_a_type_in_front_is_told_without_decoding(payload: bytes) -> None:
    found = HEAD.match(payload)

    assert found is not None
    assert found[1] == b"response.created"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"response":{"type":"response.created"}}',
        b'{"x":1,"type":"response.created"}',
        b'{"stream_id":"\\"","type":"response.created"}',
        b'{"type":"response\\u002ecreated"}',
        b'["type","response.created"]',
        b'{"stream_id":{"type":"response.created"}}',
    ],
)
def test_a_type_elsewhere_or_spelled_otherwise_is_not(payload: bytes) -> None:
    assert HEAD.match(payload) is None


def test_white_space_without_end_costs_a_walk() -> None:
    assert HEAD.match(b'{"stream_id"' + b" " * 1_000_000) is None


def test_what_a_response_says_of_itself_is_read() -> None:
    response = response_of(
        read(
            "response.incomplete",
            response={"id": "resp_1", "incomplete_details": {"reason": "steered"}},
        )
    )

    assert (id_of(response), reason_of(response)) == ("resp_1", "steered")


@pytest.mark.parametrize("odd", ODD)
def test_odd_fields_count_as_absent_and_hide_no_other(odd: object) -> None:
    response = response_of(
        read("response.completed", response={"id": "resp_1", "incomplete_details": odd})
    )

    assert (id_of(response), reason_of(response)) == ("resp_1", None)
    assert id_of(response_of(read("response.completed", response=odd))) is None
    assert item_of(read("response.output_item.done", item=odd)) is None
    assert steer_id_of(read("response.steer.failed", steer=odd)) is None


def test_an_item_has_a_type_and_the_id_of_its_call() -> None:
    item = {"type": "function_call", "call_id": "call_1", "id": "fc_1"}

    call = ("function_call", "call_1", None)
    assert item_of(read("response.output_item.done", item=item)) == call
    named = item_of(read("response.output_item.added", item=item | {"name": "look_up"}))
    assert named == (*call[:2], "look_up")
    odd_name = item_of(read("response.output_item.added", item=item | {"name": ["x"]}))
    assert odd_name == call
    assert item_of(read("response.output_item.done", item={"type": "message"})) is None
    assert item_of(read("response.output_item.done", item=item | {"call_id": None})) is None


def test_a_steering_has_an_id() -> None:
    assert steer_id_of(read("response.steer.accepted", steer={"id": "steer_1"})) == "steer_1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", "x"),
        (5, "5"),
        (None, None),
        (True, None),
        (False, None),
        ([], None),
        ({}, None),
        ("x" * (WORD_MAX_CHARS + 1), "x" * WORD_MAX_CHARS),
    ],
)
def test_a_word_is_a_string_or_a_number_and_bounded(value: object, expected: str | None) -> None:
    assert text_of(msgspec.Raw(json.dumps(value).encode())) == expected


def test_every_end_has_a_status_that_a_turn_can_have() -> None:
    assert set(STATUS_BY_TERMINAL.values()) == {"completed", "failed", "incomplete", "cancelled"}
