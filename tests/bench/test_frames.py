from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import frames


def unmasked(frame: bytes) -> bytes:
    return frames.apply_mask(frame[8:], frame[4:8])


@pytest.mark.parametrize("number", [0, 1, 63, 10**19])
def test_events_are_json_of_exactly_one_kibibyte(number: int) -> None:
    delta, append = frames.delta_event(number), frames.append_event(number)

    assert len(delta) == len(append) == 1024
    assert json.loads(delta)["type"] == "response.output_audio.delta"
    assert json.loads(append)["type"] == "input_audio_buffer.append"


def test_frame_sizes_are_the_payload_and_its_header() -> None:
    assert len(frames.text_frame(frames.delta_event(0))) == frames.DELTA_FRAME_BYTES == 1028
    assert len(frames.append_batch(1)) == frames.APPEND_FRAME_BYTES == 1032


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125])
def test_masking_twice_gives_the_payload_again(size: int) -> None:
    payload, mask = bytes(range(size)), b"\x01\x80\xff\x07"
    once = frames.apply_mask(payload, mask)

    assert once == bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    assert frames.apply_mask(once, mask) == payload


def test_an_append_frame_is_final_text_masked_and_has_a_two_byte_length() -> None:
    frame = frames.append_batch(1)

    assert frame[:4] == b"\x81\xfe\x04\x00"
    assert unmasked(frame) == frames.append_event(0)


def test_the_frames_of_a_batch_differ_in_payload_and_mask() -> None:
    size = frames.APPEND_FRAME_BYTES
    batch = frames.append_batch(8)
    split = [batch[i : i + size] for i in range(0, len(batch), size)]

    assert len({frame[4:8] for frame in split}) == 8
    assert len({unmasked(frame) for frame in split}) == 8


def test_the_stamp_stands_where_the_event_id_has_its_digits() -> None:
    frame, place = frames.stamped_frame()
    frame[place] = b"%020d" % 1234567890

    event = json.loads(frame[4:])

    assert event["event_id"] == "event_00000000001234567890"
    assert len(frame) == frames.DELTA_FRAME_BYTES


def test_session_created_is_one_whole_frame_of_json() -> None:
    frame = frames.session_created()

    assert frames.frame_end(frame, 0) == len(frame)
    assert json.loads(frame[4:])["type"] == "session.created"


@pytest.mark.parametrize("size", [0, 125, 126, 65535])
def test_a_frame_ends_after_its_header_and_payload(size: int) -> None:
    frame = frames.text_frame(bytes(size))

    assert frames.frame_end(frame, 0) == len(frame)
    assert frames.frame_end(b"??" + frame[:4], 2) == 2 + len(frame)
    assert frames.frame_end(frame[:1], 0) is None


def stamped(number: int) -> bytes:
    frame, place = frames.stamped_frame()
    frame[place] = b"%020d" % number
    return bytes(frame)


@given(
    st.lists(st.integers(0, 10**20 - 1), max_size=6),
    st.lists(st.integers(1, 4000), min_size=1, max_size=8),
    st.integers(0, 125),
)
def test_stamps_do_not_depend_on_how_the_bytes_arrive_nor_on_pings_between(
    numbers: list[int], cuts: list[int], ping_bytes: int
) -> None:
    ping = bytes([0x89, ping_bytes]) + bytes(ping_bytes)
    wire = b"".join(ping + stamped(number) for number in numbers)
    reader, found, start = frames.StampReader(), [], 0
    while start < len(wire):
        size = cuts[start % len(cuts)]
        found += reader.read(wire[start : start + size])
        start += size

    assert found == numbers
