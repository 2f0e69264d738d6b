"""WebSocket frames (RFC 6455 section 5): encoding, close payloads, masking."""

from __future__ import annotations

import enum
import os
import struct
from typing import Final

try:
    from websockets.speedups import apply_mask

    MASK_COMPILED = True
except ImportError:
    from websockets.utils import apply_mask

    MASK_COMPILED = False

__all__ = [
    "MASK_COMPILED",
    "BadClose",
    "Opcode",
    "apply_mask",
    "close_frame",
    "encode_frame",
    "encode_head",
    "is_utf8",
    "parse_close",
    "read_head",
]


class Opcode(enum.IntEnum):
    """RFC 6455 section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


OPCODES: Final = frozenset(int(opcode) for opcode in Opcode)
CONTROL_PAYLOAD_MAX: Final = 125

HEAD_MAX_BYTES: Final = 14
"""The longest frame header: two bytes, a 64-bit length, a mask."""

_CLOSE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""Codes a peer may put on the wire (RFC 6455 section 7.4 and the IANA registry)."""


class BadClose(ValueError):
    """A Close payload that RFC 6455 does not allow; ``bad_utf8`` says which of the two kinds."""

    def __init__(self, message: str, *, bad_utf8: bool = False) -> None:
        super().__init__(message)
        self.bad_utf8 = bad_utf8


def encode_frame(opcode: Opcode, payload: bytes, *, masked: bool, fin: bool = True) -> bytes:
    """One whole frame; ``masked`` as relayd must towards an upstream (RFC 6455 section 5.3)."""
    head = encode_head(opcode, len(payload), masked=masked, fin=fin)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + apply_mask(payload, mask)


def encode_head(opcode: Opcode, length: int, *, masked: bool, fin: bool = True) -> bytes:
    """The header of a frame with ``length`` payload bytes; where ``masked``, its mask follows."""
    first = (0x80 if fin else 0) | opcode
    bit = 0x80 if masked else 0
    if length < 126:
        return bytes((first, bit | length))
    if length < 65536:
        return struct.pack("!BBH", first, bit | 126, length)
    return struct.pack("!BBQ", first, bit | 127, length)


def is_utf8(payload: bytes | bytearray) -> bool:
    """Whether ``payload`` is the whole of a text message (RFC 6455 section 8.1)."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def close_frame(code: int | None, reason: str, *, masked: bool) -> bytes:
    """A Close frame. ``None`` and 1005 become an empty one; 1006 and 1015 are never sent.

    Args:
        code: The close code.
        reason: Text of at most 123 bytes; callers cut it first.
        masked: Whether the frame goes to an upstream.
    """
    if code is None or code == 1005:
        return encode_frame(Opcode.CLOSE, b"", masked=masked)
    assert code not in (1006, 1015), "these codes describe a lost connection, not a Close"
    return encode_frame(Opcode.CLOSE, struct.pack("!H", code) + reason.encode(), masked=masked)


def parse_close(payload: bytes) -> tuple[int | None, str]:
    """Code and reason of a Close frame; no code is ``None``.

    Raises:
        BadClose: A one-byte payload, a code that no peer may send, or a reason that is no UTF-8.
    """
    if not payload:
        return None, ""
    if len(payload) == 1:
        raise BadClose("a Close payload of one byte")
    code = int.from_bytes(payload[:2], "big")
    if code not in _CLOSE_CODES:
        raise BadClose(f"close code {code} is not one a peer may send")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise BadClose("a close reason that is not UTF-8", bad_utf8=True) from None


def read_head(
    buffer: bytearray, pos: int, size: int, *, masked: bool, in_message: bool
) -> tuple[int, bool, int, int] | str | None:
    """The frame header at ``pos``, checked as RFC 6455 section 5.2 asks of an endpoint.

    Args:
        buffer: Holds ``size`` bytes.
        pos: Where the frame begins.
        size: As far as ``buffer`` is filled.
        masked: Whether this peer has to mask its frames.
        in_message: Whether a fragmented message is in progress.

    Returns:
        Opcode, fin, start and length of the payload; what is wrong, as text; ``None`` while the
        header is unfinished. A mask stands in the four bytes before the payload.
    """
    if size - pos < 2:
        return None
    first, second = buffer[pos], buffer[pos + 1]
    if wrong := _wrong_head(first, second, masked=masked, in_message=in_message):
        return wrong
    length = second & 0x7F
    start = pos + 2
    if length == 126:
        start += 2
    elif length == 127:
        start += 8
    if start + 4 * masked > size:
        return None
    if length >= 126:
        smallest = 126 if length == 126 else 65536
        length = int.from_bytes(buffer[pos + 2 : start], "big")
        if length < smallest or length >> 63:
            return "a frame length that is not in its shortest form"
    return first & 0x0F, bool(first & 0x80), start + 4 * masked, length


def _wrong_head(first: int, second: int, *, masked: bool, in_message: bool) -> str | None:
    opcode = first & 0x0F
    if first & 0x70:
        return "a reserved bit is set although no extension was agreed on"
    if opcode not in OPCODES:
        return f"a frame of the unknown kind 0x{opcode:X}"
    if bool(second & 0x80) != masked:
        return "an unmasked frame" if masked else "a masked frame"
    if opcode & 8:
        return _wrong_control(first, second)
    if opcode == Opcode.CONTINUATION and not in_message:
        return "a continuation frame where no message is in progress"
    if opcode != Opcode.CONTINUATION and in_message:
        return "a new message inside an unfinished one"
    return None


def _wrong_control(first: int, second: int) -> str | None:
    if not first & 0x80:
        return "a fragmented control frame"
    if second & 0x7F > CONTROL_PAYLOAD_MAX:
        return "a control frame of more than 125 bytes"
    return None
