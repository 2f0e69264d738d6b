"""What the simulated model answers: the same words for the same question, every time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from relayd.sim.realtime.response import Call, Spoken

if TYPE_CHECKING:
    from relayd.sim.realtime.client_events import JsonObject

ANSWER_MAX_WORDS: Final = 64

_EXAMPLES: Final[dict[object, object]] = {
    "string": "example",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "object": {},
}


def answer(
    number: int,
    heard: str,
    *,
    aloud: str | None,
    tools: Sequence[JsonObject],
    tool_choice: str | JsonObject,
) -> Spoken | Call:
    """The answer to ``heard``, the session's ``number``-th.

    A tool is called when the choice demands one, or when it is free and ``heard`` names one.
    """
    tool = _wanted_tool(heard, tools, tool_choice)
    if tool is not None:
        arguments = msgspec.json.format(msgspec.json.encode(_arguments(tool)), indent=0).decode()
        return Call(str(tool["name"]), arguments)
    said = f"You said: {heard}" if heard else "You said nothing."
    kept = f"Answer {number}. {said}".split()[:ANSWER_MAX_WORDS]
    return Spoken(" ".join(kept), aloud)


def _wanted_tool(
    heard: str, tools: Sequence[JsonObject], tool_choice: str | JsonObject
) -> JsonObject | None:
    functions = {str(tool["name"]): tool for tool in tools if "name" in tool}
    match tool_choice:
        case {"name": str(name)}:
            return functions.get(name)
        case "required":
            return next(iter(functions.values()), None)
        case "auto":
            named = (tool for name, tool in functions.items() if name in heard.split())
            return next(named, None)
    return None


def _arguments(tool: JsonObject) -> JsonObject:
    """An example for each property that the tool's JSON schema names."""
    match tool.get("parameters"):
        case {"properties": dict(properties)}:
            return {name: _example(schema) for name, schema in properties.items()}
    return {}


def _example(schema: object) -> object:
    match schema:
        case {"enum": [first, *_]}:
            return first
        case {"type": str(kind)}:
            return _EXAMPLES.get(kind)
    return None
