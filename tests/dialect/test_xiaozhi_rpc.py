"""JSON-RPC: ids in one spelling, pages by what names them, messages as the protocol has them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.xiaozhi_messages import read_object
from relayd.dialect.xiaozhi_rpc import (
    digest,
    error_response,
    id_of,
    number_of,
    page_key,
    request,
    response,
)


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("7", b"7"),
        ('"a"', b'"a"'),
        ('"\\u0061"', b'"a"'),
        ("null", None),
        ("1.5", None),
        ("true", None),
        ("[1]", None),
        ('"' + "x" * 200 + '"', None),
    ],
)
def test_an_id_has_one_spelling(spelled: str, expected: bytes | None) -> None:
    assert id_of(read_object(b'{"id":%b}' % spelled.encode())) == expected


@given(st.integers(-(2**63), 2**63) | st.text(max_size=10))
def test_an_id_is_what_it_was(value: int | str) -> None:
    found = id_of(read_object(json.dumps({"id": value}).encode()))
    assert found is not None
    assert json.loads(found) == value
    assert number_of(found) == (value if isinstance(value, int) else None)


def test_a_page_is_named_by_what_was_asked_for() -> None:
    first = page_key("tools/list", b"{}")
    assert first == page_key("tools/list", b' { "cursor" : "" } ')
    assert page_key("tools/list", b'{"b":1,"a":2}') == page_key("tools/list", b'{"a":2,"b":1}')
    assert page_key("tools/list", b'{"cursor":"x"}') not in {first, b""}


def test_what_names_a_page_is_short() -> None:
    assert len(page_key("tools/list", b'{"cursor":"' + b"x" * 2000 + b'"}')) == 32
    assert digest(b"x" * 100_000) != digest(b"x" * 100_001)


@pytest.mark.parametrize("params", [b"[]", b"{", b'{"cursor":"' + b"x" * 3000 + b'"}'])
def test_a_page_that_is_named_oddly_is_not_remembered(params: bytes) -> None:
    assert page_key("tools/list", params) == b""
    assert page_key("tools/call", b"{}") == b""


def test_messages_of_relayds_own() -> None:
    assert json.loads(request(7, "tools/call", b'{"name":"x"}')) == {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "x"},
    }
    assert json.loads(response(b'"a"', b"result", b"{}")) == {
        "jsonrpc": "2.0",
        "id": "a",
        "result": {},
    }
    assert json.loads(error_response(b"3", "gone"))["error"] == {"code": -32001, "message": "gone"}
