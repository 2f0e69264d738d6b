"""What a device says while its server is replaced: two seconds of audio, and a few texts."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_messages import TextMessage

HELD_MAX_US: Final = 2_000_000
"""Microseconds of audio that are held."""

HELD_MAX_BYTES: Final = 65_536
"""Bytes of it: eight times what two seconds of speech take."""

PACKETS_MAX: Final = 800
"""Packets of it: two seconds of the shortest that there are, 2.5 ms."""


TEXTS_MAX: Final = 16
TEXTS_MAX_BYTES: Final = 65_536
"""Text messages that are held, and their bytes. One too many is dropped, not an earlier one."""


@attrs.frozen
class HeldPacket:
    """One Opus packet, without framing.

    Attributes:
        duration_us: How long it lasts, in microseconds.
        timestamp_ms: That it came with; ``None`` where its framing has none.
    """

    payload: bytes = attrs.field(repr=False)
    duration_us: int
    timestamp_ms: int | None = None


class AudioBuffer:
    """Opus packets in order; where there are too many the oldest go.

    Args:
        hold: The process's count of held bytes. A packet that it has no room for is dropped.

    Attributes:
        dropped: Packets lost since :meth:`take` or :meth:`clear`.
        number: Of the packet that is held next; those that are held have the numbers before it.
    """

    __slots__ = ("_bytes", "_hold", "_packets", "_us", "dropped", "number")

    def __init__(self, hold: HoldBudget) -> None:
        self._hold = hold
        self._packets: deque[HeldPacket] = deque()
        self._bytes = self._us = 0
        self.dropped = 0
        self.number = 0

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def bytes_held(self) -> int:
        """Bytes of all packets."""
        return self._bytes

    @property
    def us_held(self) -> int:
        """Microseconds of all packets."""
        return self._us

    def put(self, packet: HeldPacket) -> None:
        """Hold one packet."""
        size = len(packet.payload)
        if size > HELD_MAX_BYTES or packet.duration_us > HELD_MAX_US:
            self.dropped += 1
            return
        while self._packets and not self._fits(size, packet.duration_us):
            self._drop_oldest()
        if not self._hold.take(size):
            self.dropped += 1
            return
        self._packets.append(packet)
        self._bytes += size
        self._us += packet.duration_us
        self.number += 1

    def take(self) -> list[HeldPacket]:
        """All packets, oldest first; nothing is held afterwards."""
        packets = list(self._packets)
        self.clear()
        return packets

    def clear(self) -> None:
        """Hold nothing any more, and forget what was dropped."""
        self._hold.give(self._bytes)
        self._packets.clear()
        self._bytes = self._us = self.dropped = 0

    def _fits(self, size: int, duration_us: int) -> bool:
        return (
            self._bytes + size <= HELD_MAX_BYTES
            and self._us + duration_us <= HELD_MAX_US
            and len(self._packets) < PACKETS_MAX
        )

    def _drop_oldest(self) -> None:
        packet = self._packets.popleft()
        self._hold.give(len(packet.payload))
        self._bytes -= len(packet.payload)
        self._us -= packet.duration_us
        self.dropped += 1


class TextBuffer:
    """Text messages in order; bounded like the audio, and counted in the same budget.

    Each has the number of the packet that it stands before.
    """

    __slots__ = ("_bytes", "_hold", "_texts")

    def __init__(self, hold: HoldBudget) -> None:
        self._hold = hold
        self._texts: list[tuple[TextMessage, int]] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._texts)

    def put(self, message: TextMessage, before: int) -> bool:
        """Hold one message; ``False`` where it is one too many.

        Args:
            message: The message.
            before: The number of the packet that it stands before.
        """
        size = len(message.payload)
        if len(self._texts) >= TEXTS_MAX or self._bytes + size > TEXTS_MAX_BYTES:
            return False
        if not self._hold.take(size):
            return False
        self._texts.append((message, before))
        self._bytes += size
        return True

    def take(self) -> list[tuple[TextMessage, int]]:
        """All of them, oldest first; nothing is held afterwards."""
        texts = self._texts
        self.clear()
        return texts

    def drop(self, kind: str, state: str) -> None:
        """Forget those of one type and state: they are about what is over."""
        kept = [each for each in self._texts if (each[0].kind, each[0].state) != (kind, state)]
        self.clear()
        for text, before in kept:
            self.put(text, before)

    def clear(self) -> None:
        """Hold nothing any more."""
        self._hold.give(self._bytes)
        self._texts = []
        self._bytes = 0
