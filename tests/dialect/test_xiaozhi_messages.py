"""Text messages: what is read, what is changed, what is made."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.xiaozhi_messages import (
    Unreadable,
    alert,
    goodbye,
    hello_for,
    mcp,
    read_hello,
    read_text,
    reboot,
    tts_stop,
)

ESP32 = (
    b'{"type":"hello","version":1,"features":{"mcp":true},"transport":"websocket",'
    b'"audio_params":{"format":"opus","sample_rate":16000,"channels":1,"frame_duration":60}}'
)


def test_a_message_is_its_type_its_state_and_its_session() -> None:
    message = read_text(b'{"session_id":"s1","type":"listen","state":"start","mode":"auto"}')
    assert (message.kind, message.state, message.session_id) == ("listen", "start", "s1")
    assert message.word("mode") == "auto"
    assert message.raw("absent") is None


@pytest.mark.parametrize("state", ["7", "null", '"' + "x" * 65 + '"', '["start"]'])
def test_a_state_that_is_no_word_is_none(state: str) -> None:
    assert read_text(f'{{"type":"listen","state":{state}}}'.encode()).state is None


@pytest.mark.parametrize(
    ("payload", "plain"),
    [
        ("认证失败".encode(), True),
        ("端口正常，如需测试请使用test_page.html".encode(), True),
        (b"", True),
        (b"[1]", True),
        (b"\xff{}", True),
        (b"{", False),
        (b"{}", False),
        (b'{"type":7}', False),
        (b'{"type":"listen","type":"server"}', False),
        (b'{"type":"listen","\\u0074ype":"server"}', False),
        (b'{"type":"a","session_id":"1","session_id":"2"}', False),
        (b'{"type":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", False),
        (json.dumps({"type": "a", **{str(n): n for n in range(300)}}).encode(), False),
    ],
)
def test_what_is_no_message_is_told_from_a_refusal(payload: bytes, plain: bool) -> None:
    with pytest.raises(Unreadable) as caught:
        read_text(payload)
    assert caught.value.plain is plain


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_break_the_reader(payload: bytes) -> None:
    try:
        message = read_text(payload)
    except Unreadable:
        return
    assert json.loads(payload)["type"] == message.kind


def test_a_session_id_is_mapped_where_it_is_the_one_that_is_known() -> None:
    message = read_text(b'{ "n": 1.50, "session_id" : "old", "type":"stt"}')
    assert message.with_session_id("old", "new") == (
        b'{ "n": 1.50, "session_id" : "new", "type":"stt"}'
    )
    assert message.with_session_id("other", "new") is message.payload
    assert message.with_session_id("old", "old") is message.payload


@pytest.mark.parametrize("payload", [b'{"type":"stt","session_id":""}', b'{"type":"stt"}'])
def test_an_empty_session_id_is_left_alone(payload: bytes) -> None:
    assert read_text(payload).with_session_id("", "new") == payload


members = st.dictionaries(
    st.text(max_size=6).filter(lambda key: key not in {"type", "session_id"}),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ),
    max_size=5,
)


@given(members, st.sampled_from(["old", "other", ""]), st.text(max_size=8), st.randoms())
def test_mapping_changes_nothing_else(
    others: dict[str, object], session_id: str, new: str, random: Random
) -> None:
    items = [*others.items(), ("type", "stt"), ("session_id", session_id)]
    random.shuffle(items)
    fields = dict(items)
    mapped = json.loads(read_text(json.dumps(fields).encode()).with_session_id("old", new))
    assert mapped == {**fields, "session_id": new if session_id == "old" else session_id}
    assert list(mapped) == list(fields)


def test_a_hello_says_how_audio_comes() -> None:
    hello = read_hello(read_text(ESP32))
    assert (hello.version, hello.frame_duration_ms, hello.sample_rate) == (1, 60, 16000)
    assert hello.mcp
    assert hello.session_id == ""


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"hello"}',
        b'{"type":"hello","version":"x","features":[],"audio_params":7}',
        b'{"type":"hello","version":9,"features":{"mcp":"yes"},"audio_params":{"frame_duration":[]}}',
    ],
)
def test_a_hello_that_says_nothing_is_one_too(payload: bytes) -> None:
    hello = read_hello(read_text(payload))
    assert (hello.version, hello.frame_duration_ms, hello.mcp) == (None, None, False)


def test_a_hello_that_fits_goes_on_as_it_came() -> None:
    message = read_text(ESP32)
    assert hello_for(message, 1) is message.payload


@pytest.mark.parametrize("transport", ["", ',"transport":null', ',"transport":"udp"'])
def test_the_transport_is_always_there(transport: str) -> None:
    message = read_text(f'{{"type":"hello","session_id":"s"{transport}}}'.encode())
    fields = json.loads(hello_for(message, 2))
    assert fields == {"type": "hello", "session_id": "s", "transport": "websocket"}


def test_a_hello_names_its_receivers_framing() -> None:
    assert hello_for(read_text(ESP32), 3) == ESP32.replace(b'"version":1', b'"version":3')


@pytest.mark.parametrize(
    ("made", "fields"),
    [
        (tts_stop("s"), {"type": "tts", "state": "stop", "session_id": "s"}),
        (tts_stop(""), {"type": "tts", "state": "stop"}),
        (mcp(b'{"id":1.0}', "s"), {"type": "mcp", "payload": {"id": 1.0}, "session_id": "s"}),
        (reboot(), {"type": "system", "command": "reboot"}),
        (goodbye("s"), {"type": "goodbye", "session_id": "s"}),
        (
            alert('a"', "b", "sad"),
            {"type": "alert", "status": 'a"', "message": "b", "emotion": "sad"},
        ),
    ],
)
def test_messages_of_relayds_own(made: bytes, fields: dict[str, object]) -> None:
    assert json.loads(made) == fields
