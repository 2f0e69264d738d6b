"""The messages of a chat request, each known exactly before anything is done with it.

Shapes: ``messages`` of OpenAI's chat completions. Text alone is taken; a picture that is left out
unseen would make for a wrong answer, so it is refused.
"""

from __future__ import annotations

from typing import Final, NoReturn

import msgspec

from relayd.dialect.chat_errors import Mistake
from relayd.dialect.chat_values import Call, Message, Role

MESSAGES_MAX: Final = 8192
"""Messages of one request: far more than any model remembers."""

PARTS_MAX: Final = 4096
"""Parts of one message's content."""

CALLS_MAX: Final = 256
"""Tool calls of one message."""

NAME_MAX_CHARS: Final = 256
"""Of the names and ids in a message."""

NOTHING: Final = msgspec.Raw(b"null")

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding hostile JSON raises; text that is no UTF-8 is no error of msgspec's own."""

_ROLES: Final = {str(role): role for role in Role} | {
    "developer": Role.SYSTEM,
    "function": Role.TOOL,
}


class WrongError(Exception):
    """Carries a mistake out of the reading of one request."""

    def __init__(
        self, code: str, message: str, param: str | None = None, *, status: int = 400
    ) -> None:
        super().__init__(message)
        self.mistake = Mistake(status, code, message, param)


class _WireMessage(msgspec.Struct):
    role: msgspec.Raw = NOTHING
    content: msgspec.Raw = NOTHING
    name: msgspec.Raw = NOTHING
    tool_calls: msgspec.Raw = NOTHING
    tool_call_id: msgspec.Raw = NOTHING


class _WirePart(msgspec.Struct):
    type: msgspec.Raw = NOTHING
    text: msgspec.Raw = NOTHING
    refusal: msgspec.Raw = NOTHING


class _WireFunction(msgspec.Struct):
    name: msgspec.Raw = NOTHING
    arguments: msgspec.Raw = NOTHING


class _WireCall(msgspec.Struct):
    id: msgspec.Raw = NOTHING
    function: _WireFunction | None = None


_decode_messages: Final = msgspec.json.Decoder(list[_WireMessage]).decode
_decode_parts: Final = msgspec.json.Decoder(list[_WirePart]).decode
_decode_calls: Final = msgspec.json.Decoder(list[_WireCall]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


def read_messages(raw: msgspec.Raw) -> tuple[Message, ...]:
    """The messages of a request, which can be answered.

    Args:
        raw: A JSON value of bounded structure.

    Raises:
        WrongError: With what is wrong.
    """
    if raw == NOTHING:
        raise WrongError("missing_required_parameter", "The request needs messages.", "messages")
    try:
        wire = _decode_messages(raw)
    except UNREADABLE:
        wrong_type("messages", "a list of objects")
    if not wire:
        raise WrongError("invalid_value", "messages must not be empty.", "messages")
    if len(wire) > MESSAGES_MAX:
        message = f"messages has {len(wire)} items; at most {MESSAGES_MAX} are read."
        raise WrongError("invalid_value", message, "messages")
    messages = tuple(_message(each, f"messages[{index}]") for index, each in enumerate(wire))
    last, at = messages[-1], f"messages[{len(messages) - 1}]"
    if last.role is Role.ASSISTANT:
        message = "The last message must be of the user, of a tool or of the system."
        raise WrongError("invalid_value", message, f"{at}.role")
    if last.role is not Role.TOOL and not last.text:
        raise WrongError("invalid_value", f"{at}.content must not be empty.", f"{at}.content")
    return messages


def text_of(raw: msgspec.Raw) -> str | None:
    """A string; ``None`` for anything else."""
    try:
        return _decode_text(raw)
    except UNREADABLE:
        return None


def wrong_type(param: str, expected: str) -> NoReturn:
    """Refuse a member for its type.

    Raises:
        WrongError: Always.
    """
    raise WrongError("invalid_type", f"{param} must be {expected}.", param) from None


def short_text(raw: msgspec.Raw, param: str) -> str | None:
    """A name or an id; ``None`` where there is none.

    Raises:
        WrongError: It is no string, or longer than any name.
    """
    if raw == NOTHING:
        return None
    text = text_of(raw)
    if text is None:
        wrong_type(param, "a string")
    if len(text) > NAME_MAX_CHARS:
        message = f"{param} must have at most {NAME_MAX_CHARS} characters."
        raise WrongError("invalid_value", message, param)
    return text


def _message(wire: _WireMessage, at: str) -> Message:
    role = _ROLES.get(text_of(wire.role) or "")
    if role is None:
        message = f"{at}.role must be one of {', '.join(_ROLES)}."
        raise WrongError("invalid_value", message, f"{at}.role")
    text = _content(wire.content, f"{at}.content")
    if text is None and role is not Role.ASSISTANT:
        wrong_type(f"{at}.content", "a string or a list of parts")
    if not text and role is Role.USER:
        raise WrongError("invalid_value", f"{at}.content must not be empty.", f"{at}.content")
    calls = wire.tool_calls if role is Role.ASSISTANT else NOTHING
    return Message(
        role=role,
        text=text or "",
        tool_calls=_calls(calls, f"{at}.tool_calls"),
        tool_call_id=short_text(wire.tool_call_id, f"{at}.tool_call_id"),
        name=short_text(wire.name, f"{at}.name"),
    )


def _content(raw: msgspec.Raw, param: str) -> str | None:
    if raw == NOTHING:
        return None
    if (text := text_of(raw)) is not None:
        return text
    try:
        parts = _decode_parts(raw)
    except UNREADABLE:
        wrong_type(param, "a string or a list of parts")
    if len(parts) > PARTS_MAX:
        message = f"{param} has {len(parts)} parts; at most {PARTS_MAX} are read."
        raise WrongError("invalid_value", message, param)
    return "\n".join(_part(part, f"{param}[{index}]") for index, part in enumerate(parts))


def _part(part: _WirePart, param: str) -> str:
    kind = text_of(part.type)
    if kind not in {"text", "refusal"}:
        message = f"{param} is no text. This model reads text alone."
        raise WrongError("unsupported_content", message, param)
    text = text_of(part.text if kind == "text" else part.refusal)
    if text is None:
        wrong_type(f"{param}.{kind}", "a string")
    return text


def _calls(raw: msgspec.Raw, param: str) -> tuple[Call, ...]:
    if raw == NOTHING:
        return ()
    try:
        wire = _decode_calls(raw)
    except UNREADABLE:
        wrong_type(param, "a list of calls")
    if len(wire) > CALLS_MAX:
        message = f"{param} has {len(wire)} items; at most {CALLS_MAX} are read."
        raise WrongError("invalid_value", message, param)
    return tuple(_call(each, f"{param}[{index}]") for index, each in enumerate(wire))


def _call(wire: _WireCall, param: str) -> Call:
    function = wire.function
    name = None if function is None else short_text(function.name, f"{param}.function.name")
    if function is None or not name:
        message = f"{param}.function needs a name; no other kind of call is read."
        raise WrongError("invalid_value", message, f"{param}.function")
    arguments = text_of(function.arguments)
    if arguments is None and bytes(function.arguments).startswith(b"{"):
        arguments = bytes(function.arguments).decode()  # some clients send the object itself
    if arguments is None and function.arguments != NOTHING:
        wrong_type(f"{param}.function.arguments", "a string")
    return Call(short_text(wire.id, f"{param}.id"), name, arguments or "")
