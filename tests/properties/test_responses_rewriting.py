"""A create that goes upstream differs from what the client sent in what was asked for alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.responses_client import Create, Mistake, read_message, rewritten
from relayd.dialect.responses_members import DoubledMember, edited, read_members

NAMES = st.sampled_from(
    ["input", "tools", "stream", "metadata", "n", "", 'a"b', "\\", "model2", "ty\u00e9", "response"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(['{"type":"x"}', "response.create", "},{", '\\"']),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.just("type"), inner, max_size=3)
    ),
    max_leaves=6,
)
IDS = st.from_regex(re.compile(r"[A-Za-z0-9_.-]{1,12}"), fullmatch=True)
READ = {
    "type": st.just("response.create"),
    "stream_id": st.none() | IDS,
    "previous_response_id": st.none() | IDS.map(lambda name: f"resp_{name}"),
    "store": st.booleans(),
}


@st.composite
def spelled(draw: st.DrawFn, members: list[tuple[str, object]]) -> bytes:
    """The members in any order, each spelled in one of the ways in which JSON can."""
    gaps = st.sampled_from(["", " ", "\n\t", "\r\n"])

    def text(key: str) -> str:
        if draw(st.booleans()):
            return json.dumps(key, ensure_ascii=draw(st.booleans()))
        return '"' + "".join(f"\\u{ord(char):04x}" for char in key) + '"'

    parts = [
        f"{draw(gaps)}{text(key)}{draw(gaps)}:{draw(gaps)}"
        f"{json.dumps(value, ensure_ascii=draw(st.booleans()))}{draw(gaps)}"
        for key, value in draw(st.permutations(members))
    ]
    return f"{draw(gaps)}{{{','.join(parts) or draw(gaps)}}}{draw(gaps)}".encode()


@st.composite
def creates(draw: st.DrawFn) -> Create:
    members: dict[str, object] = {"model": draw(IDS)}
    members |= draw(st.fixed_dictionaries({}, optional=READ))
    others = draw(st.dictionaries(NAMES, VALUES, max_size=4))
    others.pop("stream", None)
    read = read_message(draw(spelled(list((others | members).items()))))
    assert isinstance(read, Create)
    return read


def pairs(payload: bytes) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = json.loads(payload, object_pairs_hook=lambda pairs: pairs)
    return found


@given(creates(), st.none() | IDS, st.booleans(), st.none() | IDS)
def test_a_rewritten_create_differs_in_what_was_asked_for(
    create: Create, model: str | None, strip: bool, previous_id: str | None
) -> None:
    sent = rewritten(create, model=model, strip_stream_id=strip, previous_response_id=previous_id)

    expected = dict(pairs(create.payload)) | {"type": "response.create"}
    if model is not None:
        expected["model"] = model
    if previous_id is not None:
        expected["previous_response_id"] = previous_id
    if strip:
        expected.pop("stream_id", None)
    found = pairs(sent)
    assert dict(found) == expected
    assert len(found) == len(expected)  # no key stands twice
    before, after = read_members(create.payload), read_members(sent)
    changed = {"type", "model", "previous_response_id"}
    kept = [name for name in before.values if name in after.values and name not in changed]
    assert [name for name in after.values if name in kept] == kept
    for name in kept:
        old, new = before.spans[name], after.spans[name]
        assert create.payload[old.start : old.stop] == sent[new.start : new.stop]
    if expected == dict(pairs(create.payload)):
        assert sent is create.payload


KEYS = st.sampled_from(["type", "a", "b", "stream_id", "model"])


@given(st.data())
def test_a_doubled_key_is_never_read(data: st.DataObject) -> None:
    members = data.draw(st.lists(st.tuples(KEYS, VALUES), max_size=5))
    payload = data.draw(spelled(members))
    keys = [key for key, _ in members]

    if len(set(keys)) == len(keys):
        assert dict(pairs(payload)).keys() == read_members(payload).values.keys()
        return
    with pytest.raises(DoubledMember) as doubled:
        read_members(payload)
    assert doubled.value.of_type == (keys.count("type") > 1)
    answer = read_message(payload)
    assert isinstance(answer, Mistake)
    assert answer.fatal == (keys.count("type") > 1)


@given(st.data())
def test_any_members_of_any_object_can_be_changed(data: st.DataObject) -> None:
    members = data.draw(st.dictionaries(NAMES, VALUES, max_size=5))
    payload = data.draw(spelled(list(members.items())))
    changes = data.draw(st.dictionaries(NAMES, st.none() | VALUES.map(json.dumps), max_size=5))

    sent = edited(
        payload,
        read_members(payload).spans,
        {name: None if value is None else value.encode() for name, value in changes.items()},
    )

    expected: dict[str, object] = dict(members)
    for name, value in changes.items():
        if value is None:
            expected.pop(name, None)
        else:
            expected[name] = json.loads(value)
    assert json.loads(sent) == expected
    assert len(pairs(sent)) == len(expected)


@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_read_or_answered(payload: bytes) -> None:
    answer = read_message(payload)

    if isinstance(answer, Mistake):
        assert json.loads(answer.event())["status"] == answer.status
