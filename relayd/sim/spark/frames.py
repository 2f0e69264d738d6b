"""The frames of one answer: status 0 first, 1 in the middle, 2 last, with the usage.

Source: Web.html and X1ws.html. A call of a function comes in one frame, a search's references in
one of their own, without ``choices``, before all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from relayd.sim.spark.answers import Answer
from relayd.sim.spark.errors import JsonObject

LAST: Final = 2
"""The status of the frame that ends an answer."""


def frames(answer: Answer, sid: str) -> Iterator[JsonObject]:
    """The frames of ``answer``, in order."""
    if answer.references:
        yield plugins_frame(sid, answer.references)
    last = len(answer.thoughts) + len(answer.pieces) + (answer.call is not None) - 1
    for number, text in enumerate(_texts(answer)):
        status = LAST if number == last else min(number, 1)
        frame = content_frame(sid, status, number, [text])
        yield with_usage(frame, answer.usage.wire()) if status == LAST else frame


def content_frame(sid: str, status: int, number: int, texts: list[JsonObject]) -> JsonObject:
    """A frame with ``texts``, the ``number``-th of its answer."""
    return {
        "header": {"code": 0, "message": "Success", "sid": sid, "status": status},
        "payload": {"choices": {"status": status, "seq": number, "text": texts}},
    }


def plugins_frame(sid: str, found: tuple[JsonObject, ...]) -> JsonObject:
    """The frame that tells what a search has ``found``."""
    entry: JsonObject = {
        "name": "ifly_search",
        "content": msgspec.json.encode(found).decode(),
        "content_type": "text",
        "role": "tool",
        "index": 0,
    }
    return {
        "header": {"code": 0, "message": "Success", "sid": sid, "status": 0},
        "payload": {"plugins": {"text": [entry]}},
    }


def with_usage(frame: JsonObject, usage: object) -> JsonObject:
    """``frame`` with ``usage`` in it."""
    match frame:
        case {"payload": dict(payload)}:
            return frame | {"payload": payload | {"usage": {"text": usage}}}
    return frame


def text_of(content: str) -> JsonObject:
    """One entry of ``choices.text``."""
    return {"content": content, "role": "assistant", "content_type": "text", "index": 0}


def texts_in(frame: JsonObject) -> list[JsonObject]:
    """The entries of ``choices.text`` of ``frame``."""
    match frame:
        case {"payload": {"choices": {"text": list(texts)}}}:
            return texts
    return []


def is_last(frame: JsonObject) -> bool:
    """Whether ``frame`` ends its answer."""
    match frame:
        case {"header": {"status": status}}:
            return bool(status == LAST)
    return False


def _texts(answer: Answer) -> Iterator[JsonObject]:
    for thought in answer.thoughts:
        yield text_of("") | {"reasoning_content": thought}
    for piece in answer.pieces:
        yield text_of(piece)
    if answer.call is not None:
        called = {"name": answer.call.name, "arguments": answer.call.text}
        yield text_of("") | {"function_call": called}
