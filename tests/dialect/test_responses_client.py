"""A client's message is known exactly, or its sender is told what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relayd.dialect.responses_client import (
    CREATE_MAX_BYTES,
    MISTAKES_MAX,
    MODEL_MAX_CHARS,
    RESPONSE_ID_MAX_CHARS,
    Create,
    Mistake,
    MistakeCount,
    Other,
    Steer,
    over_limit,
    read_message,
    rewritten,
)
from relayd.dialect.responses_errors import INVALID_STREAM_ID
from tests.dialect.responses import create, message


def mistake(payload: bytes) -> Mistake:
    read = read_message(payload)
    assert isinstance(read, Mistake)
    return read


def wrong(**members: object) -> Mistake:
    return mistake(message(**{"type": "response.create", "model": "m"} | members))


def test_a_create_is_read() -> None:
    payload = message(
        type="response.create",
        stream_id="main.1",
        model="gpt-5.2-codex",
        previous_response_id="resp_1",
        store=False,
        generate=False,
        stream=True,
        background=True,
        max_output_tokens=100,
        input=[{"type": "function_call_output", "call_id": "call_1", "output": "x"}],
        some_day={"new": [1, None]},
    )

    read = read_message(payload)

    assert isinstance(read, Create)
    assert (read.stream_id, read.model, read.previous_response_id) == (
        "main.1",
        "gpt-5.2-codex",
        "resp_1",
    )
    assert (read.store, read.generate, read.output_max_tokens) == (False, False, 100)
    assert read.tool_outputs == ("call_1",)
    assert read.expected.input_total > 0
    assert read.payload is payload


def test_what_is_absent_or_null_has_its_default() -> None:
    for read in (
        create(),
        create(stream=None, store=None, generate=None, previous_response_id=None),
        create(max_output_tokens=None, input=None),
    ):
        assert (read.stream_id, read.previous_response_id) == (None, None)
        assert (read.store, read.generate, read.output_max_tokens) == (True, True, None)
        assert read.tool_outputs == ()
        assert read.expected.input_total == 0


@pytest.mark.parametrize("limit", [0, -1, 1.5, "inf", True, 2**60, [1]])
def test_a_limit_that_is_none_is_the_upstreams_to_refuse(limit: object) -> None:
    assert create(max_output_tokens=limit).output_max_tokens is None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"model":"m"}',
        b'{"model":"m","\\u0074ype":"response\\u002ecreate"}',
        b'\n{ "input" : [{"type":"response.steer"}], "type":"response.create", "model":"m"}',
    ],
)
def test_a_create_is_one_however_it_is_spelled(payload: bytes) -> None:
    assert isinstance(read_message(payload), Create)


def test_a_stream_id_that_is_null_counts_as_absent() -> None:
    read = read_message(b'{"type":"response.create","model":"m","stream_id":null}')

    assert isinstance(read, Create)
    assert read.stream_id is None


@pytest.mark.parametrize("stream_id", ["", "a b", "ä", "a" * 257, "a\n", 5, ["a"], {}, True])
@pytest.mark.parametrize("kind", ["response.create", "response.inject"])
def test_a_stream_id_of_other_characters_is_refused(kind: str, stream_id: object) -> None:
    refused = wrong(type=kind, stream_id=stream_id)

    assert (refused.status, refused.code, refused.param) == (400, "invalid_stream_id", "stream_id")
    assert refused.message == INVALID_STREAM_ID
    assert refused.stream_id is None


def test_a_stream_id_of_any_length_allowed_is_kept() -> None:
    assert create("aZ09_.-").stream_id == "aZ09_.-"
    assert create("a" * 256).stream_id == "a" * 256


@pytest.mark.parametrize("kind", ["", 5, None, "a" * 129, "a\nb", ["response.create"]])
def test_a_type_that_is_no_word_is_refused(kind: object) -> None:
    assert wrong(type=kind).param == "type"


def test_an_append_of_the_first_version_is_told_what_to_send() -> None:
    refused = wrong(type="response.append", stream_id="a")

    assert (refused.status, refused.stream_id, refused.fatal) == (400, "a", False)
    assert "response.create with previous_response_id" in refused.message


@pytest.mark.parametrize("model", ["", "a" * (MODEL_MAX_CHARS + 1), "a\nb", "a\x7f", 5, ["m"]])
def test_a_model_that_is_no_name_is_refused(model: object) -> None:
    refused = wrong(model=model, stream_id="a")

    assert (refused.status, refused.param, refused.stream_id) == (400, "model", "a")


@pytest.mark.parametrize("payload", [b'{"type":"response.create"}', b'{"model":null}', b"{}"])
def test_a_create_needs_a_model(payload: bytes) -> None:
    refused = mistake(payload)

    assert (refused.code, refused.param) == ("missing_required_parameter", "model")


@pytest.mark.parametrize("previous", ["", "a" * (RESPONSE_ID_MAX_CHARS + 1), "a\0", 5, ["r"]])
@pytest.mark.parametrize("kind", ["response.create", "response.steer"])
def test_a_previous_response_is_named_by_a_string(kind: str, previous: object) -> None:
    assert wrong(type=kind, previous_response_id=previous).param == "previous_response_id"


def test_the_id_of_a_message_is_refused_with_a_remedy() -> None:
    refused = wrong(previous_response_id="msg_1")

    assert refused.status == 400
    assert "resp_" in refused.message


@pytest.mark.parametrize("name", ["stream", "store", "generate"])
@pytest.mark.parametrize("value", [0, 1, "true", [], {}])
def test_a_switch_is_a_boolean(name: str, value: object) -> None:
    refused = wrong(**{name: value})

    assert (refused.status, refused.param) == (400, name)


def test_a_steer_names_the_response_that_it_steers() -> None:
    payload = message(type="response.steer", previous_response_id="resp_1", input="stop")

    read = read_message(payload)

    assert isinstance(read, Steer)
    assert (read.previous_response_id, read.payload) == ("resp_1", payload)
    assert mistake(b'{"type":"response.steer"}').param == "previous_response_id"


def test_an_unknown_event_is_for_its_lane_as_it_is() -> None:
    payload = message(type="response.inject", stream_id="a", model=5, store="x")

    read = read_message(payload)

    assert isinstance(read, Other)
    assert (read.kind, read.stream_id, read.payload) == ("response.inject", "a", payload)


@pytest.mark.parametrize("payload", [b"", b"hello", b"[]", b'"x"', b'{"type":', b"null"])
def test_what_is_no_object_is_told_so(payload: bytes) -> None:
    refused = mistake(payload)

    assert (refused.status, refused.code, refused.fatal) == (400, "invalid_json", False)


@pytest.mark.parametrize(
    "members", ['"model":"a","model":"b"', '"stream_id":"a","stream\\u005fid":"b"', '"x":1,"x":1']
)
def test_a_key_that_stands_twice_is_refused(members: str) -> None:
    refused = mistake(b'{"type":"response.create",%s}' % members.encode())

    assert (refused.status, refused.fatal) == (400, False)


def test_two_types_end_the_session() -> None:
    refused = mistake(b'{"type":"response.create","model":"m","type":"response.steer"}')

    assert (refused.code, refused.fatal) == ("duplicate_type", True)


def test_no_mistake_shows_what_the_message_held() -> None:
    for payload in (
        b'{"type":"sk-canary-1","model":5}',
        b'{"model":"sk-canary-1\\n"}',
        b'{"model":"m","previous_response_id":["sk-canary-1"]}',
        b'{"sk-canary-1":1,"sk-canary-1":2}',
        b'{"sk-canary-1":',
    ):
        read = read_message(payload)
        assert isinstance(read, Other) or b"canary" not in mistake(payload).event()


def test_a_create_over_the_limit_is_refused_on_its_lane() -> None:
    at_limit = message(type="response.create", stream_id="a", model="m", input="")
    padding = CREATE_MAX_BYTES - len(at_limit)

    assert isinstance(read_message(at_limit.replace(b'""', b'"%s"' % (b"x" * padding))), Create)
    refused = mistake(at_limit.replace(b'""', b'"%s"' % (b"x" * (padding + 1))))
    assert (refused.status, refused.code, refused.stream_id) == (400, "message_too_big", "a")
    assert over_limit(b"x" * CREATE_MAX_BYTES) is None


def test_a_mistake_is_told_as_an_error_event_with_status() -> None:
    told = json.loads(wrong(model=5, stream_id="a").event())

    assert (told["type"], told["status"], told["stream_id"]) == ("error", 400, "a")
    assert told["error"]["type"] == "invalid_request_error"
    assert told["error"]["param"] == "model"


def test_mistakes_in_a_row_end_the_session() -> None:
    count, one = MistakeCount(), wrong(model=5)

    assert [count.add(one) for _ in range(MISTAKES_MAX)] == [False, False, True]
    count.clear()
    assert count.add(one) is False
    assert count.add(mistake(b'{"type":"x","type":"y"}')) is True


# -- what goes upstream

SPELLED = (
    b' { "model" : "voice" , "stream_id":"a", "input":"\\u0041", "n":1.50,\n'
    b'"type":"response.create" } '
)


def read(payload: bytes) -> Create:
    found = read_message(payload)
    assert isinstance(found, Create)
    return found


def test_nothing_to_change_gives_the_message_itself() -> None:
    spelled = read(SPELLED)
    lone = create(previous_response_id="resp_1")

    assert rewritten(spelled) is SPELLED
    assert rewritten(spelled, model="voice") is SPELLED
    assert rewritten(lone, strip_stream_id=True) is lone.payload
    assert rewritten(lone, previous_response_id="resp_1") is lone.payload


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"model": "gpt"}, SPELLED.replace(b'"voice"', b'"gpt"')),
        ({"strip_stream_id": True}, SPELLED.replace(b' , "stream_id":"a"', b"")),
        (
            {"previous_response_id": "resp_2"},
            SPELLED.replace(b"{ ", b'{"previous_response_id":"resp_2",', 1),
        ),
    ],
)
def test_what_changes_is_changed_and_nothing_else(wish: dict[str, Any], expected: bytes) -> None:
    assert rewritten(read(SPELLED), **wish) == expected


def test_a_create_without_type_is_given_one() -> None:
    assert rewritten(read(b'{"model":"m"}')) == b'{"type":"response.create","model":"m"}'


def test_a_null_lane_and_a_null_chain_are_replaced_and_not_doubled() -> None:
    both = read(
        b'{"stream_id":null,"previous_response_id":null,"model":"m","type":"response.create"}'
    )

    assert rewritten(both, strip_stream_id=True, previous_response_id="resp_1") == (
        b'{"previous_response_id":"resp_1","model":"m","type":"response.create"}'
    )


@pytest.mark.parametrize("name", ["Model", "TYPE", "stream_ID", "Previous_response_id", "Store"])
def test_a_member_that_differs_in_case_alone_is_refused(name: str) -> None:
    payload = json.dumps({"type": "response.create", "model": "gpt-5", name: "gpt-5-pro"}).encode()

    mistake = read_message(payload)

    assert isinstance(mistake, Mistake)
    assert (mistake.status, mistake.param, mistake.fatal) == (400, name.lower(), False)
