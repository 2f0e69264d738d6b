"""A chat request as Spark's HTTP interface takes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relayd.config.spark import ChatDefaults
from relayd.dialect.spark_http_request import HttpPrepared, http_prepared
from tests.dialect import chat
from tests.dialect.chat import TOOLS, WEATHER


def sent(version: str = "v3.5", **members: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(prepared(version, **members).body)
    return found


def prepared(version: str = "v3.5", **members: object) -> HttpPrepared:
    return http_prepared(chat.request(**members), chat.account(version))


def test_a_plain_request() -> None:
    assert sent() == {
        "model": "generalv3.5",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "tools": [{"type": "web_search", "web_search": {"enable": False}}],
    }


def test_models_that_search_only_when_asked_are_not_told() -> None:
    assert "tools" not in sent("v1.1")


def test_parameters_go_as_they_are() -> None:
    members: dict[str, Any] = {"temperature": 0, "top_p": 0.5, "top_k": 3, "presence_penalty": 1.0}
    assert {name: sent(**members)[name] for name in members} == members


def test_defaults_fill_in() -> None:
    account = chat.account(defaults=ChatDefaults(temperature=0.7, max_tokens=99))
    body = json.loads(http_prepared(chat.request(), account).body)
    assert (body["temperature"], body["max_tokens"]) == (0.7, 99)


def test_limits_are_clamped() -> None:
    made = prepared(max_tokens=99_999)
    assert json.loads(made.body)["max_tokens"] == made.limit == 8192
    assert prepared().limit == 4096


def test_functions_and_what_must_be_called() -> None:
    body = sent(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "weather"}})
    assert body["tools"][0] == {"type": "function", "function": WEATHER}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["tool_calls_switch"] is True


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_modes(choice: str) -> None:
    assert sent(tools=TOOLS, tool_choice=choice)["tool_choice"] == choice


def test_functions_that_are_not_to_be_called_are_not_sent() -> None:
    body = sent(tools=TOOLS, tool_choice="none")
    assert [tool["type"] for tool in body["tools"]] == ["web_search"]
    assert "tool_choice" not in body


def test_a_model_that_knows_one_kind_of_tool_at_a_time() -> None:
    made = prepared("x1.5", tools=TOOLS, web_search_options={})
    assert [tool["type"] for tool in json.loads(made.body)["tools"]] == ["function"]
    assert made.ignored == ("web_search_options",)


def test_a_search() -> None:
    assert sent(web_search_options={})["tools"][-1]["web_search"] == {"enable": True}


def test_history_keeps_its_roles() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert sent(messages=messages)["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
    ]


def test_formats() -> None:
    assert sent(response_format={"type": "json_object"})["response_format"] == {
        "type": "json_object"
    }
    schema = prepared(response_format={"type": "json_schema", "json_schema": {"name": "x"}})
    assert schema.ignored == ("response_format",)


def test_thinking() -> None:
    assert sent("x1.5", thinking={"type": "disabled"})["thinking"] == {"type": "disabled"}
    assert prepared(thinking={"type": "disabled"}).ignored == ("thinking",)


def test_what_is_not_acted_on_is_named_once() -> None:
    assert prepared(seed=1, stop="x").ignored == ("seed", "stop")
