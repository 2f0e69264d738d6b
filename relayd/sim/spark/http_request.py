"""A request of the HTTP API: from its JSON to a question.

Source: HTTP调用文档.html and X1http.html. A member that is not named here is taken and ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from relayd.sim.spark.directions import directions
from relayd.sim.spark.errors import INVALID_DOMAIN, JsonObject, Rejected, error
from relayd.sim.spark.frame_request import Function, ThinkingMode, WebSearch
from relayd.sim.spark.models import Model
from relayd.sim.spark.question import (
    Message,
    Question,
    Sampling,
    check_context,
    check_roles,
    check_sampling,
    last_words,
)


class SaidMessage(Struct):
    """One message; an assistant that calls has no content."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None


class Tool(Struct):
    """A function, or the service's own search."""

    type: Literal["function", "web_search"]
    function: Function | None = None
    web_search: WebSearch | None = None


class Body(Sampling):
    """The whole request."""

    model: str
    messages: list[SaidMessage]
    user: str | None = None
    max_completion_tokens: int | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: str | JsonObject | None = None
    thinking: ThinkingMode | None = None
    response_format: JsonObject | None = None


class Manner(Struct):
    """How the answer is to be given; taken from the body before it is judged."""

    model: str = ""
    stream: bool = False
    tool_calls_switch: bool = False


_BODIES: Final = msgspec.json.Decoder(Body)
_MANNERS: Final = msgspec.json.Decoder(Manner)


def manner_of(raw: bytes) -> Manner:
    """How the answer to ``raw`` is to be given; of what cannot be read, in one piece."""
    try:
        return _MANNERS.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Manner()


def question_in(raw: bytes, models: Sequence[Model]) -> Question:
    """What the body ``raw`` asks, at a path with ``models``.

    Raises:
        Rejected: It is no JSON, of another shape, or breaks one of the rules.
    """
    body = _read(raw)
    model = next((one for one in models if one.is_called(body.model)), None)
    if model is None:
        raise Rejected(INVALID_DOMAIN)
    if body.max_completion_tokens is not None:
        body.max_tokens = body.max_completion_tokens
    messages = [Message(role=one.role, content=one.content or "") for one in body.messages]
    check_sampling(body, model)
    check_roles(messages, model)
    check_context(messages, model)
    tools = body.tools or []
    searches = [tool.web_search or WebSearch() for tool in tools if tool.type == "web_search"]
    functions = [tool.function for tool in tools if tool.function is not None]
    if model.is_reasoning and searches and functions:
        raise Rejected(error(10004, "tools: web_search and function exclude each other"))
    is_searching = searches[0].enable if searches else model.is_searching
    return Question(
        model=model,
        domain=body.model,
        user=body.user,
        messages=tuple(messages),
        functions=tuple({"name": one.name, "parameters": one.parameters} for one in functions)
        if model.has_functions
        else (),
        tool_choice=_named(body.tool_choice),
        max_tokens=body.max_tokens or model.answer_tokens,
        is_searching=is_searching,
        has_references=is_searching and bool(searches) and searches[0].show_ref_label,
        is_thinking=model.is_reasoning and (body.thinking or ThinkingMode()).type != "disabled",
        directions=directions(last_words(messages), body.user),
    )


def _read(raw: bytes) -> Body:
    try:
        return _BODIES.decode(raw)
    except msgspec.ValidationError as mistake:
        raise Rejected(error(10004, str(mistake))) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Rejected(error(10003, "no JSON")) from None


def _named(choice: str | JsonObject | None) -> str | JsonObject | None:
    """``choice`` with the function's name at the top, in whichever of the two ways it was given."""
    match choice:
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "function", "name": name}
    return choice
