"""The objects of the HTTP API: much like OpenAI's, with what sets them apart.

Each has ``code``, ``message`` and ``sid`` besides. Those of ``/v1`` leave out what the others have:
``object``, ``model``, ``finish_reason``, and of a whole answer ``id`` and ``created``. Usage stands
in the last chunk that has content. ``tool_calls`` is one object unless a list was asked for. What a
search has found comes as a message of the role ``tool``.

Source: HTTP调用文档.html, X1http.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from relayd.sim.spark.errors import JsonObject
from relayd.sim.spark.frames import is_last, texts_in

_INVALID: Final = frozenset({10003, 10004, 10005, 10013, 10014, 10019, 10021, 10163, 10907})
_FORBIDDEN: Final = frozenset({10015, 10016, 11200})
_TOO_MANY: Final = frozenset({10006, 10007, 11201, 11202, 11203})
_BUSY: Final = frozenset({10008, 10110})


@attrs.frozen(kw_only=True)
class Form:
    """How the objects of one answer are written.

    Attributes:
        model: As asked for.
        created: Unix seconds.
        is_full: Whether they have all that OpenAI's have.
        has_call_list: Whether ``tool_calls`` is a list.
    """

    model: str
    created: int
    is_full: bool
    has_call_list: bool

    def chunk(self, frame: JsonObject) -> JsonObject:
        """One object of a stream."""
        sid = _header(frame).get("sid")
        choice: JsonObject = {"delta": self._message(frame), "index": 0}
        about: JsonObject = {"id": sid, "created": self.created}
        if self.is_full:
            about |= {"object": "chat.completion.chunk", "model": self.model}
            choice["finish_reason"] = _finish_reason([frame]) if is_last(frame) else None
        return _stamp(frame) | about | {"choices": [choice]} | _usage(frame)

    def whole(self, frames: Sequence[JsonObject]) -> JsonObject:
        """The answer in one piece."""
        last, sid = frames[-1], _header(frames[-1]).get("sid")
        spoken = [frame for frame in frames if texts_in(frame)]
        choice: JsonObject = {"message": self._joined(spoken), "index": 0}
        about: JsonObject = {}
        if self.is_full:
            about = {"id": sid, "created": self.created}
            about |= {"object": "chat.completion", "model": self.model}
            choice["finish_reason"] = _finish_reason(frames)
        found = [_found(frame) for frame in frames if _plugins(frame)]
        choices = [{"message": message, "index": 0} for message in found] + [choice]
        return _stamp(last) | about | {"choices": choices} | _usage(last)

    def _message(self, frame: JsonObject) -> JsonObject:
        if _plugins(frame):
            return _found(frame)
        return self._joined([frame])

    def _joined(self, frames: Sequence[JsonObject]) -> JsonObject:
        """What ``frames`` say, as one message of the assistant."""
        texts = [text for frame in frames for text in texts_in(frame)]
        message: JsonObject = {
            "role": "assistant",
            "content": "".join(str(text["content"]) for text in texts),
        }
        thoughts = "".join(str(text.get("reasoning_content", "")) for text in texts)
        if thoughts:
            message["reasoning_content"] = thoughts
        for text in texts:
            if (called := text.get("function_call")) is not None:
                sid = _header(frames[0]).get("sid")
                call: JsonObject = {"id": f"call_{sid}", "type": "function", "function": called}
                message["tool_calls"] = [{"index": 0} | call] if self.has_call_list else call
        return message


def error_body(message: str, code: int | None) -> JsonObject:
    """An error in place of an answer."""
    shown = None if code is None else str(code)
    return {"error": {"message": message, "type": "api_error", "param": None, "code": shown}}


def error_chunk(frame: JsonObject) -> JsonObject:
    """An error within a stream."""
    header = _header(frame)
    code = header.get("code")
    assert isinstance(code, int)
    return _stamp(frame) | error_body(str(header.get("message")), code)


def code_of(frame: JsonObject) -> int:
    """The error's code; 0 of a frame that is none."""
    code = _header(frame).get("code")
    return code if isinstance(code, int) else 0


def status_of(code: int) -> int:
    """The HTTP status of an answer that is the error ``code``."""
    if code in _INVALID:
        return 400
    if code in _FORBIDDEN:
        return 403
    if code in _TOO_MANY:
        return 429
    return 503 if code in _BUSY else 500


def _header(frame: JsonObject) -> JsonObject:
    match frame:
        case {"header": dict(header)}:
            return header
    return {}


def _stamp(frame: JsonObject) -> JsonObject:
    header = _header(frame)
    return {name: header.get(name) for name in ("code", "message", "sid")}


def _usage(frame: JsonObject) -> JsonObject:
    match frame:
        case {"payload": {"usage": {"text": usage}}}:
            if not isinstance(usage, dict):
                return {"usage": usage}
            return {"usage": {k: v for k, v in usage.items() if k != "question_tokens"}}
    return {}


def _plugins(frame: JsonObject) -> list[JsonObject]:
    match frame:
        case {"payload": {"plugins": {"text": list(found)}}}:
            return found
    return []


def _found(frame: JsonObject) -> JsonObject:
    return {"role": "tool", "content": _plugins(frame)[0]["content"]}


def _finish_reason(frames: Sequence[JsonObject]) -> str:
    texts = (text for frame in frames for text in texts_in(frame))
    return "tool_calls" if any("function_call" in text for text in texts) else "stop"
