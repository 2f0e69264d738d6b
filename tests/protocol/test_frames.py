"""Frame headers and Close payloads, as RFC 6455 sections 5.2, 5.5 and 7.4 have them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.protocol.frames import (
    HEAD_MAX_BYTES,
    BadClose,
    Opcode,
    apply_mask,
    close_frame,
    encode_frame,
    parse_close,
    read_head,
)
from tests.properties.streams import frame, frames_in, xor

KINDS = [Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG, Opcode.CLOSE]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70_000])
@pytest.mark.parametrize("masked", [False, True])
def test_an_encoded_frame_is_read_back(size: int, masked: bool) -> None:
    payload = bytes(step % 251 for step in range(size))
    (found,) = frames_in(encode_frame(Opcode.BINARY, payload, masked=masked))

    assert (found.opcode, found.fin, found.payload) == (Opcode.BINARY, True, payload)
    assert found.wire[1] >> 7 == masked


def test_masks_are_fresh() -> None:
    frames = {encode_frame(Opcode.TEXT, b"same", masked=True) for _ in range(8)}

    assert len(frames) == 8


def test_a_frame_may_be_a_fragment() -> None:
    assert encode_frame(Opcode.TEXT, b"", masked=False, fin=False) == b"\x01\x00"


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_is_the_rfcs(payload: bytes, mask: bytes) -> None:
    assert apply_mask(payload, mask) == xor(payload, mask)


def test_masking_has_a_pure_fallback() -> None:
    script = (
        "import sys; sys.modules['websockets.speedups'] = None\n"
        "from relayd.protocol import frames\n"
        "assert not frames.MASK_COMPILED\n"
        "assert frames.apply_mask(b'ab', b'\\1\\2\\3\\4') == b'``'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("code", "reason", "payload"),
    [
        (1000, "", b"\x03\xe8"),
        (1011, "né", b"\x03\xf3n\xc3\xa9"),
        (None, "unused", b""),
        (1005, "unused", b""),
    ],
)
def test_a_close_is_written(code: int | None, reason: str, payload: bytes) -> None:
    assert close_frame(code, reason, masked=False) == frame(8, payload)


@pytest.mark.parametrize("code", [1006, 1015])
def test_codes_of_a_lost_connection_are_never_written(code: int) -> None:
    with pytest.raises(AssertionError):
        close_frame(code, "", masked=False)


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]
)
def test_codes_that_a_peer_may_send_are_read(code: int) -> None:
    assert parse_close(code.to_bytes(2, "big") + "é".encode()) == (code, "é")


@pytest.mark.parametrize(
    "code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
)
def test_codes_that_no_peer_may_send_are_refused(code: int) -> None:
    with pytest.raises(BadClose) as bad:
        parse_close(code.to_bytes(2, "big"))
    assert not bad.value.bad_utf8


def test_an_empty_close_has_no_code() -> None:
    assert parse_close(b"") == (None, "")


def test_a_close_of_one_byte_is_refused() -> None:
    with pytest.raises(BadClose):
        parse_close(b"\x03")


@pytest.mark.parametrize("reason", [b"\xff", b"\xc3", b"\xed\xa0\x80"])
def test_a_close_reason_that_is_no_utf8_is_told_apart(reason: bytes) -> None:
    with pytest.raises(BadClose) as bad:
        parse_close(b"\x03\xe8" + reason)
    assert bad.value.bad_utf8


def head_of(
    wire: bytes, *, masked: bool = False, in_message: bool = False
) -> tuple[int, bool, int, int] | str | None:
    return read_head(bytearray(wire), 0, len(wire), masked=masked, in_message=in_message)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, (1 << 63) - 1])
@pytest.mark.parametrize("masked", [False, True])
def test_a_header_is_read_once_it_is_whole(size: int, masked: bool) -> None:
    length = (
        bytes([size])
        if size < 126
        else b"\x7e" + size.to_bytes(2, "big")
        if size < 65536
        else b"\x7f" + size.to_bytes(8, "big")
    )
    wire = bytes([0x82, length[0] | 0x80 * masked]) + length[1:] + b"mask" * masked

    assert len(wire) <= HEAD_MAX_BYTES
    assert head_of(wire, masked=masked) == (Opcode.BINARY, True, len(wire), size)
    assert all(head_of(wire[:cut], masked=masked) is None for cut in range(len(wire)))


@pytest.mark.parametrize(
    ("wire", "in_message"),
    [
        (b"\xc1\x00", False),
        (b"\xa1\x00", False),
        (b"\x91\x00", False),
        *((bytes([0x80 | opcode, 0]), False) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        (b"\x81\x80", False),
        (b"\x08\x00", False),
        (b"\x09\x00", True),
        (b"\x89\x7e", False),
        (b"\x8a\x7f", False),
        (b"\x80\x00", False),
        (b"\x00\x00", False),
        (b"\x81\x00", True),
        (b"\x02\x00", True),
        (b"\x82\x7e\x00\x7d", False),
        (b"\x82\x7f" + (65535).to_bytes(8, "big"), False),
        (b"\x82\x7f" + (1 << 63).to_bytes(8, "big"), False),
        (b"\x82\x7f" + b"\xff" * 8, False),
    ],
)
def test_a_header_that_breaks_a_rule_is_told_in_words(wire: bytes, in_message: bool) -> None:
    assert isinstance(head_of(wire, in_message=in_message), str)


def test_a_client_that_does_not_mask_breaks_a_rule() -> None:
    assert isinstance(head_of(b"\x81\x00", masked=True), str)


@pytest.mark.parametrize("opcode", KINDS[2:])
@pytest.mark.parametrize("in_message", [False, True])
def test_control_frames_stand_anywhere(opcode: Opcode, in_message: bool) -> None:
    assert head_of(bytes([0x80 | opcode, 125]), in_message=in_message) == (opcode, True, 2, 125)


def test_a_header_is_read_where_it_stands() -> None:
    buffer = bytearray(b"xxx\x81\x01a-behind-the-size")

    assert read_head(buffer, 3, 6, masked=False, in_message=False) == (Opcode.TEXT, True, 5, 1)
    assert read_head(buffer, 3, 4, masked=False, in_message=False) is None
