"""Tools and the choice among them."""

from __future__ import annotations

import pytest

from relayd.dialect.chat_tools import TOOLS_MAX
from relayd.dialect.chat_values import ToolChoice, ToolMode
from tests.dialect.chat import TOOLS, WEATHER, mistake, request

NAMED = {"type": "function", "function": {"name": "weather"}}


def function(**members: object) -> list[object]:
    return [{"type": "function", "function": WEATHER | members}]


def test_a_function_is_kept_as_it_is_spelled() -> None:
    (tool,) = request(tools=TOOLS).tools

    assert (tool.name, tool.description) == ("weather", "of a city")
    assert tool.parameters is not None
    assert bytes(tool.parameters) == b'{"type": "object"}'


def test_a_function_needs_no_more_than_a_name() -> None:
    (tool,) = request(tools=[{"type": "function", "function": {"name": "f"}}]).tools

    assert (tool.description, tool.parameters) == (None, None)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice(ToolMode.AUTO)),
        ("auto", ToolChoice(ToolMode.AUTO)),
        ("none", ToolChoice(ToolMode.NONE)),
        ("required", ToolChoice(ToolMode.REQUIRED)),
        (NAMED, ToolChoice(ToolMode.REQUIRED, "weather")),
    ],
)
def test_the_choices(choice: object, expected: ToolChoice) -> None:
    assert request(tools=TOOLS, tool_choice=choice).tool_choice == expected


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_choice_that_asks_for_nothing_needs_no_tools(choice: str) -> None:
    assert request(tool_choice=choice).tool_choice.mode == choice


def test_a_choice_of_another_kind_is_named_as_unsupported() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}

    read = request(tools=TOOLS, tool_choice=choice)

    assert read.tool_choice == ToolChoice()
    assert read.unsupported == ("tool_choice",)


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"tools": {}}, "invalid_type", "tools"),
        ({"tools": [5]}, "invalid_type", "tools"),
        ({"tools": [{}]}, "invalid_type", "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "invalid_type", "tools[0].function"),
        ({"tools": function(name="a b")}, "invalid_value", "tools[0].function.name"),
        ({"tools": function(name=None)}, "invalid_value", "tools[0].function.name"),
        ({"tools": function(name="n" * 65)}, "invalid_value", "tools[0].function.name"),
        ({"tools": function(description=5)}, "invalid_type", "tools[0].function.description"),
        ({"tools": function(parameters=[])}, "invalid_type", "tools[0].function.parameters"),
        ({"tools": TOOLS + TOOLS}, "invalid_value", "tools[1].function.name"),
        ({"tools": [{"type": "x"}] * (TOOLS_MAX + 1)}, "invalid_value", "tools"),
        ({"tools": TOOLS, "tool_choice": "maybe"}, "invalid_value", "tool_choice"),
        ({"tools": TOOLS, "tool_choice": 5}, "invalid_type", "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"tool_choice": NAMED}, "invalid_value", "tool_choice"),
        ({"tools": function(name="other"), "tool_choice": NAMED}, "invalid_value", "tool_choice"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, object], code: str, param: str) -> None:
    wrong = mistake(**members)

    assert (wrong.status, wrong.code, wrong.param) == (400, code, param)
