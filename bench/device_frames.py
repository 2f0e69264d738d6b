"""The bytes that devices and their servers say: hellos, and packets that carry the time.

A packet of speech is 100 bytes, as some 50 ms of it take: an Opus TOC byte (RFC 6716 section 3.1),
twenty digits of nanoseconds, and filling. Devices mask with zeros, which RFC 6455 allows.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Final

from bench.failures import UnexpectedAnswer
from bench.frames import STAMP_DIGITS, apply_mask, masked_text_frame, text_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH: Final = b"/xiaozhi/v1/"
FRAME_MS: Final = 60
PACKET_BYTES: Final = 100
FRAMES_PER_S: Final = 1000 / FRAME_MS

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8

_NO_MASK: Final = bytes(4)
_AUDIO: Final = (
    b'"audio_params":{"format":"opus","sample_rate":16000,"channels":1,"frame_duration":%d}'
    % FRAME_MS
)
HELLO: Final = masked_text_frame(
    b'{"type":"hello","version":1,"features":{"mcp":false},"transport":"websocket",'
    + _AUDIO
    + b"}",
    _NO_MASK,
)
"""What a device says first."""

LISTEN: Final = masked_text_frame(
    b'{"session_id":"","type":"listen","state":"start","mode":"realtime"}', _NO_MASK
)
"""And when it is about to speak."""

WELCOME: Final = text_frame(
    b'{"type":"hello","version":1,"transport":"websocket",'
    b'"session_id":"3f0c64f1a5f24c3ab0c53c0f7a2d9e61",' + _AUDIO + b"}"
)
"""What a server answers to a hello."""

_TOC: Final = b"\x58"  # 60 ms of wideband SILK, one frame, mono
_STAMP: Final = slice(len(_TOC), len(_TOC) + STAMP_DIGITS)
_FILLING: Final = bytes(PACKET_BYTES - _STAMP.stop)
_SPOKEN: Final = bytes([0x80 | BINARY, 0x80 | PACKET_BYTES]) + _NO_MASK
_ECHOED: Final = bytes([0x80 | BINARY, PACKET_BYTES])


def request(host: str, secret: str, number: int) -> bytes:
    """The upgrade of the device of that number."""
    mac = b":".join(b"%02x" % byte for byte in b"\x02\x00" + number.to_bytes(4, "big"))
    return (
        b"GET %b HTTP/1.1\r\n"
        b"Host: %b\r\n"
        b"Connection: Upgrade\r\n"
        b"Upgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %b\r\n"
        b"Authorization: Bearer %b\r\n"
        b"Protocol-Version: 1\r\n"
        b"Device-Id: %b\r\n"
        b"Client-Id: 00000000-0000-4000-8000-%012d\r\n\r\n"
    ) % (PATH, host.encode(), base64.b64encode(os.urandom(16)), secret.encode(), mac, number)


def spoken(now_ns: int) -> bytes:
    """A packet of a device, as a frame that is stamped."""
    return b"%b%b%0*d%b" % (_SPOKEN, _TOC, STAMP_DIGITS, now_ns, _FILLING)


def echoed(packet: bytes) -> bytes:
    """The packet as the server's frame."""
    return _ECHOED + packet


def stamp_of(packet: bytes) -> int:
    """When a packet was sent, in nanoseconds.

    Raises:
        UnexpectedAnswer: It is none of :func:`spoken`.
    """
    if len(packet) != PACKET_BYTES or not packet[_STAMP].isdigit():
        raise UnexpectedAnswer(f"a packet of {len(packet)} bytes that nobody has sent")
    return int(packet[_STAMP])


def taken(received: bytearray) -> Iterator[tuple[int, bytes]]:
    """The whole frames at the beginning of ``received``, which are taken from it: opcode, payload.

    Raises:
        UnexpectedAnswer: A frame is a fragment, or longer than 65,535 bytes.
    """
    while len(received) >= 2:
        first, second = received[0], received[1]
        size, start = second & 0x7F, 2
        if not first & 0x80 or size == 0x7F:
            raise UnexpectedAnswer("a frame that is a fragment, or very long")
        if size == 0x7E:
            size, start = int.from_bytes(received[2:4], "big"), 4
        is_masked = second & 0x80
        end = start + (4 if is_masked else 0) + size
        if len(received) < end:
            return
        mask = bytes(received[start : start + 4]) if is_masked else _NO_MASK
        payload = bytes(received[end - size : end])
        del received[:end]
        yield first & 0x0F, payload if mask == _NO_MASK else apply_mask(payload, mask)
