"""What operators ask of a device."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.xiaozhi import XiaozhiSettings
from relayd.dialect.xiaozhi_state import NotConnected
from relayd.session.xiaozhi.desk import (
    ToolNotAllowed,
    ToolsUnknown,
)
from tests.session.xiaozhi.stage import LISTEN, MAC, Device, Stage

NOTHING = msgspec.Raw(b"{}")


async def asked_of(device: Device, method: str) -> dict[str, Any]:
    """The next call that the device gets."""
    payload: dict[str, Any] = (await device.text())["payload"]
    assert payload["method"] == method
    return payload


async def answers(device: Device, call: dict[str, Any], result: object) -> None:
    payload = {"jsonrpc": "2.0", "id": call["id"], "result": result}
    await device.say({"type": "mcp", "session_id": "", "payload": payload})


async def test_a_tool_is_called_and_its_answer_stays_here(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.settings = XiaozhiSettings(tools_allowed=("self.light.*",))
    device, server = await stage.talking(await stage.server())
    got: list[bytes] = []

    async def call() -> None:
        arguments = msgspec.Raw(b'{"on":true}')
        got.append(await stage.desk.call(MAC.upper(), "self.light.set", arguments))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        asked = await asked_of(device, "tools/call")
        assert asked["params"] == {"name": "self.light.set", "arguments": {"on": True}}
        await answers(device, asked, {"content": []})
    await device.say(LISTEN)

    assert json.loads(got[0])["result"] == {"content": []}
    assert await server.text() == LISTEN


async def test_a_device_that_does_not_answer_is_given_ten_seconds(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.settings = XiaozhiSettings(tools_allowed=("*",))
    await stage.talking(await stage.server())
    began = trio.current_time()

    answer = json.loads(await stage.desk.call(MAC, "self.reboot", NOTHING))

    assert answer["error"]["code"] == -32001
    assert trio.current_time() - began == pytest.approx(10.0, abs=0.1)


async def test_a_device_that_goes_fails_what_is_asked_of_it(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.settings = XiaozhiSettings(tools_allowed=("*",))
    device, _ = await stage.talking(await stage.server())
    got: list[bytes] = []

    async def call() -> None:
        got.append(await stage.desk.call(MAC, "self.reboot", NOTHING))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await asked_of(device, "tools/call")
        device.wire.reset()

    assert json.loads(got[0])["error"]["code"] == -32001


async def test_a_call_that_is_given_up_leaves_nothing(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())

    with trio.move_on_after(1.0):
        await stage.desk.tools(MAC)
    asked = await asked_of(device, "tools/list")
    await answers(device, asked, {"tools": []})
    await device.say(LISTEN)

    assert await server.text() == LISTEN


async def test_tools_that_are_not_named_may_not_be_called(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.talking(await stage.server())

    with pytest.raises(ToolNotAllowed):
        await stage.desk.call(MAC, "self.light.set", NOTHING)


async def test_tools_are_asked_for_page_by_page(autojump_clock: MockClock, stage: Stage) -> None:
    device, _ = await stage.talking(await stage.server())
    found: list[msgspec.Raw] = []

    async def ask() -> None:
        found.extend(await stage.desk.tools(MAC))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        first = await asked_of(device, "tools/list")
        await answers(device, first, {"tools": [{"name": "a"}], "nextCursor": "b"})
        second = await asked_of(device, "tools/list")
        assert second["params"] == {"cursor": "b"}
        await answers(device, second, {"tools": [{"name": "b"}]})

    assert [json.loads(bytes(tool))["name"] for tool in found] == ["a", "b"]


async def test_what_the_server_asked_is_not_asked_again(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await stage.talking(await stage.server())
    payload = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": ""}}
    await server.say({"type": "mcp", "payload": payload})
    await answers(device, await asked_of(device, "tools/list"), {"tools": [{"name": "a"}]})
    await server.text()

    (tool,) = await stage.desk.tools(MAC)

    assert json.loads(bytes(tool)) == {"name": "a"}


async def test_a_device_without_tools_says_so(autojump_clock: MockClock, stage: Stage) -> None:
    device, _ = await stage.talking(await stage.server())

    async def refuse() -> None:
        asked = await asked_of(device, "tools/list")
        error = {"code": -32601, "message": "no such method"}
        payload = {"jsonrpc": "2.0", "id": asked["id"], "error": error}
        await device.say({"type": "mcp", "payload": payload})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(ToolsUnknown, match="no such method"):
            await stage.desk.tools(MAC)


async def test_a_device_that_was_not_greeted_cannot_be_asked(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.server()
    await stage.device()
    await wait_all_tasks_blocked()

    with pytest.raises(NotConnected):
        await stage.desk.tools(MAC)
