"""The bytes of a turn of the Responses API, made once: a request, and the events that answer it.

A request's payload is 1 KiB, under a mask of zeros (RFC 6455 section 5.3 allows any), so that the
time at which it is sent can be written over its digits. An answer is the twenty events of a short
text, with the members that OpenAI's SDKs type; a running number in its response's id tells it from
every other, since a relay may remember a response by that.
"""

from __future__ import annotations

import json
from typing import Final

from bench import frames
from bench.failures import UnexpectedAnswer

EVENTS: Final = 20
"""Events of an answer: four that open it, twelve deltas, four that close it."""

DIGITS: Final = 20
"""Of a stamp, which is nanoseconds of the wall clock, and of a response's number."""

REQUEST_PAYLOAD_BYTES: Final = 1024

_RESPONSE_ID: Final = b"resp_"
_SENT: Final = b'"metadata":{"sent":"'
_WORDS: Final = (
    "The", " upper", " chamber", " can", " only", " delay", " a", " bill", " for", " one", " year",
    ".",
)  # fmt: skip
_ITEM: Final = "msg_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b"

JsonObject = dict[str, object]


class Request:
    """A ``response.create`` as a masked frame, with digits to be written over.

    Args:
        goes_on: Whether it names the response that it goes on from, as all but a first one do.
    """

    def __init__(self, *, goes_on: bool) -> None:
        payload = _request_payload(goes_on=goes_on)
        self._frame = bytearray(frames.masked_text_frame(payload, bytes(4)))
        self._stamp = _digits_behind(self._frame, _SENT)
        self._previous = _digits_behind(self._frame, _RESPONSE_ID) if goes_on else None

    def sent_at(self, now_ns: int, previous: bytes | None = None) -> bytearray:
        """The frame, to be sent at once; the next call changes it.

        Args:
            now_ns: When that is.
            previous: The number of the response that it goes on from, in digits.
        """
        self._frame[self._stamp] = b"%0*d" % (DIGITS, now_ns)
        if self._previous is not None:
            assert previous is not None, "it names a response"
            self._frame[self._previous] = previous
        return self._frame


class Answer:
    """The twenty events as frames, with digits to be written over.

    The last one carries a stamp: when it is sent, less what the request took to arrive. So who
    receives it knows the time that both were under way, and nothing of the time in between.
    """

    def __init__(self) -> None:
        parts = [frames.text_frame(_encode(event)) for event in answer_events()]
        self._bytes = bytearray(b"".join(parts))
        self._ids = _all_digits_behind(self._bytes, _RESPONSE_ID)
        self._stamp = _last_digits_behind(self._bytes, _SENT)
        self._parts: list[memoryview] = []
        view, start = memoryview(self._bytes), 0
        for part in parts:
            self._parts.append(view[start : start + len(part)])
            start += len(part)

    def whole(self, number: int, stamp_ns: int) -> bytearray:
        """All events, to be sent at once."""
        self._write(number, stamp_ns)
        return self._bytes

    def event(self, index: int, number: int, stamp_ns: int) -> memoryview:
        """One of the events, to be sent at once."""
        self._write(number, stamp_ns)
        return self._parts[index]

    def _write(self, number: int, stamp_ns: int) -> None:
        digits = b"%0*d" % (DIGITS, number)
        for place in self._ids:
            self._bytes[place] = digits
        self._bytes[self._stamp] = b"%0*d" % (DIGITS, stamp_ns)


class AnswerReader:
    """Reads answers out of a stream of frames, however its bytes arrive."""

    def __init__(self) -> None:
        self._tail = b""
        self._events = 0

    def read(self, chunk: bytes) -> tuple[bytes, int] | None:
        """The answer that ``chunk`` ends, if it ends one: its number's digits, and its stamp.

        Raises:
            UnexpectedAnswer: The relay, or the upstream, sends something else.
        """
        data = self._tail + chunk if self._tail else chunk
        ended: tuple[bytes, int] | None = None
        start = 0
        while (end := frames.frame_end(data, start)) is not None and end <= len(data):
            if data[start] == _TEXT_BYTE:  # else a relay's ping
                self._events += 1
                if data.startswith(_COMPLETED, start + _HEADER_BYTES):
                    ended = self._end(data[start:end])
                elif b'{"type":"error"' in data[start : start + 24]:
                    raise UnexpectedAnswer(f"a turn was refused: {data[start:end][2:400]!r}")
            start = end
        self._tail = data[start:]
        return ended

    def _end(self, frame: bytes) -> tuple[bytes, int]:
        events, self._events = self._events, 0
        if events != EVENTS or len(frame) != len(_COMPLETED_FRAME):
            raise UnexpectedAnswer(f"a turn of {events} events, the last of {len(frame)} bytes")
        return frame[_COMPLETED_ID], int(frame[_COMPLETED_STAMP])


def request_stamp(payload: bytes) -> int:
    """When a request was sent, from its unmasked payload.

    Raises:
        UnexpectedAnswer: It is no request of this bench's clients.
    """
    if not payload.startswith(_REQUEST_HEAD):
        raise UnexpectedAnswer(f"the relay sent the upstream {payload[:200]!r}")
    return int(payload[_REQUEST_STAMP])


def take_client_frame(received: bytearray) -> tuple[int, bytes] | None:
    """Take the first whole frame of a client out of what was received: opcode and payload."""
    if len(received) < 6:
        return None
    size, start = received[1] & 0x7F, 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(received[2:start], "big")
    end = start + 4 + size
    if len(received) < end:
        return None
    mask, payload = bytes(received[start : start + 4]), bytes(received[start + 4 : end])
    opcode = received[0] & 0x0F
    del received[:end]
    return opcode, payload if mask == _NO_MASK else frames.apply_mask(payload, mask)


def answer_events() -> list[JsonObject]:
    """The events of an answer, as objects, each number in them zero."""
    text = "".join(_WORDS)
    about: JsonObject = {"item_id": _ITEM, "output_index": 0, "content_index": 0}
    began: JsonObject = {"id": _ITEM, "type": "message", "status": "in_progress", "content": []}
    part: JsonObject = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    item = began | {"status": "completed", "content": [part], "role": "assistant"}
    bare: list[JsonObject] = [
        {"type": "response.created", "response": _response(None)},
        {"type": "response.in_progress", "response": _response(None)},
        {"type": "response.output_item.added", "output_index": 0, "item": began},
        {"type": "response.content_part.added", **about, "part": part | {"text": ""}},
        *(
            {"type": "response.output_text.delta", **about, "delta": word, "logprobs": []}
            for word in _WORDS
        ),
        {"type": "response.output_text.done", **about, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **about, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": _response(item)},
    ]
    return [event | {"sequence_number": number} for number, event in enumerate(bare)]


def _response(item: JsonObject | None) -> JsonObject:
    """The response object of an event: still running, or ended with ``item`` and usage."""
    usage = {
        "input_tokens": 187,
        "input_tokens_details": {"cached_tokens": 128},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 199,
    }
    return {
        "id": _RESPONSE_ID.decode() + DIGITS * "0",
        "object": "response",
        "created_at": 1763740000,
        "status": "in_progress" if item is None else "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "bench",
        "output": [] if item is None else [item],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if item is None else usage,
        "user": None,
        "metadata": {"sent": DIGITS * "0"},
    }


def _request_payload(*, goes_on: bool) -> bytes:
    zeros = DIGITS * b"0"
    head = _REQUEST_HEAD + zeros + b'"},"store":false,"stream":true,'
    if goes_on:
        head += b'"previous_response_id":"' + _RESPONSE_ID + zeros + b'",'
    head += b'"input":[{"type":"message","role":"user","content":"'
    tail = b'"}]}'
    return head + b"m" * (REQUEST_PAYLOAD_BYTES - len(head) - len(tail)) + tail


def _encode(event: JsonObject) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def _digits_behind(data: bytes | bytearray, words: bytes) -> slice:
    start = data.index(words) + len(words)
    return slice(start, start + DIGITS)


def _last_digits_behind(data: bytes | bytearray, words: bytes) -> slice:
    start = data.rindex(words) + len(words)
    return slice(start, start + DIGITS)


def _all_digits_behind(data: bytes | bytearray, words: bytes) -> list[slice]:
    places, start = [], data.find(words)
    while start >= 0:
        places.append(slice(start + len(words), start + len(words) + DIGITS))
        start = data.find(words, start + 1)
    return places


_TEXT_BYTE: Final = 0x81
_HEADER_BYTES: Final = 4  # of every frame of 126 to 65,535 bytes, which all events' are
_NO_MASK: Final = bytes(4)
_COMPLETED: Final = b'{"type":"response.completed"'
_COMPLETED_FRAME: Final = frames.text_frame(_encode(answer_events()[-1]))
_COMPLETED_ID: Final = _digits_behind(_COMPLETED_FRAME, _RESPONSE_ID)
_COMPLETED_STAMP: Final = _digits_behind(_COMPLETED_FRAME, _SENT)
_REQUEST_HEAD: Final = b'{"type":"response.create","model":"bench",' + _SENT
_REQUEST_STAMP: Final = slice(len(_REQUEST_HEAD), len(_REQUEST_HEAD) + DIGITS)
