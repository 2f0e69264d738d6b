"""The three framings, byte for byte, and how long a packet lasts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.xiaozhi_frames import (
    PACKET_MAX_US,
    AudioFrame,
    Kind,
    build,
    kind_of,
    opus_duration_us,
    parse,
    translate,
)

PACKET = b"\x58hello-opus"
FRAME = AudioFrame(PACKET, timestamp_ms=1234)
WIRE = {
    1: PACKET,
    2: bytes.fromhex("0002000000000000000004d20000000b5868656c6c6f2d6f707573"),
    3: bytes.fromhex("0000000b5868656c6c6f2d6f707573"),
}
GATEWAYS = bytes.fromhex("0000000000000000000004d20000000b5868656c6c6f2d6f707573")
TO_GATEWAY = bytes.fromhex("0100000b00000007000004d20000000b5868656c6c6f2d6f707573")

versions = st.sampled_from([1, 2, 3])
frames = st.builds(
    AudioFrame,
    st.binary(min_size=1, max_size=300),
    st.just(int(Kind.OPUS)),
    st.integers(0, 2**32 - 1),
)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_packet_is_framed_as_the_firmware_does(version: int) -> None:
    assert build(FRAME, version) == WIRE[version]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_frame_of_the_firmware_is_read(version: int) -> None:
    timestamp_ms = 1234 if version == 2 else 0
    assert parse(WIRE[version], version) == AudioFrame(PACKET, Kind.OPUS, timestamp_ms)


def test_a_frame_of_the_gateway_has_zeros_for_its_version() -> None:
    assert parse(GATEWAYS, 2) == FRAME
    assert translate(GATEWAYS, 2, 1) == PACKET
    assert translate(GATEWAYS, 2, 2) == WIRE[2]


def test_a_servers_frame_for_a_gateway_has_its_size_where_the_type_is_elsewhere() -> None:
    assert parse(TO_GATEWAY, 2) == FRAME
    assert translate(TO_GATEWAY, 2, 3) == WIRE[3]
    assert kind_of(TO_GATEWAY + b"\0", 2) == -1
    other = b"\x00\x02" + TO_GATEWAY[2:]  # elsewhere that word is a type, and nobody sends 11
    assert kind_of(other, 2) == 11


@pytest.mark.parametrize("source", [1, 2, 3])
@pytest.mark.parametrize("target", [1, 2, 3])
def test_any_framing_becomes_any_other(source: int, target: int) -> None:
    expected = WIRE[target] if target != 2 or source == 2 else build(AudioFrame(PACKET), 2)
    assert translate(WIRE[source], source, target) == expected


@pytest.mark.parametrize("source", [1, 2, 3])
def test_a_timestamp_stands_where_there_was_none(source: int) -> None:
    told = translate(WIRE[source], source, 2, timestamp_ms=60)
    assert told is not None
    assert parse(told, 2) == AudioFrame(PACKET, timestamp_ms=1234 if source == 2 else 60)


def test_a_timestamp_begins_again_behind_32_bits() -> None:
    told = translate(PACKET, 1, 2, timestamp_ms=2**32 + 5)
    assert told is not None
    assert parse(told, 2) == AudioFrame(PACKET, timestamp_ms=5)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_size_that_is_not_what_came_is_no_frame(version: int, change: int) -> None:
    message = WIRE[version][:-1] if change < 0 else WIRE[version] + b"\0"
    assert kind_of(message, version) == -1
    assert parse(message, version) is None


@pytest.mark.parametrize(("version", "header"), [(1, 0), (2, 16), (3, 4)])
def test_a_frame_without_payload_is_none(version: int, header: int) -> None:
    assert parse(bytes(header), version) is None


@given(st.binary(max_size=64), versions)
def test_no_message_breaks_the_reader(message: bytes, version: int) -> None:
    frame = parse(message, version)
    assert (frame is None) == (kind_of(message, version) < 0)
    assert frame is None or message.endswith(frame.payload)


@given(frames, versions, versions)
def test_what_is_built_is_read_again(frame: AudioFrame, first: int, second: int) -> None:
    wire = build(frame, first)
    assert wire is not None
    there = translate(wire, first, second)
    assert there is not None
    read = parse(there, second)
    assert read is not None
    assert (read.payload, read.kind) == (frame.payload, frame.kind)
    assert read.timestamp_ms == (frame.timestamp_ms if first == second == 2 else 0)


def test_json_has_no_place_in_the_framing_without_types() -> None:
    frame = AudioFrame(b"{}", Kind.JSON)
    assert build(frame, 1) is None
    for version in (2, 3):
        wire = build(frame, version)
        assert wire is not None
        assert parse(wire, version) == frame


def test_a_size_of_sixteen_bits_bounds_the_short_framing() -> None:
    assert build(AudioFrame(bytes(65_535)), 3) is not None
    assert build(AudioFrame(bytes(65_536)), 3) is None


@pytest.mark.parametrize(
    ("packet", "duration_us"),
    [
        (b"\x58", 60_000),  # configuration 11: SILK, wideband, 60 ms; one frame
        (b"\x48", 20_000),
        (b"\x00", 10_000),
        (b"\x60", 10_000),  # 12: hybrid, super-wideband
        (b"\x68", 20_000),
        (b"\x80", 2_500),  # 16: CELT, narrowband
        (b"\xf8", 20_000),  # 31: CELT, fullband
        (b"\x49", 40_000),  # two frames of one size
        (b"\x4a", 40_000),  # and of two
        (b"\x4b\x03", 60_000),  # counted
        (b"\x4b\xc6", 120_000),  # the upper bits of the count are flags
        (b"\x4b\x07", 0),  # longer than a packet may be
        (b"\x4b", 0),
        (b"", 0),
    ],
)
def test_the_first_byte_says_how_long_a_packet_lasts(packet: bytes, duration_us: int) -> None:
    assert opus_duration_us(packet) == duration_us


@given(st.binary(max_size=4))
def test_no_packet_lasts_longer_than_one_may(packet: bytes) -> None:
    assert 0 <= opus_duration_us(packet) <= PACKET_MAX_US
