"""Which tool is called, and with what."""

from __future__ import annotations

import json

import pytest

from relayd.sim.responses.tools import Call, call_for, command_in
from tests.sim.responses.stage import SHELL, Event

WEATHER: Event = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["c", "f"]},
            "days": {"type": "integer"},
            "exact": {"type": ["boolean", "null"]},
            "odd": {"type": []},
            "unknown": {"anyOf": []},
        },
    },
}
FREE: Event = {"type": "custom", "name": "exec"}
HOSTED: Event = {"type": "web_search"}


@pytest.mark.parametrize(
    ("heard", "command"),
    [
        ("run echo hello and tell me", "echo hello"),
        ("Please run ls -la.", "ls -la"),
        ("run `echo a; ls | wc and more`, please", "echo a; ls | wc and more"),
        ("run make test, then say what it said", "make test"),
        ("first this\nrun pwd\nthen that", "pwd"),
        ("use the tool", "echo hello"),
    ],
)
def test_what_is_to_be_run(heard: str, command: str) -> None:
    assert command_in(heard) == command


@pytest.mark.parametrize("heard", ["hello", "a runner ran", "what tool?", ""])
def test_talk_calls_no_tool(heard: str) -> None:
    assert call_for(heard, [SHELL, WEATHER, FREE], "auto") is None


def test_a_tool_that_takes_a_command_is_taken_before_others() -> None:
    call = call_for("run ls", [HOSTED, WEATHER, FREE, SHELL], None)

    assert call == Call("shell", '{"command":"ls"}')
    assert call.kind == "function_call"


def test_a_tool_that_is_named_is_taken_before_all() -> None:
    call = call_for("use the tool get_weather now", [SHELL, WEATHER], "auto")

    assert call is not None
    assert call.name == "get_weather"
    assert json.loads(call.text) == {
        "city": "example",
        "unit": "c",
        "days": 1,
        "exact": None,
        "odd": None,
        "unknown": None,
    }


def test_a_custom_tool_takes_free_text() -> None:
    call = call_for("run ls", [HOSTED, FREE], "auto")

    assert call == Call("exec", "ls", is_custom=True)
    assert call.kind == "custom_tool_call"


def test_a_command_may_be_an_array_and_the_rest_only_where_it_is_required() -> None:
    properties = {
        "cmd": {"type": "array", "items": {"type": "string"}},
        "workdir": {"type": "string"},
        "timeout_ms": {"type": "number"},
    }
    tool = SHELL | {"parameters": {"properties": properties, "required": ["timeout_ms"]}}
    call = call_for("run ls", [tool], "auto")
    assert call is not None
    assert json.loads(call.text) == {"cmd": ["bash", "-lc", "ls"], "timeout_ms": 1.5}

    call = call_for("run ls", [SHELL | {"parameters": {"properties": properties}}], "auto")
    assert call is not None
    assert json.loads(call.text) == {"cmd": ["bash", "-lc", "ls"]}


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("required", "shell"),
        ({"type": "function", "name": "get_weather"}, "get_weather"),
        ({"type": "custom", "name": "exec"}, "exec"),
        ({"type": "function", "name": "unknown"}, None),
        ("none", None),
    ],
)
def test_a_choice_overrules_what_was_said(choice: object, name: str | None) -> None:
    heard = "run ls" if choice == "none" else "hello"
    assert isinstance(choice, str | dict)

    call = call_for(heard, [WEATHER, SHELL, FREE], choice)

    assert (None if call is None else call.name) == name


def test_a_function_without_parameters_gets_none() -> None:
    assert call_for("use a tool", [{"type": "function", "name": "f"}], "auto") == Call("f", "{}")
