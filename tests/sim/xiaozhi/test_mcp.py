"""Both sides of MCP, against each other and against nonsense."""

from __future__ import annotations

import pytest

from relayd.sim.xiaozhi.mcp import METHOD_NOT_FOUND, TOOL_FAILED, TOOLS, TOOLS_MAX, Caller, Toolset


def listed(toolset: Toolset) -> Caller:
    """A server that has asked a device for all of its tools."""
    caller = Caller()
    waiting = [caller.begin()]
    while waiting:
        answer = toolset.answer(waiting.pop(0))
        if answer is not None:
            waiting += caller.receive(answer)
    return caller


def test_a_server_lists_all_pages_of_tools() -> None:
    toolset = Toolset()
    caller = listed(toolset)

    assert caller.is_listed
    assert caller.tools == list(TOOLS)
    pages = ["tools/list"] * 2
    assert toolset.methods == ["initialize", "notifications/initialized", *pages]


def test_a_list_without_end_is_cut() -> None:
    caller = Caller()
    caller.receive({"id": caller.begin()["id"], "result": {}})
    tools = [{"name": f"tool{index}"} for index in range(TOOLS_MAX)]
    asked = caller.receive({"id": 2, "result": {"tools": tools * 2, "nextCursor": "on"}})

    assert asked == []
    assert len(caller.tools) == TOOLS_MAX
    assert caller.is_listed


def test_a_call_and_its_result() -> None:
    toolset = Toolset()
    caller = listed(toolset)
    number, call = caller.call("self.audio_speaker.set_volume", {"volume": 30})
    answer = toolset.answer(call)
    caller.receive(answer)

    assert toolset.calls == ["self.audio_speaker.set_volume"]
    content = [{"type": "text", "text": "volume 30"}]
    assert caller.answers[number]["result"] == {"content": content, "isError": False}


@pytest.mark.parametrize(
    ("fails", "name", "code"),
    [(True, next(iter(TOOLS)), TOOL_FAILED), (False, "no.such", METHOD_NOT_FOUND)],
)
def test_a_call_that_fails(fails: bool, name: str, code: int) -> None:
    toolset = Toolset(fails=fails)
    _, call = Caller().call(name, {})

    answer = toolset.answer(call)

    assert answer is not None
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["code"] == code


def test_an_unknown_method_is_an_error_and_a_notification_nothing() -> None:
    toolset = Toolset()

    answer = toolset.answer({"id": "a", "method": "resources/list"})

    assert answer is not None
    assert answer["id"] == "a"
    assert "error" in answer
    assert toolset.answer({"method": "notifications/cancelled"}) is None


@pytest.mark.parametrize("payload", [None, 7, [], {}, {"id": 1}, {"id": [1], "result": {}}])
def test_neither_side_minds_what_is_no_message(payload: object) -> None:
    assert Toolset().answer(payload) is None
    assert Caller().receive(payload) == []


def test_an_answer_counts_once() -> None:
    caller = listed(Toolset())
    number, _ = caller.call("any", {})
    first, second = ({"id": number, "result": {"content": [text]}} for text in "ab")
    caller.receive(first)
    caller.receive(second)

    assert caller.answers == {number: first}
