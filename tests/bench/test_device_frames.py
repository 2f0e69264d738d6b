from __future__ import annotations

import json

import pytest

from bench import device_frames
from bench.device_frames import BINARY, PACKET_BYTES, TEXT, echoed, spoken, stamp_of, taken
from bench.failures import UnexpectedAnswer
from bench.frames import masked_text_frame
from relayd.dialect.xiaozhi_frames import opus_duration_us


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    return list(taken(bytearray(data)))


def test_a_packet_is_opus_and_carries_its_time() -> None:
    ((opcode, packet),) = frames_of(spoken(1795190400_123456789))

    assert (opcode, len(packet)) == (BINARY, PACKET_BYTES)
    assert stamp_of(packet) == 1795190400_123456789
    assert opus_duration_us(packet) == 60_000
    assert frames_of(echoed(packet)) == [(BINARY, packet)]


@pytest.mark.parametrize("frame", [device_frames.HELLO, device_frames.WELCOME])
def test_hellos_have_the_transport(frame: bytes) -> None:
    ((opcode, hello),) = frames_of(frame)

    assert opcode == TEXT
    assert json.loads(hello)["transport"] == "websocket"


def test_frames_are_taken_as_they_become_whole() -> None:
    whole = spoken(1) + device_frames.HELLO + masked_text_frame(b"x", b"abcd")
    received = bytearray()
    found: list[tuple[int, bytes]] = []
    for byte in whole:
        received.append(byte)
        found += taken(received)

    assert [opcode for opcode, _ in found] == [BINARY, TEXT, TEXT]
    assert found[2][1] == b"x"
    assert received == b""


@pytest.mark.parametrize("frame", [b"\x02\x01x", b"\x82\x7f" + bytes(8)])
def test_fragments_and_long_frames_are_refused(frame: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        frames_of(frame)


@pytest.mark.parametrize("packet", [b"", bytes(PACKET_BYTES), b"\x58" + b"1" * 20])
def test_a_strange_packet_is_none(packet: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        stamp_of(packet)


def test_each_device_has_an_id_of_its_own() -> None:
    first, second = (device_frames.request("relay:1", "key", number) for number in (1, 300))

    assert b"\r\nDevice-Id: 02:00:00:00:00:01\r\n" in first
    assert b"\r\nDevice-Id: 02:00:00:00:01:2c\r\n" in second
    assert b"\r\nAuthorization: Bearer key\r\n" in first
