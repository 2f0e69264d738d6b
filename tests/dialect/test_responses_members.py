"""One member of an object is changed, and no byte of another."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relayd.dialect.exact import TOKENS_MAX
from relayd.dialect.responses_members import DoubledMember, NotAnObject, edited, read_members

OBJECT = b' { "a" : 1.50 ,\t"b":[1, {"a":2}] , "c":"x\\u0041" } '


def test_members_are_given_as_they_are_spelled_and_where_they_stand() -> None:
    members = read_members(OBJECT)

    assert [(name, bytes(value)) for name, value in members.values.items()] == [
        ("a", b"1.50"),
        ("b", b'[1, {"a":2}]'),
        ("c", b'"x\\u0041"'),
    ]
    spans = members.spans
    assert [OBJECT[spans[name].start : spans[name].stop] for name in "abc"] == [
        b'"a" : 1.50',
        b'"b":[1, {"a":2}]',
        b'"c":"x\\u0041"',
    ]


NAMES = st.text(st.characters(codec="utf-8"), max_size=4) | st.sampled_from(
    ["type", "model", "é", '"', "\\", "\n", ""]
)
VALUES = st.sampled_from([b"1", b"null", b'"x"', b'""', b"[1, 2]", b'{"a": "}"}', b'"\xc3\xa9"'])


def spelled(name: str, *, ascii_only: bool) -> bytes:
    return json.dumps(name, ensure_ascii=ascii_only).encode()


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=5),
    st.sampled_from([b"", b" ", b"\n"]),
    st.booleans(),
)
@example([("a", b"1"), ("a", b"1")], b"", True)
@example([("a", b"1"), ("", b'""'), ("", b'""')], b"", True)
def test_every_member_is_found_where_it_is_however_an_object_is_spelled(
    given_members: list[tuple[str, bytes]], space: bytes, ascii_only: bool
) -> None:
    names = [name for name, _ in given_members]
    keys = [spelled(name, ascii_only=ascii_only) for name in names]
    pairs = [
        key + b":" + space + value for key, (_, value) in zip(keys, given_members, strict=True)
    ]
    payload = b"{" + (b"," + space).join(pairs) + b"}"
    if len(set(names)) < len(names):
        with pytest.raises(DoubledMember):
            read_members(payload)
        return

    spans = read_members(payload).spans

    assert list(spans) == names
    assert [payload[span.start : span.stop] for span in spans.values()] == pairs
    assert [payload[span.value : span.stop] for span in spans.values()] == [
        value for _, value in given_members
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"a": None}, b' {"b":[1, {"a":2}] , "c":"x\\u0041" } '),
        ({"b": None}, b' { "a" : 1.50 , "c":"x\\u0041" } '),
        ({"c": None}, b' { "a" : 1.50 ,\t"b":[1, {"a":2}] } '),
        ({"a": None, "b": None, "c": None}, b" { } "),
        ({"a": b"7"}, b' { "a" : 7 ,\t"b":[1, {"a":2}] , "c":"x\\u0041" } '),
        ({"z": b"7"}, b' {"z":7,"a" : 1.50 ,\t"b":[1, {"a":2}] , "c":"x\\u0041" } '),
        ({"z": b"7", "a": None}, b' {"z":7 ,\t"b":[1, {"a":2}] , "c":"x\\u0041" } '),
        (
            {"y": b"1", "z": b"2"},
            b' {"y":1,"z":2,"a" : 1.50 ,\t"b":[1, {"a":2}] , "c":"x\\u0041" } ',
        ),
        ({"z": b"7", "a": None, "b": None, "c": None}, b' {"z":7 } '),
        ({"z": None}, OBJECT),
        ({}, OBJECT),
    ],
)
def test_only_what_is_to_change_changes(changes: dict[str, bytes | None], expected: bytes) -> None:
    assert edited(OBJECT, read_members(OBJECT).spans, changes) == expected


def test_an_empty_object_is_given_its_first_member() -> None:
    assert edited(b"{ }", read_members(b"{ }").spans, {"a": b"1"}) == b'{"a":1 }'


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b'"a"', b"{", b'{"a":1', b"{'a':1}", b'{"a":1}{"b":2}', b'{"a":NaN}'],
)
def test_what_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(NotAnObject):
        read_members(payload)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(NotAnObject, match="deep"):
        read_members(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@pytest.mark.parametrize(
    ("payload", "of_type"),
    [
        (b'{"a":1,"a":2}', False),
        (b'{"a":1,"b":2,"\\u0061":1}', False),
        (b'{"a":1,"a":1}', False),
        (b'{"type":"x","type":"x"}', True),
        (b'{"type":"x","\\u0074ype":"y"}', True),
        (b'{"a":1,"type":1,"a":{"type":1},"b":[{"type":2}]}', False),
    ],
)
def test_a_doubled_key_is_found_however_it_is_spelled(payload: bytes, of_type: bool) -> None:
    with pytest.raises(DoubledMember) as doubled:
        read_members(payload)

    assert doubled.value.of_type is of_type


def test_a_long_conversation_is_not_taken_for_many_members() -> None:
    text = json.dumps([{"text": "a: b, c: d"}] * TOKENS_MAX).encode()

    members = read_members(b'{"type":"response.create","input":' + text + b"}")

    assert bytes(members.values["input"]) == text


def test_more_members_than_are_looked_at_are_refused_at_once() -> None:
    fields = b",".join(b'"%d":1' % number for number in range(1_000_000))

    began = time.process_time()
    with pytest.raises(NotAnObject, match="more members"):
        read_members(b'{"input":[],' + fields + b"}")
    assert time.process_time() - began < 1.0
