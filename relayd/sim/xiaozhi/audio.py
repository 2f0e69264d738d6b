"""Packets that look like Opus and say which they are, and the counting of those that come.

Nothing is encoded: behind the TOC byte stand a mark, the speaker's number and the packet's, so
that who hears them can tell a lost packet, a doubled one and one in the wrong place.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs

PACKET_BYTES: Final = 120
"""As 60 ms of speech take; a hundred more or less."""

FRAME_MS: Final = 60
DURATIONS_MS: Final = (10, 20, 40, 60)
"""What one frame of SILK lasts."""

_SILK_WIDEBAND: Final = {10: 8, 20: 9, 40: 10, 60: 11}  # RFC 6716 section 3.1, table 2
_MARKED: Final = struct.Struct("!B3sII")
_MARK: Final = b"sim"
_NUMBERS: Final = 1 << 32


def packet(speaker: int, number: int, frame_ms: int = FRAME_MS) -> bytes:
    """One packet of ``PACKET_BYTES`` bytes, whose TOC byte tells ``frame_ms``.

    Args:
        speaker: Who speaks; a number of 32 bits.
        number: Which of theirs it is, from 0.
        frame_ms: One of ``DURATIONS_MS``.
    """
    toc = _SILK_WIDEBAND[frame_ms] << 3  # mono, one frame
    head = _MARKED.pack(toc, _MARK, speaker % _NUMBERS, number % _NUMBERS)
    return head.ljust(PACKET_BYTES, b"\xaa")


@attrs.define(eq=False)
class Ear:
    """Counts packets.

    Attributes:
        packets: All that came.
        lost: Those that were missing between two of one speaker.
        misplaced: Those that came again, or too late.
        foreign: Those that :func:`packet` has not made.
    """

    packets: int = attrs.field(default=0, init=False)
    lost: int = attrs.field(default=0, init=False)
    misplaced: int = attrs.field(default=0, init=False)
    foreign: int = attrs.field(default=0, init=False)
    _speaker: int | None = attrs.field(default=None, init=False)
    _next: int = attrs.field(default=0, init=False)

    def hear(self, data: bytes | bytearray | memoryview) -> None:
        """Count one packet. Another speaker than before begins anew."""
        self.packets += 1
        if len(data) != PACKET_BYTES:
            self.foreign += 1
            return
        _, mark, speaker, number = _MARKED.unpack_from(data)
        if mark != _MARK:
            self.foreign += 1
        elif speaker != self._speaker:
            self._speaker, self._next = speaker, number + 1
        elif number < self._next:
            self.misplaced += 1
        else:
            self.lost += number - self._next
            self._next = number + 1
