"""The one message of a socket of the WebSocket API: from its JSON to a question.

Source: Web.html and X1ws.html. A member that is not named here is taken and ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from relayd.sim.spark.directions import directions
from relayd.sim.spark.errors import INVALID_DOMAIN, JsonObject, Rejected, error
from relayd.sim.spark.models import Model
from relayd.sim.spark.question import (
    Message,
    Question,
    Sampling,
    Thinking,
    check_context,
    check_roles,
    check_sampling,
    last_words,
)

UID_MAX_CHARS: Final = 32
APP_ID_MAX_CHARS: Final = 8


class Header(Struct):
    """Who asks."""

    app_id: Annotated[str, Meta(min_length=1, max_length=APP_ID_MAX_CHARS)]
    uid: Annotated[str, Meta(max_length=UID_MAX_CHARS)] | None = None
    patch_id: list[str] | None = None


class WebSearch(Struct):
    """``web_search`` of a tool."""

    enable: bool = True
    show_ref_label: bool = False
    search_mode: Literal["normal", "deep"] = "normal"


class Tool(Struct):
    """A tool of the service's own."""

    type: str
    web_search: WebSearch | None = None


class ThinkingMode(Struct):
    """``thinking``."""

    type: Thinking = "enabled"


class Chat(Sampling):
    """``parameter.chat``."""

    domain: str
    chat_id: str | None = None
    auditing: str | None = None
    thinking: ThinkingMode | None = None
    tools: list[Tool] = msgspec.field(default_factory=list)


class Parameter(Struct):
    """``parameter``."""

    chat: Chat


class Messages(Struct):
    """``payload.message``."""

    text: list[Message]


class Function(Struct):
    """A function that may be called."""

    name: Annotated[str, Meta(min_length=1)]
    description: str = ""
    parameters: JsonObject = {}


class Functions(Struct):
    """``payload.functions``."""

    text: Annotated[list[Function], Meta(min_length=1)]


class Payload(Struct):
    """``payload``."""

    message: Messages
    functions: Functions | None = None


class Frame(Struct):
    """The whole message."""

    header: Header
    parameter: Parameter
    payload: Payload


_FRAMES: Final = msgspec.json.Decoder(Frame)


def read_frame(message: str | bytes) -> Frame:
    """The request in ``message``.

    Raises:
        Rejected: 10003 for what is no JSON text, 10004 for JSON of another shape.
    """
    if isinstance(message, bytes):
        raise Rejected(error(10003, "binary message"))
    try:
        return _FRAMES.decode(message)
    except msgspec.ValidationError as mistake:
        raise Rejected(error(10004, str(mistake))) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Rejected(error(10003, "no JSON")) from None


def question_of(frame: Frame, models: Sequence[Model], app_id: str) -> Question:
    """What ``frame`` asks, at a path with ``models``, on a connection that ``app_id`` signed.

    Raises:
        Rejected: It breaks one of the rules, the first of which is told.
    """
    if frame.header.app_id != app_id:
        raise Rejected(error(11200))
    chat, messages = frame.parameter.chat, frame.payload.message.text
    model = next((one for one in models if one.is_called(chat.domain)), None)
    if model is None:
        raise Rejected(INVALID_DOMAIN)
    check_sampling(chat, model)
    check_roles(messages, model)
    check_context(messages, model)
    search = next((tool.web_search for tool in chat.tools if tool.type == "web_search"), None)
    functions = frame.payload.functions
    is_searching = model.is_searching if search is None else search.enable
    return Question(
        model=model,
        domain=chat.domain,
        user=frame.header.uid,
        messages=tuple(messages),
        functions=_functions(functions) if model.has_functions and functions else (),
        max_tokens=chat.max_tokens or model.answer_tokens,
        is_searching=is_searching,
        has_references=is_searching and search is not None and search.show_ref_label,
        is_thinking=model.is_reasoning and (chat.thinking or ThinkingMode()).type != "disabled",
        directions=directions(last_words(messages), frame.header.uid),
    )


def _functions(functions: Functions) -> tuple[JsonObject, ...]:
    return tuple({"name": one.name, "parameters": one.parameters} for one in functions.text)
