"""A chat request as values: what a client asks for, whoever is going to answer it."""

from __future__ import annotations

import enum
from typing import Final

import attrs
import msgspec


class Role(enum.StrEnum):
    """Who speaks. ``developer`` is read as ``system``, ``function`` as ``tool``."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@attrs.frozen
class Call:
    """A function that an assistant called, earlier in the conversation.

    Attributes:
        arguments: A JSON text, as the model wrote it.
    """

    id: str | None
    name: str
    arguments: str


@attrs.frozen(kw_only=True)
class Message:
    """One message.

    Attributes:
        text: Parts of a list are joined by a line end; empty where there is none.
        tool_calls: Of an assistant.
        tool_call_id: Of a tool: the call that it answers.
        name: As the client gives it.
    """

    role: Role
    text: str = attrs.field(default="", repr=False)
    tool_calls: tuple[Call, ...] = attrs.field(default=(), repr=False)
    tool_call_id: str | None = None
    name: str | None = None


@attrs.frozen
class Tool:
    """A function that the model may call.

    Attributes:
        parameters: A JSON Schema as the client spells it; ``None`` where it has none.
    """

    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = attrs.field(default=None, eq=False, repr=False)


class ToolMode(enum.StrEnum):
    """Whether the model calls functions."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@attrs.frozen
class ToolChoice:
    """``tool_choice``: a mode, or the one function that must be called.

    Attributes:
        name: With ``REQUIRED``: this function and no other.
    """

    mode: ToolMode = ToolMode.AUTO
    name: str | None = None


class Thinking(enum.StrEnum):
    """Whether a model that can think aloud does."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    AUTO = "auto"


AUTO: Final = ToolChoice()


@attrs.frozen(kw_only=True, eq=False)
class ChatRequest:
    """A request of the chat dialect, free of mistakes in itself.

    The last message has text and is not the assistant's; every message of the user has text.

    Attributes:
        model: As the client names it.
        include_usage: Whether a stream ends with a chunk of usage.
        max_tokens: ``max_completion_tokens``, else ``max_tokens``; ``None`` for the model's own.
        max_tokens_param: Which of the two it was.
        stop: Texts that end an answer.
        user: The client's name for its own user.
        web_search_param: The member that asks for a search of the web; ``None``: none does.
        thinking_param: The member that ``thinking`` was read from.
        response_format: ``json_object`` or ``json_schema``; ``None`` for text.
        unsupported: Members that nobody acts on, by name; each may stand in a header.
    """

    model: str
    messages: tuple[Message, ...] = attrs.field(repr=False)
    stream: bool = False
    include_usage: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    max_tokens_param: str = "max_tokens"
    n: int = 1
    stop: tuple[str, ...] = attrs.field(default=(), repr=False)
    user: str | None = attrs.field(default=None, repr=False)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = AUTO
    web_search_param: str | None = None
    thinking: Thinking | None = None
    thinking_param: str = "reasoning_effort"
    response_format: str | None = None
    unsupported: tuple[str, ...] = ()

    @property
    def web_search(self) -> bool:
        """Whether the answer may use what is found in the web."""
        return self.web_search_param is not None
