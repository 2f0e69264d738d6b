"""Tokens of a chat request: as told by its upstream, guessed by relayd, and shown to clients.

The rate of guesses is that of the other dialects: four bytes of text are a token. A Chinese
character has three bytes and is two thirds of a token or so, which comes to the same.
"""

from __future__ import annotations

from typing import Final

import attrs
import msgspec

from relayd.dialect.behind import Piece, Reasoning, Text, ToolCall
from relayd.dialect.chat_values import ChatRequest, Message, Tool, ToolMode
from relayd.dialect.meter import Usage
from relayd.dialect.realtime_estimates import TEXT_BYTES_PER_TOKEN

COUNT_MAX: Final = 10**9
"""Tokens of one kind in one answer that are believed; no model reads as many."""

SOURCE: Final = "response"

_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_number: Final = msgspec.json.Decoder(float | None).decode


def read_count(raw: msgspec.Raw) -> int | None:
    """A whole number of tokens, which some encoders spell ``5.0``; ``None`` for anything else."""
    try:
        number: float | None = _decode_number(raw)
    except _UNREADABLE:
        return None
    if number is None or not 0 <= number <= COUNT_MAX or not number.is_integer():
        return None
    return int(number)


def told_usage(
    upstream_id: str | None, tokens_in: int | None, tokens_out: int | None, total: int | None
) -> Usage | None:
    """What an upstream says was used; the total is what it bills, so input and output make it.

    Where its parts do not add up to its total, the answer's tokens are believed and the rest is
    input: what a search of the web brings in is read by the model. A part that is missing is what
    the total leaves; where it leaves nothing to go by, the usage is marked as estimated.

    Returns:
        ``None`` where nothing was told.
    """
    if tokens_in is None and tokens_out is None and total is None:
        return None
    missing = (tokens_in, tokens_out, total).count(None)
    if total is None:
        total = (tokens_in or 0) + (tokens_out or 0)
    if tokens_out is None:
        tokens_out = 0 if tokens_in is None else total - tokens_in
    tokens_out = min(max(0, tokens_out), total)
    return _usage(upstream_id, total - tokens_out, tokens_out, estimated=missing > 1)


def expected_usage(request: ChatRequest) -> Usage:
    """The input that a request is due for, as an estimate; no output."""
    return _usage(None, -(-request_size(request) // TEXT_BYTES_PER_TOKEN), 0, estimated=True)


def request_size(request: ChatRequest, *, tools: bool = True) -> int:
    """Bytes of text that a model has to read: of all messages, and of the functions it may call.

    Args:
        tools: Whether functions are sent; they are not where none is to be called.
    """
    size = sum(map(message_size, request.messages))
    if tools and request.tool_choice.mode is not ToolMode.NONE:
        size += sum(map(tool_size, request.tools))
    return size


def message_size(message: Message) -> int:
    """Bytes of a message's text, its calls among it."""
    calls = sum(len(call.name) + len(call.arguments.encode()) for call in message.tool_calls)
    return len(message.text.encode()) + calls


def tool_size(tool: Tool) -> int:
    """Bytes of a function's text, at the least: its schema counts without any white space."""
    schema = b"" if tool.parameters is None else bytes(tool.parameters)
    described = len((tool.description or "").encode())
    return len(tool.name) + described + len(schema.translate(None, b" \t\r\n"))


@attrs.define
class Tally:
    """Counts an answer's text, for the ledger, where its upstream does not live to tell usage."""

    size: int = 0

    def add(self, piece: Piece) -> None:
        """A piece has come."""
        match piece:
            case Text(text) | Reasoning(text):
                self.size += len(text.encode())
            case ToolCall(name, arguments):
                self.size += len(name) + len(arguments.encode())
            case _:
                pass

    def usage(self, expected: Usage, upstream_id: str | None) -> Usage:
        """What was probably used, of a request that was expected to read so much."""
        out = -(-self.size // TEXT_BYTES_PER_TOKEN)
        return _usage(upstream_id, expected.input_total, out, estimated=True)


def usage_object(usage: Usage) -> dict[str, object]:
    """``usage`` as clients of the chat dialect read it."""
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.input_total + usage.output_total,
    }


def _usage(upstream_id: str | None, tokens_in: int, tokens_out: int, *, estimated: bool) -> Usage:
    return Usage(
        source=SOURCE,
        upstream_id=upstream_id,
        input_text=tokens_in,
        output_text=tokens_out,
        input_total=tokens_in,
        output_total=tokens_out,
        estimated=estimated,
    )
