"""The three framings of binary messages: parsed, built, translated.

All integers are big-endian. Version 1 is the Opus packet alone. Version 2 puts 16 bytes before it:
version, type, reserved, timestamp in milliseconds, size. Version 3 puts 4: type, reserved, size. A
gateway in front of a server writes version 2 with zeros for version, type and reserved, so the
version is never looked at, but for one: what a server writes to a gateway begins with the bytes 1
and 0, and has 16 bits of the size and a sequence number where type and reserved are elsewhere. That
is always Opus. A device does not compare the size with what came; relayd does.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

import attrs

RAW, TIMED, SHORT = 1, 2, 3
"""The versions, by what stands before the payload: nothing, a timestamp too, a short header."""

HEADER_BYTES: Final = {RAW: 0, TIMED: 16, SHORT: 4}

_HEAD_2: Final = struct.Struct("!HHIII")
_HEAD_3: Final = struct.Struct("!BBH")
_TO_GATEWAY: Final = 0x0100
"""The first word of a server's frame for a gateway, whose second one is no type."""

_SIZE_3_MAX: Final = 0xFFFF
_TIMESTAMPS: Final = 1 << 32


class Kind(enum.IntEnum):
    """What a binary message carries. Nobody sends other numbers."""

    OPUS = 0
    JSON = 1


@attrs.frozen
class AudioFrame:
    """One binary message.

    Attributes:
        kind: A :class:`Kind`, or a number that a peer made up.
        timestamp_ms: Of version 2; 0 where the framing has none.
    """

    payload: bytes = attrs.field(repr=False)
    kind: int = Kind.OPUS
    timestamp_ms: int = 0


def kind_of(message: bytes | bytearray, version: int) -> int:
    """What a binary message of a framing carries; -1 where its size is not what it says.

    A frame without payload is none either: nothing would be played.
    """
    if len(message) <= HEADER_BYTES[version]:
        return -1
    if version == RAW:
        return Kind.OPUS
    if version == TIMED:
        first, kind, _, _, size = _HEAD_2.unpack_from(message)
        if first == _TO_GATEWAY:
            kind = Kind.OPUS
    else:
        kind, _, size = _HEAD_3.unpack_from(message)
    return kind if size == len(message) - HEADER_BYTES[version] else -1


def timestamp_of(message: bytes | bytearray, version: int) -> int | None:
    """The milliseconds that a whole binary message carries; ``None`` where its framing has none."""
    timestamp_ms: int | None = _HEAD_2.unpack_from(message)[3] if version == TIMED else None
    return timestamp_ms


def parse(message: bytes | bytearray, version: int) -> AudioFrame | None:
    """A binary message of a framing; ``None`` where :func:`kind_of` has none."""
    kind = kind_of(message, version)
    if kind < 0:
        return None
    timestamp_ms = timestamp_of(message, version)
    return AudioFrame(bytes(message[HEADER_BYTES[version] :]), kind, timestamp_ms or 0)


def build(frame: AudioFrame, version: int) -> bytes | None:
    """The binary message for ``frame``; ``None`` where the framing cannot carry it.

    Version 1 has no type, so that it carries Opus alone; version 3 has 16 bits for the size.
    """
    if version == RAW:
        return frame.payload if frame.kind == Kind.OPUS else None
    if version == TIMED:
        timestamp_ms = frame.timestamp_ms % _TIMESTAMPS
        head = _HEAD_2.pack(2, frame.kind, 0, timestamp_ms, len(frame.payload))
        return head + frame.payload
    if len(frame.payload) > _SIZE_3_MAX:
        return None
    return _HEAD_3.pack(frame.kind, 0, len(frame.payload)) + frame.payload


def translate(
    message: bytes | bytearray, source: int, target: int, *, timestamp_ms: int = 0
) -> bytes | None:
    """A binary message of one framing in another; ``None`` where :func:`parse` or ``build`` is.

    Args:
        message: As it came.
        source: Its framing.
        target: The other one.
        timestamp_ms: What version 2 is to say where ``source`` says nothing; of it 32 bits stand.
    """
    frame = parse(message, source)
    if frame is None:
        return None
    if target == TIMED and source != TIMED:
        frame = AudioFrame(frame.payload, frame.kind, timestamp_ms)
    return build(frame, target)


# RFC 6716 section 3.1, table 2: microseconds of one frame by the upper five bits of the TOC byte.
_SILK_US: Final = (10_000, 20_000, 40_000, 60_000)
_HYBRID_US: Final = (10_000, 20_000)
_CELT_US: Final = (2_500, 5_000, 10_000, 20_000)
_FRAME_US: Final = _SILK_US * 3 + _HYBRID_US * 2 + _CELT_US * 4

_COUNTED: Final = 3
"""The frame count code that a count follows; the others are 0, one frame, and 1 or 2, two."""

PACKET_MAX_US: Final = 120_000
"""RFC 6716 section 3.2.5, R5: no packet lasts longer."""


def opus_duration_us(packet: bytes | bytearray | memoryview) -> int:
    """How long an Opus packet lasts by its first bytes, in microseconds; 0 for none that may be.

    The low two bits of the TOC byte say how many frames there are; for code 3 the next byte does,
    in its low six bits (RFC 6716 sections 3.1 and 3.2.5).
    """
    if not packet:
        return 0
    toc = packet[0]
    code = toc & _COUNTED
    frames = 1 if code == 0 else 2
    if code == _COUNTED:
        frames = packet[1] & 0x3F if len(packet) > 1 else 0
    duration_us = _FRAME_US[toc >> 3] * frames
    return duration_us if duration_us <= PACKET_MAX_US else 0
