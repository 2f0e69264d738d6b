"""The bytes that the load consists of, made once: Realtime events as WebSocket frames.

Nothing here is computed while traffic runs, except that a stamped frame's twenty digits are
written over. Sizes: an event's payload is 1 KiB (1,024 bytes), its frame 1,028 bytes downstream
and 1,032 bytes upstream, where a mask is added (RFC 6455 sections 5.2 and 5.3).
"""

from __future__ import annotations

import base64
import json
import random
from typing import Final

PAYLOAD_BYTES: Final = 1024
DELTA_FRAME_BYTES: Final = PAYLOAD_BYTES + 4
APPEND_FRAME_BYTES: Final = PAYLOAD_BYTES + 8
STAMP_DIGITS: Final = 20
"""Digits of a stamp: nanoseconds of the wall clock, which the kernel's time stamps use too."""

CLOSE: Final = b"\x88\x02\x03\xe8"
"""A server's Close, code 1000."""
MASKED_CLOSE: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
"""A client's Close, code 1000, under a mask of zeros, which RFC 6455 allows."""

_TEXT: Final = b"\x81"
_EVENT_ID: Final = b'"event_id":"event_'


def delta_event(number: int) -> bytes:
    """One ``response.output_audio.delta`` of exactly 1 KiB, its number in the event id."""
    head = (
        b'{"type":"response.output_audio.delta",' + _EVENT_ID + b"%020d" % number + b'",'
        b'"response_id":"resp_7Q2nTsV0bYkM","item_id":"item_c4Hf9sLw1Zpe","output_index":0,'
        b'"content_index":0,"delta":"'
    )
    return _padded(head, number)


def append_event(number: int) -> bytes:
    """One ``input_audio_buffer.append`` of exactly 1 KiB."""
    head = b'{"type":"input_audio_buffer.append",' + _EVENT_ID + b"%020d" % number + b'","audio":"'
    return _padded(head, number)


def _padded(head: bytes, seed: int) -> bytes:
    """``head`` with base64 after it up to 1 KiB, spaces where the base64 does not come out even."""
    room = PAYLOAD_BYTES - len(head) - len(b'"}')
    audio = base64.b64encode(random.Random(seed).randbytes(room // 4 * 3))
    return head + audio + b'"' + b" " * (room % 4) + b"}"


def text_frame(payload: bytes) -> bytes:
    """``payload`` as one unmasked text frame; at most 65,535 bytes."""
    return _TEXT + _length(len(payload), masked=False) + payload


def masked_text_frame(payload: bytes, mask: bytes) -> bytes:
    """``payload`` as one text frame under the four bytes of ``mask``."""
    return _TEXT + _length(len(payload), masked=True) + mask + apply_mask(payload, mask)


def _length(size: int, *, masked: bool) -> bytes:
    bit = 0x80 if masked else 0
    if size < 126:
        return bytes([bit | size])
    return bytes([bit | 126]) + size.to_bytes(2, "big")


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """RFC 6455 section 5.3, over the whole payload at once as two large integers."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def delta_batch(count: int) -> bytes:
    """``count`` different delta frames, one after the other."""
    return b"".join(text_frame(delta_event(number)) for number in range(count))


def append_batch(count: int) -> bytes:
    """``count`` different append frames, each under a mask of its own."""
    masks = random.Random(count)
    return b"".join(
        masked_text_frame(append_event(number), masks.randbytes(4)) for number in range(count)
    )


def stamped_frame() -> tuple[bytearray, slice]:
    """A delta frame, and where in it the digits of the sending time belong."""
    frame = bytearray(text_frame(delta_event(0)))
    return frame, STAMP


def _stamp_place() -> slice:
    start = text_frame(delta_event(0)).index(_EVENT_ID) + len(_EVENT_ID)
    return slice(start, start + STAMP_DIGITS)


STAMP: Final = _stamp_place()
"""Where the digits stand in a delta frame."""


def session_created() -> bytes:
    """The first frame of an upstream: ``session.created`` with a session as GA Realtime has it."""
    session = {
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_C9CiUVUzUzYIssh3ELY1d",
        "model": "bench",
        "output_modalities": ["audio"],
        "instructions": "You are a helpful assistant.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "audio": {
            "input": {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": None},
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"},
        },
    }
    event = {"type": "session.created", "event_id": "event_C9CiUYu4rtnW", "session": session}
    return text_frame(json.dumps(event, separators=(",", ":")).encode())


class StampReader:
    """Finds the stamps in a stream of frames, however its bytes arrive.

    Frames of another size than a delta's, such as a relay's pings, are passed over.
    """

    def __init__(self) -> None:
        self._tail = b""

    def read(self, chunk: bytes) -> list[int]:
        """The stamps of the frames that ``chunk`` completes, in nanoseconds, in order."""
        data = self._tail + chunk if self._tail else chunk
        stamps: list[int] = []
        start = 0
        while (end := frame_end(data, start)) is not None and end <= len(data):
            if end - start == DELTA_FRAME_BYTES:
                stamps.append(int(data[start + STAMP.start : start + STAMP.stop]))
            start = end
        self._tail = data[start:]
        return stamps


def frame_end(data: bytes | bytearray, start: int) -> int | None:
    """Where the unmasked frame at ``start`` ends, beyond ``data`` perhaps.

    ``None`` while its header is incomplete.
    """
    if len(data) < start + 2:
        return None
    size = data[start + 1] & 0x7F
    if size < 126:
        return start + 2 + size
    width = 2 if size == 126 else 8
    body = start + 2 + width
    if len(data) < body:
        return None
    return body + int.from_bytes(data[start + 2 : body], "big")
