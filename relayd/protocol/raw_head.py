"""The bytes of one HTTP/1.1 head, checked before any parser sees them.

Parsers forgive: bare line feeds, folded headers and control characters are read by one program
as one request and by the next as two. What passes here is read by everybody alike (RFC 9112
sections 2.2, 5.2 and 11.2), so the parser behind it has nothing left to be lenient about.
"""

from __future__ import annotations

import enum
from typing import Final

HEAD_END: Final = b"\r\n\r\n"
HEADERS_MAX: Final = 100
"""Header lines in one head. Browsers send about 20, SDKs about 12."""

_TEXT: Final = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""Every byte a head may hold; whether CR and LF stand together is counted separately."""


class RawFault(enum.Enum):
    """What is wrong with the bytes themselves."""

    NOT_TEXT = "control characters, or line ends other than CRLF"
    FOLDED = "a header folded over several lines"
    TOO_LONG = "more bytes than a head may have"
    TOO_MANY = "more header lines than a head may have"


class RawHeadError(Exception):
    """The bytes are no head that relayd reads. Never quotes them."""

    def __init__(self, fault: RawFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class HeadScanner:
    """Collects one head from bytes that come in any chunks, each byte looked at once.

    Args:
        max_bytes: The longest head, its empty line included.
    """

    __slots__ = ("_buffer", "_checked", "_max_bytes", "leftover")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._checked = 0  # bytes already found to be text; never splits a CR from its LF
        self.leftover = b""
        """What followed the head, once it is complete."""

    def feed(self, data: bytes) -> bytes | None:
        """The whole head with its empty line, or ``None`` while it is incomplete.

        What is refused does not depend on how the bytes were cut into chunks. Not to be called
        again after a head or an error.

        Raises:
            RawHeadError: These bytes can no longer become a head.
        """
        buffer = self._buffer
        seen = len(buffer)
        buffer += data
        found = buffer.find(HEAD_END, max(0, seen - len(HEAD_END) + 1))
        end = len(buffer) if found < 0 else found + len(HEAD_END)
        self._check_text(min(end, self._max_bytes))
        if end > self._max_bytes or (found < 0 and end == self._max_bytes):
            raise RawHeadError(RawFault.TOO_LONG)
        if found < 0:
            return None
        self.leftover = bytes(buffer[end:])
        head = bytes(buffer[:end])
        buffer.clear()
        if b"\n " in head or b"\n\t" in head:
            raise RawHeadError(RawFault.FOLDED)
        if head.count(b"\n") - 2 > HEADERS_MAX:  # less the first line and the empty one
            raise RawHeadError(RawFault.TOO_MANY)
        return head

    def _check_text(self, end: int) -> None:
        fresh = self._buffer[self._checked : end]
        if fresh.endswith(b"\r"):  # its LF may be the next byte to arrive
            del fresh[-1]
        self._checked += len(fresh)
        pairs = fresh.count(b"\r\n")
        lone = fresh.count(b"\r") != pairs or fresh.count(b"\n") != pairs
        if lone or fresh.translate(None, _TEXT):
            raise RawHeadError(RawFault.NOT_TEXT)
