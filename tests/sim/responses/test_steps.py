"""How events get onto the wire otherwise."""

from __future__ import annotations

import json

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from relayd.sim.responses import steps

PAYLOAD = json.dumps({"type": "a", "text": "gr\u00fcn" * 50, "last": 1}).encode()


def frames(data: bytes) -> list[Frame]:
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found: list[Frame] = []
    while reader.buffer:
        parser = Frame.parse(reader.read_exact, mask=False)
        try:
            next(parser)
        except StopIteration as parsed:
            found.append(parsed.value)
    return found


def test_text_and_binary_are_one_frame() -> None:
    assert frames(steps.as_text(PAYLOAD)) == [Frame(Opcode.TEXT, PAYLOAD)]
    assert frames(steps.as_binary(PAYLOAD)) == [Frame(Opcode.BINARY, PAYLOAD)]


def test_reordered_members_are_the_same_object() -> None:
    (frame,) = frames(steps.reordered(PAYLOAD))

    assert json.loads(bytes(frame.data)) == json.loads(PAYLOAD)
    assert list(json.loads(bytes(frame.data))) == ["last", "text", "type"]


def test_half_a_frame_is_that() -> None:
    half = steps.halved(PAYLOAD)

    assert steps.as_text(PAYLOAD).startswith(half)
    assert len(half) == len(steps.as_text(PAYLOAD)) // 2


def test_broken_text_is_not_utf8() -> None:
    (frame,) = frames(steps.broken_utf8(PAYLOAD))

    assert frame.opcode is Opcode.TEXT
    with pytest.raises(UnicodeDecodeError):
        bytes(frame.data).decode()


@pytest.mark.parametrize("has_ping", [True, False])
def test_fragments_joined_are_the_message(has_ping: bool) -> None:
    found = frames(steps.in_fragments(PAYLOAD, has_ping=has_ping))

    pings = [frame for frame in found if frame.opcode is Opcode.PING]
    data = [frame for frame in found if frame.opcode is not Opcode.PING]
    assert len(pings) == has_ping
    assert b"".join(frame.data for frame in data) == PAYLOAD
    assert data[0].opcode is Opcode.TEXT
    assert {frame.opcode for frame in data[1:]} == {Opcode.CONT}
    assert [frame.fin for frame in data] == [False] * (len(data) - 1) + [True]
    assert max(len(frame.data) for frame in data) <= 97
