"""What a client of the run-task API sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.runtask.actions import read_action
from relayd.sim.runtask.errors import Rejected
from tests.sim.runtask.stage import TASK, run, say


def changed(path: str, value: object) -> str:
    whole: Any = run()
    *way, name = path.split(".")
    inner = whole
    for step in way:
        inner = inner[step]
    inner[name] = value
    return json.dumps(whole)


def test_a_run_task() -> None:
    action = read_action(json.dumps(run(max_tokens=5, enable_thinking=True)))

    assert (action.header.action, action.header.task_id) == ("run-task", TASK)
    assert action.payload.parameters.max_tokens == 5
    assert action.payload.parameters.enable_thinking
    assert [message.content for message in action.payload.input.messages] == ["hello there"]


def test_what_follows_needs_no_more_than_its_header() -> None:
    bare = json.dumps({"header": {"action": "finish-task", "task_id": TASK}})

    assert read_action(bare).header.action == "finish-task"
    assert read_action(json.dumps(say("continue-task", "x"))).payload.input.messages


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("header.action", "start-task"),
        ("header.streaming", "sideways"),
        ("payload.model", ""),
        ("payload.task", "image-generation"),
        ("payload.task_group", None),
        ("payload.function", "other"),
        ("payload.parameters.result_format", "xml"),
        ("payload.parameters.max_tokens", 0),
        ("payload.parameters.temperature", 2),
        ("payload.parameters.temperature", -0.1),
        ("payload.parameters.top_p", 0),
        ("payload.parameters.top_p", 1.1),
        ("payload.input.messages", [{"role": "tool", "content": "x"}]),
    ],
)
def test_what_is_wrong_names_its_task(path: str, value: object) -> None:
    with pytest.raises(Rejected) as caught:
        read_action(changed(path, value))

    assert (caught.value.error.code, caught.value.task_id) == ("InvalidParameter", TASK)


@pytest.mark.parametrize("task_id", ["", "x" * 65, "a b"])
def test_a_task_has_a_name(task_id: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_action(changed("header.task_id", task_id))

    assert caught.value.task_id == ""


@given(st.binary() | st.text())
def test_no_message_breaks_the_reader(message: str | bytes) -> None:
    with pytest.raises(Rejected):
        read_action(message)
