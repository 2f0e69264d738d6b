"""Both ends' HTTP, as bytes: the upgrade request, its answer, and reading either."""

from __future__ import annotations

import base64
import enum
import hashlib
import re
from typing import Final

from bench import frames
from bench.failures import UnexpectedAnswer

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY: Final = re.compile(rb"(?i)\r\nsec-websocket-key:[ \t]*([^\s]+)[ \t]*\r\n")
_END: Final = b"\r\n\r\n"
HEAD_MAX_BYTES: Final = 32768
"""A head, or a head and the first event, that has not ended by here is given up."""


class Dialect(enum.Enum):
    """What a session speaks, and the target that it asks for."""

    REALTIME = b"/v1/realtime?model=bench"
    RESPONSES = b"/v1/responses"
    XIAOZHI = b"/xiaozhi/v1/"  # a hello comes before anything else: see device_ends.py
    CHAT = b"/v1/chat/completions"  # POST and server-sent events: see openings.py
    HUB = b"/api/v1/ws"  # events of topics: see hub_frames.py

    @property
    def greets(self) -> bool:
        """Whether the upstream speaks first, with ``session.created``."""
        return self is Dialect.REALTIME


def upgrade_request(
    host: str, secret: str, nonce: bytes, dialect: Dialect = Dialect.REALTIME
) -> bytes:
    """What a client sends: RFC 6455 section 4.1, a key in Authorization, no subprotocol."""
    return (
        b"GET %b HTTP/1.1\r\n"
        b"Host: %b\r\n"
        b"Connection: Upgrade\r\n"
        b"Upgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %b\r\n"
        b"Authorization: Bearer %b\r\n"
        b"User-Agent: relayd-bench\r\n\r\n"
    ) % (dialect.value, host.encode(), base64.b64encode(nonce), secret.encode())


def upgrade_answer(head: bytes | bytearray) -> bytes | None:
    """The 101 to a request, or ``None`` while the request is incomplete.

    Raises:
        UnexpectedAnswer: The request is no upgrade, or too long.
    """
    if _END not in head:
        if len(head) > HEAD_MAX_BYTES:
            raise UnexpectedAnswer("the relay's request has no end")
        return None
    key = _KEY.search(head)
    if key is None:
        raise UnexpectedAnswer(f"the relay's request is no upgrade: {first_line(head)}")
    accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Connection: Upgrade\r\n"
        b"Upgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + accept + _END
    )


def is_greeted(answer: bytes | bytearray, dialect: Dialect = Dialect.REALTIME) -> bool:
    """Whether ``answer`` holds a whole 101 and, if the dialect has one, the whole greeting.

    Raises:
        UnexpectedAnswer: The status is another, or the first event is.
    """
    end = answer.find(_END)
    if end < 0:
        if len(answer) > HEAD_MAX_BYTES:
            raise UnexpectedAnswer("the answer's head has no end")
        return False
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise UnexpectedAnswer(f"no 101 but {first_line(answer)}: {_body(answer, end)}")
    if not dialect.greets:
        return True
    start = end + len(_END)
    event_end = frames.frame_end(answer, start)
    if event_end is None or len(answer) < event_end:
        return False
    if b'"session.created"' not in answer[start:event_end]:
        raise UnexpectedAnswer(f"no session.created but {bytes(answer[start:event_end])[:200]!r}")
    return True


def first_line(head: bytes | bytearray) -> str:
    """The first line of a head, for a message."""
    return bytes(head).split(b"\r\n", 1)[0][:200].decode("latin-1")


def _body(answer: bytes | bytearray, end: int) -> str:
    return bytes(answer[end + len(_END) :])[:300].decode("utf-8", "replace")
