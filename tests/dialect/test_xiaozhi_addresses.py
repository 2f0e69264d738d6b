"""Addresses that a server may not hand to its devices."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.xiaozhi_addresses import (
    edited_at,
    host_of,
    refuses_none,
    url_refused,
    without_vision,
)
from relayd.dialect.xiaozhi_messages import Unreadable


def refuses(host: str) -> bool:
    return host.startswith(("10.", "fd", "localhost"))


def initialize(vision: object) -> bytes:
    params = {"protocolVersion": "x", "capabilities": {"vision": vision, "other": 1}}
    return json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    ).encode()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://api.example/x", "api.example"),
        ("wss://[fd00::1]:8000/", "fd00::1"),
        ("HTTPS://10.0.0.1", "10.0.0.1"),
        ("ftp://api.example", None),
        ("api.example", None),
        ("http://", None),
        ("http://api.example@10.0.0.1/", None),
        ("http://api.example\\@10.0.0.1/", None),
        ("http://api.example:99999/", None),
        ("http://[::1", None),
        ("http://api.example/ x", None),
        ("http://ａ.example/", None),
        ("http://a/" + "b" * 2048, None),
    ],
)
def test_the_host_of_an_address(url: str, host: str | None) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("raw", "refused"),
    [
        (b'"http://api.example"', False),
        (b'"http://10.0.0.1"', True),
        (b'"http:\\/\\/10.0.0.1"', True),
        (b'""', False),
        (b"null", False),
        (b"7", True),
        (b'["http://api.example"]', True),
    ],
)
def test_an_address_is_refused_by_its_host(raw: bytes, refused: bool) -> None:
    assert url_refused(raw, refuses) is refused


def test_a_place_for_pictures_that_may_be_named_stays_byte_for_byte() -> None:
    payload = initialize({"url": "http://api.example/vision", "token": "t"})
    assert without_vision(payload, refuses) is payload
    private = initialize({"url": "http://10.0.0.1/vision"})
    assert without_vision(private, refuses_none) is private


@pytest.mark.parametrize(
    "vision",
    [{"url": "http://10.0.0.1/vision", "token": "t"}, "http://api.example", {"url": 7}],
)
def test_a_place_for_pictures_that_may_not_be_named_is_taken_out(vision: object) -> None:
    fields = json.loads(without_vision(initialize(vision), refuses))
    assert fields["params"] == {"protocolVersion": "x", "capabilities": {"other": 1}}


def test_a_second_address_does_not_hide_behind_the_first() -> None:
    doubled = initialize(0).replace(
        b'"vision": 0', b'"vision":{"url":"http://10.0.0.1","url":"http://api.example"}'
    )
    assert b"10.0.0.1" not in without_vision(doubled, refuses)
    with pytest.raises(Unreadable):
        without_vision(initialize({}).replace(b'"other"', b'"vision"'), refuses)


@given(
    st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=5), max_size=5),
    st.text(max_size=4),
)
def test_one_value_is_changed_and_no_other(fields: dict[str, object], key: str) -> None:
    payload = json.dumps({"outer": fields}).encode()
    changed = edited_at(payload, ("outer", key), lambda raw: b'"new"')
    expected = {**fields, key: "new"} if key in fields else fields
    assert json.loads(changed) == {"outer": expected}
    assert edited_at(payload, ("outer", key), bytes) is payload
