"""Client events: what is parsed, and the service's words for what is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.realtime.client_events import (
    AudioCommit,
    FunctionCallOutput,
    ItemCreate,
    Message,
    Rejected,
    ResponseCreate,
    parse,
)


def test_an_event_is_parsed_with_its_id() -> None:
    event = parse('{"type":"input_audio_buffer.commit","event_id":"mine"}')

    assert event == AudioCommit(event_id="mine")


def test_items_are_told_apart_by_their_type() -> None:
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    answered = {"type": "function_call_output", "call_id": "c", "output": "42"}

    parsed = [
        parse(json.dumps({"type": "conversation.item.create", "item": item}))
        for item in (said, answered)
    ]

    items = [event.item for event in parsed if isinstance(event, ItemCreate)]
    assert [type(item) for item in items] == [Message, FunctionCallOutput]


def test_a_type_that_is_spelled_with_escapes_is_the_same_type() -> None:
    assert parse(r'{"type":"response\u002ecreate"}') == ResponseCreate()


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_value", None),
        ("{}", "missing_required_parameter", "type"),
        ('{"type":"no.such.event"}', "invalid_value", "type"),
        ('{"type":"session.update"}', "missing_required_parameter", "session"),
        ('{"type":"session.update","session":{}}', "missing_required_parameter", "session.type"),
        (
            '{"type":"session.update","session":{"type":"realtime","modalities":["text"]}}',
            "unknown_parameter",
            "session.modalities",
        ),
        (
            '{"type":"session.update","session":{"type":"realtime","audio":{"input":{"x":1}}}}',
            "unknown_parameter",
            "session.audio.input.x",
        ),
        (
            '{"type":"session.update","session":{"type":"realtime","max_output_tokens":0}}',
            "invalid_value",
            "session.max_output_tokens",
        ),
        (
            '{"type":"conversation.item.create","item":{"type":"message","role":"user",'
            '"content":[{"type":"text","text":"beta"}]}}',
            "invalid_value",
            "item.content[0].type",
        ),
        ('{"type":"input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type":"response.create","response":{"model":"x"}}', "unknown_parameter",
         "response.model"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_as_the_service_names_it(
    text: str, code: str, param: str | None
) -> None:
    with pytest.raises(Rejected) as caught:
        parse(text)

    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_mistake_carries_the_id_of_its_event() -> None:
    with pytest.raises(Rejected) as caught:
        parse('{"type":"session.update","event_id":"mine"}')

    assert caught.value.event_id == "mine"


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(Rejected):
        parse(text)


def test_nesting_without_end_is_rejected() -> None:
    with pytest.raises(Rejected):
        parse('{"type":"session.update","session":' + "[" * 100_000)
