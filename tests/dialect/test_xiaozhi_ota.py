"""What a device is told, and what stays here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.xiaozhi_ota import (
    BODY_MAX_BYTES,
    BadReply,
    Offer,
    Rewritten,
    rewrite,
    websocket_url,
)

OURS = Offer(url="wss://relay.example/xiaozhi/v1/", token="v1.5.ours")
WEBSOCKET = {"url": "ws://10.0.0.5:8000/xiaozhi/v1/", "token": "theirs", "version": 3}
REPLY = {
    "server_time": {"timestamp": 1795190400123, "timezone_offset": 480},
    "activation": {"code": "460609", "message": "激活", "challenge": "c", "timeout_ms": 1e3},
    "mqtt": {"endpoint": "mqtt.example:8883", "client_id": "GID"},
    "websocket": WEBSOCKET,
    "firmware": {"version": "1.0.1", "url": "https://fw.example/x.bin", "force": 1},
    "unknown": [1.50, None],
}


def refuses(host: str) -> bool:
    return host.startswith("10.")


def rewritten(reply: object, offer: Offer = OURS) -> Rewritten:
    return rewrite(json.dumps(reply, ensure_ascii=False).encode(), offer, refuses=refuses)


def told(reply: object, offer: Offer = OURS) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rewritten(reply, offer).body)
    return found


def test_a_device_is_led_here_and_the_rest_is_as_it_was() -> None:
    expected: dict[str, Any] = {key: value for key, value in REPLY.items() if key != "mqtt"}
    expected["websocket"] = {"url": OURS.url, "token": OURS.token, "version": 3}
    assert told(REPLY) == expected


def test_other_members_keep_their_spelling() -> None:
    body = b'{"a":1.50e+2 , "websocket":{"x":1.0,"url":"ws://h/"},"z":"\\u00e9"}'
    assert rewrite(body, Offer(url="ws://r/", token="t")).body == (
        b'{"a":1.50e+2 , "websocket":{"token":"t","x":1.0,"url":"ws://r/"},"z":"\\u00e9"}'
    )


def test_what_was_the_servers_is_learned() -> None:
    learned = rewritten(REPLY)
    assert (learned.url, learned.token, learned.version) == (WEBSOCKET["url"], "theirs", 3)
    assert learned.offered
    assert learned.taken_out == ("mqtt",)
    assert "theirs" not in repr(learned)
    assert "ours" not in repr(learned)
    assert "ours" not in repr(OURS)


def test_a_gateway_stays_where_the_account_says_so() -> None:
    kept = rewritten(REPLY, Offer(url="ws://r/", token="t", keep_mqtt=True))
    assert json.loads(kept.body)["mqtt"] == REPLY["mqtt"]
    assert kept.mqtt
    assert kept.taken_out == ()


def test_the_framing_can_be_relayds() -> None:
    assert told(REPLY, Offer(url="ws://r/", token="t", version=1))["websocket"]["version"] == 1


@pytest.mark.parametrize("reply", [{}, {"success": False}, {"mqtt": {"endpoint": "h"}}])
def test_a_reply_without_a_socket_goes_on_as_it_came(reply: dict[str, object]) -> None:
    assert rewritten(reply).body == json.dumps(reply).encode()
    assert not rewritten(reply).offered


@pytest.mark.parametrize("url", ["http://10.0.0.1/fw.bin", "http://x@fw.example/", 7])
def test_firmware_from_within_is_not_named(url: object) -> None:
    result = rewritten({"firmware": {"version": "2", "url": url}})
    assert json.loads(result.body) == {"firmware": {"version": "2"}}
    assert result.taken_out == ("firmware.url",)


def test_no_firmware_is_not_news() -> None:
    assert told({"firmware": {"version": "2", "url": ""}}) == {
        "firmware": {"version": "2", "url": ""}
    }


def test_keys_are_known_in_any_letters() -> None:
    reply = {
        "MQTT": {"endpoint": "mqtt.example:8883"},
        "WebSocket": {"URL": "ws://10.0.0.5/", "Token": "theirs", "VERSION": 2},
        "Firmware": {"version": "2", "URL": "http://10.0.0.1/x"},
        "Activation": {"code": "1"},
        "mqtt\0x-like": 1,
    }
    doubled = rewritten({key: value for key, value in reply.items() if "\0" not in key})

    assert json.loads(doubled.body) == {
        "WebSocket": {"URL": OURS.url, "Token": OURS.token, "VERSION": 2},
        "Firmware": {"version": "2"},
        "Activation": {"code": "1"},
    }
    assert (doubled.url, doubled.token, doubled.version) == ("ws://10.0.0.5/", "theirs", 2)
    assert doubled.activates
    assert doubled.taken_out == ("firmware.url", "mqtt")
    with pytest.raises(BadReply):
        rewritten(reply)


@pytest.mark.parametrize(
    ("vision", "stays"),
    [
        ({"url": "http://10.0.0.1/see", "token": "t"}, False),
        ({"Url": "http://10.0.0.1/see"}, False),
        ({"url": "http://a.example/", "URL": "http://10.0.0.1/see"}, False),
        ({"url": 7}, False),
        ({"url": "https://see.example/", "token": "t"}, True),
        ({}, True),
    ],
)
def test_a_place_for_pictures_within_is_not_named(vision: object, *, stays: bool) -> None:
    result = rewritten({"mcp": {"version": 1, "vision": vision}})

    expected = {"version": 1, "vision": vision} if stays else {"version": 1}
    assert json.loads(result.body) == {"mcp": expected}
    assert result.taken_out == (() if stays else ("mcp.vision",))


@pytest.mark.parametrize("value", [None, 7, "x", [], {}])
def test_a_member_of_another_kind_goes_on(value: object) -> None:
    reply = {"mcp": value, "firmware": value}
    assert told(reply) == reply


@pytest.mark.parametrize("token", [None, ""])
def test_a_server_may_want_no_token(token: str | None) -> None:
    assert rewritten({"websocket": {"url": "ws://h/", "token": token}}).token == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b"\xff",
        b'{"websocket":{"url":"ws://a/","url":"ws://b/"}}',
        b'{"websocket":{},"websocket":{}}',
        b'{"websocket":{},"WebSocket":{"url":"ws://evil/"}}',
        b'{"websocket":{"URL":"ws://evil/","url":"ws://a/"}}',
        b'{"websocket":{"url\\u0000":"ws://evil/","url":"ws://a/"}}',
        b'{"websocket":{},"mqtt":{},"Mqtt":{}}',
        b'{"firmware":{"url":"","Url":"http://10.0.0.1"}}',
        b'{"websocket":{"token":"a\\r\\nX: b"}}',
        b'{"websocket":{"token":7}}',
        b'{"firmware":{"url":"","url":"http://10.0.0.1"}}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":"' + b"x" * BODY_MAX_BYTES + b'"}',
    ],
)
def test_a_reply_that_cannot_be_rewritten_is_refused(body: bytes) -> None:
    with pytest.raises(BadReply):
        rewrite(body, OURS, refuses=refuses)


def in_letters(name: str) -> st.SearchStrategy[str]:
    """A key as a server may write it; a device knows each of these."""
    return st.sampled_from([name, name.upper(), name.capitalize()])


def spelled_out(names: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """The JSON of an object with some of these members, in any order."""
    members = [st.tuples(in_letters(name), value) for name, value in names.items()]
    several = st.lists(st.one_of(members), unique_by=lambda each: each[0].lower(), max_size=6)
    return several.map(lambda said: ", ".join(f'"{key}": {value}' for key, value in said)).map(
        lambda members: f"{{{members}}}"
    )


ANYTHING = st.sampled_from(["null", "true", "1.50e+2", "[]", "{}", '"\\u00e9"', '{"a": [{}]}'])
ADDRESSES = st.sampled_from(['"ws://h/"', '"http://10.0.0.1/x"', '"https://fw.example/"', '""'])
TOKENS = st.sampled_from(['"theirs"', '""', "null", '"a\\r\\nX: b"', "7"])
WEBSOCKETS = spelled_out({"url": ADDRESSES, "token": TOKENS, "version": ANYTHING, "x": ANYTHING})
FIRMWARE = spelled_out({"version": ANYTHING, "url": ADDRESSES | ANYTHING})
VISIONS = spelled_out({"url": ADDRESSES | ANYTHING, "token": TOKENS})
BODIES = spelled_out(
    {
        "websocket": WEBSOCKETS | ANYTHING,
        "mqtt": spelled_out({"endpoint": ADDRESSES}) | ANYTHING,
        "firmware": FIRMWARE | ANYTHING,
        "mcp": spelled_out({"vision": VISIONS | ANYTHING}) | ANYTHING,
        "activation": ANYTHING,
        "server_time": ANYTHING,
    }
)


def folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, its keys in small letters."""
    return {key.lower(): value for key, value in pairs}


def is_refused(url: object) -> bool:
    """Whether an address must not be named; none, and an empty one, is no address."""
    return url not in (None, "", "ws://h/", "https://fw.example/")


def leads_within(vision: object) -> bool:
    """Whether a place for pictures must not be named."""
    return is_refused(vision.get("url")) if isinstance(vision, dict) else True


def changed(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply as a device gets it, all keys in small letters."""
    told = dict(reply)
    if isinstance(told.get("websocket"), dict):
        told["websocket"] |= {"url": OURS.url, "token": OURS.token}
        told.pop("mqtt", None)
    firmware, mcp = told.get("firmware"), told.get("mcp")
    if isinstance(firmware, dict) and is_refused(firmware.get("url")):
        told["firmware"] = {key: value for key, value in firmware.items() if key != "url"}
    if isinstance(mcp, dict) and "vision" in mcp and leads_within(mcp["vision"]):
        told["mcp"] = {key: value for key, value in mcp.items() if key != "vision"}
    return told


@given(BODIES)
def test_whatever_members_a_reply_has_only_what_must_be_is_changed(body: str) -> None:
    try:
        answer = rewrite(body.encode(), OURS, refuses=refuses).body
    except BadReply:
        return
    before = json.loads(body, object_pairs_hook=folded)
    after = json.loads(answer, object_pairs_hook=folded)
    assert after == changed(before)


@given(BODIES, st.data())
def test_no_body_breaks_the_rewriting(body: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(body)))
    stop = data.draw(st.integers(start, min(start + 3, len(body))))
    raw = body[:start].encode() + data.draw(st.binary(max_size=3)) + body[stop:].encode()
    try:
        assert isinstance(json.loads(rewrite(raw, OURS, refuses=refuses).body), dict)
    except BadReply:
        pass


KEYS = st.sampled_from(
    ["websocket", "WebSocket", "mqtt", "MQTT", "firmware", "Firmware", "url", "URL", "token", "a"]
)
URLS = st.sampled_from(["ws://10.0.0.5/", "http://10.0.0.1/x", "ws://evil.example/", "", None])
REPLIES = st.dictionaries(KEYS, URLS | st.dictionaries(KEYS, URLS, max_size=4), max_size=5)


def as_a_device_reads(value: object, name: str) -> object:
    """The first member of that name in any letters, as cJSON finds it."""
    if not isinstance(value, dict):
        return None
    return next((value[key] for key in value if key.lower() == name), None)


@given(REPLIES)
def test_no_spelling_leads_a_device_past_relayd(reply: dict[str, Any]) -> None:
    try:
        answer = json.loads(rewritten(reply).body)
    except BadReply:
        return
    websocket = as_a_device_reads(answer, "websocket")
    if isinstance(websocket, dict):
        assert as_a_device_reads(websocket, "url") == OURS.url
        assert as_a_device_reads(websocket, "token") == OURS.token
        assert as_a_device_reads(answer, "mqtt") is None
    firmware = as_a_device_reads(as_a_device_reads(answer, "firmware"), "url")
    assert firmware in {None, "", "ws://evil.example/"}


@pytest.mark.parametrize(
    ("public", "url"),
    [
        ("https://relay.example", "wss://relay.example/xiaozhi/v1/"),
        ("http://10.0.0.1:8080/base/", "ws://10.0.0.1:8080/base/xiaozhi/v1/"),
        ("wss://relay.example", "wss://relay.example/xiaozhi/v1/"),
    ],
)
def test_devices_open_sockets_where_relayd_is(public: str, url: str) -> None:
    assert websocket_url(public) == url
