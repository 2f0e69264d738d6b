"""What handlers answer, and the bytes it becomes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.service.http.responses import (
    Json,
    Sse,
    SseEvent,
    Text,
    encode_head_of,
    encode_whole,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
LINES = st.lists(st.sampled_from(["a", "", ":", "data: x", "\r\n", "\r", "\n", "é"])).map("".join)


@attrs.define
class Reader:
    """The HTML Living Standard's event stream interpretation (section 9.2.6), to the letter."""

    events: list[tuple[str, str]] = attrs.field(factory=list)
    last_id: str = ""
    retry: int | None = None

    def read(self, stream: bytes) -> None:
        data, kind = "", ""
        lines = stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in lines[:-1]:
            if not line:
                if data:
                    self.events.append((kind or "message", data[:-1]))
                data, kind = "", ""
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                kind = value
            elif name == "data":
                data += value + "\n"
            elif name == "id" and "\0" not in value:
                self.last_id = value
            elif name == "retry" and value.isascii() and value.isdigit():
                self.retry = int(value)


def test_an_event_is_written_as_browsers_read_it() -> None:
    event = SseEvent(b"one\ntwo\r\nthree\r", event="tick", id="7", retry=1500)

    assert event.encode() == (
        b"event: tick\nid: 7\nretry: 1500\ndata: one\ndata: two\ndata: three\ndata: \n\n"
    )
    assert SseEvent(b'{"a":1}').encode() == b'data: {"a":1}\n\n'


@given(st.lists(st.tuples(LINES, st.none() | TEXTS, st.none() | TEXTS), max_size=4))
def test_what_is_read_is_what_was_meant(parts: list[tuple[str, str | None, str | None]]) -> None:
    reader, meant, last_id = Reader(), [], ""
    for data, kind, name in parts:
        if any(sign in f"{kind}{name}" for sign in "\r\n\0"):
            with pytest.raises(ValueError, match="no line end and no NUL"):
                SseEvent(data.encode(), event=kind, id=name)
            continue
        reader.read(SseEvent(data.encode(), event=kind, id=name).encode())
        meant.append((kind or "message", data.replace("\r\n", "\n").replace("\r", "\n")))
        last_id = last_id if name is None else name

    assert reader.events == meant
    assert reader.last_id == last_id


def test_a_client_is_told_when_to_come_back() -> None:
    reader = Reader()
    reader.read(SseEvent(b"x", retry=2000).encode())

    assert reader.retry == 2000


def test_json_is_encoded_unless_it_is_bytes_already() -> None:
    assert Json({"a": [1, None]}).content() == b'{"a":[1,null]}'
    assert Json(b"{ }").content() == b"{ }"


def test_text_is_utf_8() -> None:
    assert Text("é").content() == b"\xc3\xa9"
    assert Text(b"\xff", content_type="application/octet-stream").content() == b"\xff"


def test_a_whole_response_has_its_type_its_length_and_its_name() -> None:
    wire = encode_whole(
        Text("four", headers=(("X-More", "y"),)), request_id="req_1", close=False, head_only=False
    )
    head, _, body = wire.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"four"
    for line in (
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: 4",
        b"x-request-id: req_1",
        b"X-More: y",
    ):
        assert head.split(b"\r\n").count(line) == 1
    assert b"Connection" not in head


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_takes_none(status: int) -> None:
    with pytest.raises(ValueError, match="has no body"):
        encode_whole(Text("x", status=status), request_id="r", close=False, head_only=False)


async def test_events_are_neither_stored_nor_gathered_on_their_way() -> None:
    async def none() -> AsyncIterator[SseEvent]:
        return
        yield

    response = Sse(none(), headers=(("X-More", "y"),))
    head = encode_head_of(response, request_id="r", close=False, length=None)

    for line in (
        b"Content-Type: text/event-stream",
        b"Cache-Control: no-cache",
        b"X-Accel-Buffering: no",
        b"Transfer-Encoding: chunked",
        b"X-More: y",
    ):
        assert head.split(b"\r\n").count(line) == 1
    with pytest.raises(ValueError, match="keepalive_s"):
        Sse(none(), keepalive_s=0)
