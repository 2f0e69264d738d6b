"""What a client may say, and what is told to one that says it wrongly."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.responses.client_events import Create, Steer, parse
from relayd.sim.responses.errors import Rejected
from tests.sim.responses.stage import asked, create

USER = {"role": "user", "content": "stop"}


def rejection(text: str) -> Rejected:
    with pytest.raises(Rejected) as rejected:
        parse(text)
    return rejected.value


def test_fields_that_no_document_names_are_taken() -> None:
    event = parse(json.dumps(asked(stream=True, client_metadata={"a": "b"}, unheard_of=[1])))

    assert isinstance(event, Create)
    assert (event.is_warm_up, event.is_stored, event.lane()) == (False, True, None)


def test_a_warm_up_and_what_is_not_stored_say_so() -> None:
    assert create(generate=False).is_warm_up
    assert not create(store=False).is_stored


@pytest.mark.parametrize("stream_id", ["a", "A-z_0.9", "x" * 256])
def test_a_lane_is_named_by_stream_id(stream_id: str) -> None:
    assert create(stream_id=stream_id).lane() == stream_id


@pytest.mark.parametrize("stream_id", ["", "x" * 257, "a b", "a\n", "gr\u00fcn", 1, None, ["a"]])
def test_a_wrong_stream_id_is_refused_in_the_documented_words(stream_id: object) -> None:
    with pytest.raises(Rejected) as rejected:
        create(stream_id=stream_id).lane()

    assert rejected.value.error.code == "invalid_stream_id"
    assert rejected.value.error.message == (
        "The 'stream_id' field must be a non-empty string with at most 256 characters and may only "
        "contain letters, numbers, underscores, hyphens, and periods."
    )


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        ('{"a":' * 100_000, "invalid_json", None),
        ("[]", "invalid_type", None),
        ('{"model": "m"}', "missing_required_parameter", "type"),
        ('{"type": "response.create"}', "missing_required_parameter", "model"),
        ('{"type": "response.append", "model": "m"}', "invalid_value", "type"),
        (json.dumps(asked(tools=7)), "invalid_type", "tools"),
        (json.dumps(asked(max_output_tokens=0)), "invalid_type", "max_output_tokens"),
        ('{"type": "response.steer", "input": "x"}', "missing_required_parameter", None),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, code: str, param: str | None) -> None:
    error = rejection(text).error

    assert (error.status, error.kind, error.code) == (400, "invalid_request_error", code)
    assert param is None or error.param == param


def test_a_mistake_is_told_on_the_lane_that_it_named() -> None:
    assert rejection('{"type": "response.create", "stream_id": "a"}').lane == "a"
    assert rejection('{"type": "response.create", "stream_id": "a b"}').lane is None


@pytest.mark.parametrize(
    ("given_input", "is_acceptable"),
    [
        ("stop", True),
        ([USER], True),
        ([USER | {"type": "message"}, USER], True),
        ([], False),
        ([{"role": "system", "content": "stop"}], False),
        ([{"type": "function_call_output", "call_id": "c", "output": ""}], False),
    ],
)
def test_only_the_user_may_steer(given_input: object, is_acceptable: bool) -> None:
    event = {"type": "response.steer", "previous_response_id": "r", "input": given_input}
    steer = parse(json.dumps(event))

    assert isinstance(steer, Steer)
    assert steer.is_acceptable() is is_acceptable


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda values: (
            st.lists(values)
            | st.dictionaries(
                st.sampled_from(["type", "model", "input", "stream_id", "metadata"]) | st.text(),
                values,
            )
        ),
    ).map(json.dumps)
)
def test_anything_is_parsed_or_rejected(text: str) -> None:
    with contextlib.suppress(Rejected):
        assert isinstance(parse(text), Create | Steer)
