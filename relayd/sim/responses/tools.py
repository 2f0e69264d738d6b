"""Which tool the simulated model calls, and what it calls it with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs
import msgspec

from relayd.sim.responses.errors import JsonObject

COMMANDS: Final = ("cmd", "command", "commands", "script")
"""Properties of a tool's arguments that take what is to be run."""

_ASKED: Final = re.compile(r"\brun\s|\buse (?:the|a|your) tool\b", re.IGNORECASE)
_QUOTED: Final = re.compile(r"\brun\s+`(?P<command>[^`]+)`", re.IGNORECASE)
_PLAIN: Final = re.compile(
    r"\brun\s+(?P<command>.+?)\s*(?:[,;.]?\s+(?:and|then)\s|[.!]?\s*(?:\n|$))", re.IGNORECASE
)
_EXAMPLES: Final[dict[str, object]] = {
    "string": "example",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}


@attrs.frozen
class Call:
    """An answer that asks the client to run a tool.

    Attributes:
        name: The tool.
        text: The arguments as JSON, or the free text of a custom tool.
        is_custom: Whether the tool takes free text.
    """

    name: str
    text: str
    is_custom: bool = False

    @property
    def kind(self) -> str:
        """The type of the item that it is on the wire."""
        return "custom_tool_call" if self.is_custom else "function_call"


def call_for(
    heard: str, tools: Sequence[JsonObject], tool_choice: str | JsonObject | None
) -> Call | None:
    """The call that answers ``heard``, the user's last words; ``None``: words will do.

    A tool is called when the choice demands one, or when it is free and ``heard`` says "run …",
    "use the tool" or names one. Of several the one named is taken, then one that takes a command,
    then the first.
    """
    callable_tools = {
        str(tool["name"]): tool
        for tool in tools
        if tool.get("type") in ("function", "custom") and isinstance(tool.get("name"), str)
    }
    tool = _chosen(heard, callable_tools, tool_choice)
    if tool is None:
        return None
    name, command = str(tool["name"]), command_in(heard)
    if tool["type"] == "custom":
        return Call(name, command, is_custom=True)
    return Call(name, msgspec.json.encode(_arguments(tool, command)).decode())


def command_in(heard: str) -> str:
    """What is to be run: what follows "run", up to "and …" or the end of the line, or quoted."""
    for pattern in (_QUOTED, _PLAIN):
        if found := pattern.search(heard):
            return found["command"].strip()
    return "echo hello"


def _chosen(
    heard: str, tools: dict[str, JsonObject], tool_choice: str | JsonObject | None
) -> JsonObject | None:
    match tool_choice:
        case {"type": "function" | "custom", "name": str(name)}:
            return tools.get(name)
        case "required":
            return _best(heard, tools)
        case "none":
            return None
    named = any(name in heard.split() for name in tools)
    return _best(heard, tools) if named or _ASKED.search(heard) else None


def _best(heard: str, tools: dict[str, JsonObject]) -> JsonObject | None:
    said = set(heard.split())
    named = (tool for name, tool in tools.items() if name in said)
    running = (tool for tool in tools.values() if _command_of(_properties(tool)))
    functions = (tool for tool in tools.values() if tool["type"] == "function")
    return (
        next(named, None)
        or next(running, None)
        or next(functions, None)
        or next(iter(tools.values()), None)
    )


def _properties(tool: JsonObject) -> dict[str, object]:
    match tool.get("parameters"):
        case {"properties": dict(properties)}:
            return properties
    return {}


def _command_of(properties: dict[str, object]) -> str | None:
    return next((name for name in COMMANDS if name in properties), None)


def _arguments(tool: JsonObject, command: str) -> JsonObject:
    """The command, where one is taken, and an example for every other property required.

    A tool that does not say which are required gets them all; but what a tool that runs commands
    does not require is better left out than made up.
    """
    properties = _properties(tool)
    runs = _command_of(properties)
    match tool.get("parameters"):
        case {"required": list(required)}:
            wanted = [name for name in properties if name in required]
        case _:
            wanted = [] if runs else list(properties)
    arguments = {name: _example(properties[name]) for name in wanted}
    if runs is not None:
        arguments[runs] = _command(properties[runs], command)
    return arguments


def _command(schema: object, command: str) -> object:
    match schema:
        case {"type": "array"}:
            return ["bash", "-lc", command]
    return command


def _example(schema: object) -> object:
    match schema:
        case {"enum": [first, *_]}:
            return first
        case {"type": list(kinds)}:
            return None if "null" in kinds else _EXAMPLES.get(str(kinds[0])) if kinds else None
        case {"type": str(kind)}:
            return _EXAMPLES.get(kind)
    return None
