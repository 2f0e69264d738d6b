"""The bytes of the hub's rows: requests to publish, upgrades of subscribers, and reading events.

An event's data is as long each time and ends with a number and the time at which it was published.
``data`` is the last member of an envelope, so both stand at fixed places before a frame's end,
whatever stands around them: reading them costs two slices, which 80,000 frames a second allow.
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Final

from bench.failures import UnexpectedAnswer
from bench.frames import STAMP_DIGITS, apply_mask, frame_end
from bench.handshake import HEAD_MAX_BYTES, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBER_DIGITS: Final = 10
PAD: Final = "The upper chamber may delay a bill, and it may not stop one for ever. " * 2
FILLER_BYTES: Final = 61_440
"""Data of an event that is there to fill a subscriber's sockets; a history of 1 MiB keeps few."""
FILLER_TOPIC: Final = "workflow:bench-filler"

_TAIL: Final = len('"}}')  # of the stamp, of the data, of the envelope
_BETWEEN: Final = len('","sent":"')
STAMP_FROM: Final = -(STAMP_DIGITS + _TAIL)
NUMBER_FROM: Final = STAMP_FROM - _BETWEEN - NUMBER_DIGITS
NUMBER_TO: Final = NUMBER_FROM + NUMBER_DIGITS
"""Places in a frame of an event, counted from its end."""

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n")
_ZEROS: Final = bytes(4)


def topic(number: int) -> str:
    """What a topic of the rows is called."""
    return f"workflow:bench-{number:03d}"


class Publishing:
    """A request that publishes one event in each of some topics, made once and written over.

    Args:
        host: For the head.
        secret: A key that may publish.
        topics: One event each; more than one go as a list.
        pad: A text that each event carries, for its length.
    """

    def __init__(self, host: str, secret: str, topics: Sequence[str], pad: str = PAD) -> None:
        events = [
            f'{{"topic":"{name}","event":"token_usage","node_id":"writer","data":{{"text":"{pad}",'
            f'"n":"{"0" * NUMBER_DIGITS}","sent":"{"0" * STAMP_DIGITS}"}}}}'
            for name in topics
        ]
        body = events[0] if len(events) == 1 else f'{{"events":[{",".join(events)}]}}'
        head = (
            "POST /api/v1/publish HTTP/1.1\r\n"
            f"Host: {host}\r\n"
            f"Authorization: Bearer {secret}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n"
            "User-Agent: relayd-bench\r\n\r\n"
        )
        self._request = bytearray(head.encode() + body.encode())
        # An event ends as its frame will, so both places are found from there.
        closing = len(self._request) - (0 if len(events) == 1 else len("]}"))
        step = len(events[0]) + len(",")
        self._ends = [closing - step * number for number in range(len(events))]

    def request(self, number: int, stamp_ns: int) -> bytes:
        """The request with this number and time in each event."""
        digits = b"%0*d" % (NUMBER_DIGITS, number)
        stamp = b"%0*d" % (STAMP_DIGITS, stamp_ns)
        request = self._request
        for end in self._ends:
            request[end + NUMBER_FROM : end + NUMBER_TO] = digits
            request[end + STAMP_FROM : end - _TAIL] = stamp
        return bytes(request)


def upgrade(host: str, secret: str, topics: Sequence[str], since: str | None = None) -> bytes:
    """What a subscriber sends: RFC 6455 section 4.1, its topics and its place in the query."""
    query = f"topics={','.join(topics)}" + (f"&since={since}" if since else "")
    return (
        f"GET /api/v1/ws?{query} HTTP/1.1\r\n"
        f"Host: {host}\r\n"
        "Connection: Upgrade\r\n"
        "Upgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
        f"Authorization: Bearer {secret}\r\n"
        "User-Agent: relayd-bench\r\n\r\n"
    ).encode()


def welcome_end(answer: bytes | bytearray) -> int | None:
    """Where the welcome behind a 101 ends; ``None`` while either is incomplete.

    Raises:
        UnexpectedAnswer: It is a refusal, or another message.
    """
    end = answer.find(_END)
    if end < 0:
        _check_head(answer)
        return None
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise UnexpectedAnswer(f"no 101 but {first_line(answer)}: {_said(answer, end)}")
    start = end + len(_END)
    message_end = frame_end(answer, start)
    if message_end is None or len(answer) < message_end:
        return None
    if b'"welcome"' not in answer[start:message_end]:
        raise UnexpectedAnswer(f"no welcome but {bytes(answer[start:message_end])[:200]!r}")
    return message_end


def answer_end(answer: bytes | bytearray) -> int | None:
    """Where the answer to a request to publish ends; ``None`` while it is incomplete.

    Raises:
        UnexpectedAnswer: It is a refusal, or says no length.
    """
    end = answer.find(_END)
    if end < 0:
        _check_head(answer)
        return None
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise UnexpectedAnswer(f"no 200 but {first_line(answer)}: {_said(answer, end)}")
    length = _LENGTH.search(answer, 0, end + len(_END))
    if length is None:
        raise UnexpectedAnswer("an answer to a publisher without a length")
    whole = end + len(_END) + int(length[1])
    return whole if len(answer) >= whole else None


def pong(ping: bytes | bytearray) -> bytes:
    """The answer to a whole ping of at most 125 bytes, under a mask of zeros."""
    payload = bytes(ping[2:])
    return bytes([0x8A, 0x80 | len(payload)]) + _ZEROS + apply_mask(payload, _ZEROS)


def _check_head(answer: bytes | bytearray) -> None:
    if len(answer) > HEAD_MAX_BYTES:
        raise UnexpectedAnswer("the answer's head has no end")


def _said(answer: bytes | bytearray, end: int) -> str:
    return bytes(answer[end + len(_END) :])[:300].decode("utf-8", "replace")
