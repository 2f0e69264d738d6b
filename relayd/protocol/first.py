"""The first message of an upstream, by which an account is judged before anybody is committed."""

from __future__ import annotations

from typing import Final

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.protocol.directions import UpstreamFlow
from relayd.protocol.outcomes import Event, Notice, Violation

FIRST_MESSAGE_MAX_BYTES: Final = 1 << 20
"""A session description has a few kilobytes, with long instructions some hundred."""

RAW_MAX_BYTES: Final = 2 * FIRST_MESSAGE_MAX_BYTES
"""Everything up to it, with what is no text, and what was received in one go behind it."""

_READ: Final = Notice("first message")


class FirstMessage:
    """Collects bytes until the first text message, a Close or a violation.

    Args:
        hold: The process's count of held bytes; what is collected here is part of it.

    Attributes:
        raw: Every byte fed, to be relayed from the start once the account is accepted.
        payload: The message, once :meth:`feed` has returned a notice.
    """

    proof = b"\x00"

    def __init__(self, hold: HoldBudget) -> None:
        self.raw = bytearray()
        self.payload = b""
        self._consumed = 0
        self._hold = hold
        self._taken = 0
        self._flow = UpstreamFlow(message_max_bytes=FIRST_MESSAGE_MAX_BYTES, hold=hold, reader=self)

    def feed(self, data: bytes, now: float) -> Event | None:
        """The event that settles it: a :class:`Notice` for a message, or how it came to none."""
        if len(self.raw) + len(data) > RAW_MAX_BYTES:
            return Violation(Reason.TOO_BIG, f"more than {RAW_MAX_BYTES} bytes and no message")
        if not self._hold.take(len(data)):
            return Violation.overload()
        self._taken += len(data)
        self.raw += data
        rest = self.raw[self._consumed :]
        self._consumed += self._flow.feed(memoryview(rest), rest, len(rest), now)
        return self._flow.event

    def close(self) -> None:
        """Give back what is held; calling again is fine."""
        self._flow.close()
        self._flow.reader = None  # a circle would stay in memory until the garbage collector runs
        self._hold.give(self._taken)
        self._taken = 0

    def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
        """See :class:`~relayd.protocol.outcomes.UpstreamReader`."""
        self.payload = bytes(payload)
        return _READ

    def harmless(self, head: bytes | bytearray) -> bool:
        """See :class:`~relayd.protocol.outcomes.UpstreamReader`."""
        return False

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | None:
        """See :class:`~relayd.protocol.outcomes.UpstreamReader`."""
        return self.message(head, now)
