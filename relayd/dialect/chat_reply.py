"""What a chat client gets: the chunks of a stream, or one object.

Shapes: ``chat.completion.chunk`` and ``chat.completion`` of OpenAI's chat completions, as its SDK
reads them. The id, the time and the model are the same in every chunk; the first one names the
role, the last one has an empty delta and says why the answer ended.
"""

from __future__ import annotations

import hashlib
from typing import Final

import attrs
import msgspec

from relayd.dialect.behind import Fault, FinishReason, Reasoning, Text, ToolCall
from relayd.dialect.chat_faults import answer_too_big
from relayd.dialect.chat_usage import usage_object
from relayd.dialect.meter import Usage

ANSWER_MAX_BYTES: Final = 16 << 20
"""Of an answer that is given as one object: far above the longest that any model gives."""

DONE: Final = b"data: [DONE]\n\n"

_ID_CHARS: Final = 32
_CALL_ID_CHARS: Final = 24

Content = Text | Reasoning | ToolCall


def sse(event: bytes) -> bytes:
    """One event of a stream (WHATWG HTML, server-sent events); JSON has no line ends in it."""
    return b"data: " + event + b"\n\n"


def reply_id(upstream_id: str) -> str:
    """The id of a reply, out of the upstream's for it, or of any that is the request's own."""
    return f"chatcmpl-{hashlib.sha256(upstream_id.encode()).hexdigest()[:_ID_CHARS]}"


class Reply:
    """Builds the chunks of one reply.

    Args:
        model: As the client named it.
        created: Seconds since the epoch.
        include_usage: Whether the stream ends with usage; then every other chunk has it as null.
    """

    __slots__ = ("_calls", "_close", "_head", "created", "id", "model")

    def __init__(self, *, model: str, id: str, created: int, include_usage: bool = False) -> None:  # noqa: A002 - what it is called on the wire
        self.model = model
        self.id = id
        self.created = created
        shared = msgspec.json.encode(_shared("chat.completion.chunk", self))
        self._head = shared[:-1] + b',"choices":'
        self._close = b',"usage":null}' if include_usage else b"}"
        self._calls = 0

    def opening(self) -> bytes:
        """The first chunk."""
        return self._chunk(b'{"role":"assistant","content":""}')

    def content(self, piece: Content) -> bytes:
        """The chunk of one piece."""
        match piece:
            case Text(text):
                delta = b'{"content":' + msgspec.json.encode(text) + b"}"
            case Reasoning(text):
                delta = b'{"reasoning_content":' + msgspec.json.encode(text) + b"}"
            case ToolCall():
                index, self._calls = self._calls, self._calls + 1
                call = {"index": index, **_call(self.id, index, piece)}
                delta = b'{"tool_calls":[' + msgspec.json.encode(call) + b"]}"
        return self._chunk(delta)

    def last(self, reason: FinishReason) -> bytes:
        """The chunk that says why the answer ended."""
        return self._chunk(b"{}", msgspec.json.encode(reason.value))

    def usage(self, usage: Usage) -> bytes:
        """The chunk behind the last one, where usage is asked for and known."""
        return b'%b[],"usage":%b}' % (self._head, msgspec.json.encode(usage_object(usage)))

    def _chunk(self, delta: bytes, reason: bytes = b"null") -> bytes:
        return b'%b[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b' % (
            self._head,
            delta,
            reason,
            self._close,
        )


@attrs.define(eq=False)
class Collected:
    """Gathers an answer that is given as one object.

    Attributes:
        size: Bytes gathered.
    """

    size: int = attrs.field(default=0, init=False)
    _texts: list[str] = attrs.field(factory=list, init=False, repr=False)
    _thoughts: list[str] = attrs.field(factory=list, init=False, repr=False)
    _calls: list[ToolCall] = attrs.field(factory=list, init=False, repr=False)

    def add(self, piece: Content) -> Fault | None:
        """One more piece; a fault where the answer has become too long to be held."""
        match piece:
            case Text(text):
                self._texts.append(text)
                self.size += len(text.encode())
            case Reasoning(text):
                self._thoughts.append(text)
                self.size += len(text.encode())
            case ToolCall(name, arguments):
                self._calls.append(piece)
                self.size += len(name.encode()) + len(arguments.encode())
        return answer_too_big(ANSWER_MAX_BYTES) if self.size > ANSWER_MAX_BYTES else None

    def whole(self, reply: Reply, reason: FinishReason, usage: Usage | None) -> bytes:
        """The object.

        Args:
            reply: Whose id, time and model it has.
            usage: ``None`` where the upstream did not tell; then it is null.
        """
        text = "".join(self._texts)
        message: dict[str, object] = {
            "role": "assistant",
            "content": None if self._calls and not text else text,
            "refusal": None,
        }
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        if self._calls:
            message["tool_calls"] = [
                _call(reply.id, index, call) for index, call in enumerate(self._calls)
            ]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": reason.value,
        }
        told = None if usage is None else usage_object(usage)
        shared = _shared("chat.completion", reply)
        return msgspec.json.encode(shared | {"choices": [choice], "usage": told})


def _shared(kind: str, reply: Reply) -> dict[str, object]:
    return {"id": reply.id, "object": kind, "created": reply.created, "model": reply.model}


def _call(reply_id: str, index: int, call: ToolCall) -> dict[str, object]:
    """A call, with an id that no other one has: the reply's, and which call of it it is."""
    number = hashlib.sha256(f"{reply_id}/{index}".encode()).hexdigest()[:_CALL_ID_CHARS]
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}
