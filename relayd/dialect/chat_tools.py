"""The tools of a chat request: functions, a search of the web, and what is to be done with them.

Shapes: ``tools`` and ``tool_choice`` of OpenAI's chat completions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs
import msgspec

from relayd.dialect.chat_messages import NOTHING, UNREADABLE, WrongError, text_of, wrong_type
from relayd.dialect.chat_values import AUTO, Tool, ToolChoice, ToolMode

TOOLS_MAX: Final = 128
"""Functions of one request, as OpenAI has it."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SEARCHES: Final = re.compile(r"web_search(?:_[a-z0-9_]{1,32})?")


@attrs.frozen
class Tools:
    """``tools``, by what can be done with them.

    Attributes:
        web_search_param: Which of them asks for a search of the web; ``None``: none does.
        unsupported: Those of other kinds, each as ``tools[2]``.
    """

    functions: tuple[Tool, ...] = ()
    web_search_param: str | None = None
    unsupported: tuple[str, ...] = ()


@attrs.frozen
class Chosen:
    """``tool_choice``, and its name where it asks for something that nobody does."""

    choice: ToolChoice = AUTO
    unsupported: tuple[str, ...] = ()


class _WireTool(msgspec.Struct):
    type: msgspec.Raw = NOTHING
    function: msgspec.Raw = NOTHING


class _WireFunction(msgspec.Struct):
    name: msgspec.Raw = NOTHING
    description: msgspec.Raw = NOTHING
    parameters: msgspec.Raw = NOTHING


class _WireNamed(msgspec.Struct):
    name: str


class _WireChoice(msgspec.Struct):
    type: str
    function: _WireNamed | None = None


_decode_tools: Final = msgspec.json.Decoder(list[_WireTool] | None).decode
_decode_function: Final = msgspec.json.Decoder(_WireFunction).decode
_decode_schema: Final = msgspec.json.Decoder(dict[str, object]).decode
_decode_choice: Final = msgspec.json.Decoder(_WireChoice).decode


def read_tools(raw: msgspec.Raw) -> Tools:
    """What a request's ``tools`` are; ``null`` and an empty list are none.

    Raises:
        WrongError: With what is wrong.
    """
    try:
        wire: list[_WireTool] = _decode_tools(raw) or []
    except UNREADABLE:
        wrong_type("tools", "a list of objects")
    if len(wire) > TOOLS_MAX:
        message = f"tools has {len(wire)} items; at most {TOOLS_MAX} are read."
        raise WrongError("invalid_value", message, "tools")
    functions: dict[str, Tool] = {}
    searches: str | None = None
    unsupported: list[str] = []
    for index, each in enumerate(wire):
        param, kind = f"tools[{index}]", text_of(each.type)
        if kind == "function":
            tool = _function(each.function, f"{param}.function")
            if tool.name in functions:
                message = f"Two functions are named {tool.name}."
                raise WrongError("invalid_value", message, f"{param}.function.name")
            functions[tool.name] = tool
        elif kind is not None and _SEARCHES.fullmatch(kind):
            searches = searches or param
        elif kind is None:
            wrong_type(f"{param}.type", "a string")
        else:
            unsupported.append(param)
    return Tools(tuple(functions.values()), searches, tuple(unsupported))


def read_tool_choice(raw: msgspec.Raw, functions: Sequence[Tool]) -> Chosen:
    """What a request's ``tool_choice`` is, among its functions.

    Raises:
        WrongError: With what is wrong.
    """
    if raw == NOTHING:
        return Chosen()
    word = text_of(raw)
    if word is not None and word in set(ToolMode):
        choice = ToolChoice(ToolMode(word))
    else:
        if word is not None:
            message = f"tool_choice must be one of {', '.join(ToolMode)}, or name a function."
            raise WrongError("invalid_value", message, "tool_choice")
        try:
            wire = _decode_choice(raw)
        except UNREADABLE:
            wrong_type("tool_choice", "a string or an object with a type")
        if wire.type != "function" or wire.function is None:
            return Chosen(unsupported=("tool_choice",))
        choice = ToolChoice(ToolMode.REQUIRED, wire.function.name)
        if wire.function.name not in {tool.name for tool in functions}:
            message = "tool_choice names a function that is not among tools."
            raise WrongError("invalid_value", message, "tool_choice")
    if choice.mode is ToolMode.REQUIRED and not functions:
        message = "tool_choice asks for a call, but tools has no function."
        raise WrongError("invalid_value", message, "tool_choice")
    return Chosen(choice)


def _function(raw: msgspec.Raw, param: str) -> Tool:
    try:
        wire = _decode_function(raw)
    except UNREADABLE:
        wrong_type(param, "an object")
    name = text_of(wire.name)
    if name is None or not _NAME.fullmatch(name):
        message = f"{param}.name must be 1 to 64 letters, digits, underscores and dashes."
        raise WrongError("invalid_value", message, f"{param}.name")
    description = text_of(wire.description)
    if description is None and wire.description != NOTHING:
        wrong_type(f"{param}.description", "a string")
    if wire.parameters == NOTHING:
        return Tool(name, description)
    try:
        _decode_schema(wire.parameters)  # it is sent on as it is spelled
    except UNREADABLE:
        wrong_type(f"{param}.parameters", "a JSON Schema object")
    return Tool(name, description, wire.parameters.copy())  # not a view of the whole body
