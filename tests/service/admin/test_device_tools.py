"""The tools of devices, and calls of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relayd.observe.bus import BusEvent, DeviceToolCalled
from relayd.observe.events import LogEvent
from tests.conftest import LogLines
from tests.service.admin.desk import LAMP, PlayedDesk, PlayedDevice
from tests.service.admin.stage import Stage, error_of
from tests.service.http.stage import Reply

DEVICE = "24:0a:c4:00:00:01"
SECRET = "canary of an argument"


@pytest.fixture
def desk(stage: Stage) -> PlayedDesk:
    assert stage.desk is not None
    return stage.desk


async def call(stage: Stage, tool: str = "self.lamp", body: object = None) -> Reply:
    said = b"" if body is None else json.dumps(body).encode()
    async with stage.client() as client:
        return await client.ask("POST", f"/admin/v1/devices/{DEVICE}/tools/{tool}", said)


async def test_tools_are_listed_as_the_device_spells_them(stage: Stage, desk: PlayedDesk) -> None:
    desk.device()

    answer = await stage.get(f"/admin/v1/devices/{DEVICE}/tools")

    assert answer == {"device_id": DEVICE, "session_id": "sess_1", "tools": [json.loads(LAMP)]}


async def test_a_tool_s_result_comes_back(
    autojump_clock: MockClock, stage: Stage, desk: PlayedDesk, log_lines: LogLines
) -> None:
    device = desk.device()
    device.answer = b'{"jsonrpc":"2.0","id":7,"result":{"content":[{"text":"canary"}]}}'
    device.takes_s = 0.25
    heard = list[BusEvent]()
    stage.connector.bus.subscribe(heard.append)

    reply = await call(stage, body={"arguments": {"b": SECRET, "a": [1.50, None]}})

    assert reply.status == 200
    assert json.loads(reply.body) == {
        "device_id": DEVICE,
        "session_id": "sess_1",
        "tool": "self.lamp",
        "result": {"content": [{"text": "canary"}]},
        "error": None,
        "duration_ms": 250.0,
    }
    ((name, arguments),) = desk.called
    assert (name, json.loads(arguments)) == ("self.lamp", {"b": SECRET, "a": [1.5, None]})
    (line,) = log_lines.of(LogEvent.DEVICE_TOOL_CALLED)
    assert line["tool"] == "self.lamp"
    assert (line["outcome"], line["duration_ms"]) == ("answered", 250.0)
    assert "canary" not in json.dumps(log_lines.all)
    (told,) = heard
    assert isinstance(told, DeviceToolCalled)
    assert (told.outcome, told.device_id, told.session.tenant) == ("answered", DEVICE, "team")


async def test_without_a_body_a_tool_is_called_without_arguments(
    stage: Stage, desk: PlayedDesk
) -> None:
    desk.device()

    assert (await call(stage)).status == 200
    assert desk.called == [("self.lamp", b"{}")]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b'{"error":{"code":-32601,"message":"no such tool"}}', (-32601, "no such tool")),
        (b'{"error":{"message":"no such tool"}}', (None, "no such tool")),
    ],
)
async def test_a_device_s_own_error_is_an_answer(
    stage: Stage,
    desk: PlayedDesk,
    log_lines: LogLines,
    answer: bytes,
    error: tuple[int | None, str],
) -> None:
    desk.device().answer = answer

    reply = await call(stage)

    said: dict[str, Any] = json.loads(reply.body)
    assert (reply.status, said["result"]) == (200, None)
    assert (said["error"]["code"], said["error"]["message"]) == error
    assert log_lines.of(LogEvent.DEVICE_TOOL_CALLED)[0]["outcome"] == "failed"


async def test_a_tool_that_failed_says_so_itself(
    stage: Stage, desk: PlayedDesk, log_lines: LogLines
) -> None:
    desk.device().answer = b'{"result":{"isError":true,"content":[]}}'

    reply = await call(stage)

    assert reply.status == 200
    assert json.loads(reply.body)["result"] == {"isError": True, "content": []}
    assert log_lines.of(LogEvent.DEVICE_TOOL_CALLED)[0]["outcome"] == "failed"


async def test_a_device_that_is_silent_is_a_504_with_the_code(
    autojump_clock: MockClock, stage: Stage, desk: PlayedDesk, log_lines: LogLines
) -> None:
    device = desk.device()
    device.takes_s = 10.0
    device.answer = b'{"id":1,"error":{"code":-32001,"message":"not in time"}}'

    reply = await call(stage)

    assert (reply.status, error_of_unanswered(reply)) == (504, "device_timeout")
    assert json.loads(reply.body)["rpc"] == {"code": -32001, "message": "not in time"}
    (line,) = log_lines.of(LogEvent.DEVICE_TOOL_CALLED)
    assert (line["outcome"], line["duration_ms"]) == ("timed_out", 10_000.0)


@pytest.mark.parametrize(
    "answer", [b"", b"canary", b"[]", b"{}", b'{"result":5}', b'{"result":' + b"[" * 5000]
)
async def test_an_answer_that_is_none_is_a_502(
    stage: Stage, desk: PlayedDesk, answer: bytes
) -> None:
    desk.device().answer = answer

    reply = await call(stage)

    assert (reply.status, error_of(reply)["code"]) == (502, "device_unreadable")
    assert b"canary" not in reply.body


async def test_a_call_leaves_its_trace_though_the_caller_hangs_up(
    autojump_clock: MockClock, stage: Stage, desk: PlayedDesk, log_lines: LogLines
) -> None:
    desk.device().takes_s = 10.0
    heard = list[BusEvent]()
    stage.connector.bus.subscribe(heard.append)

    with trio.move_on_after(2.0):
        await call(stage)

    assert len(desk.called) == 1
    (line,) = log_lines.of(LogEvent.DEVICE_TOOL_CALLED)
    assert (line["outcome"], line["duration_ms"]) == ("abandoned", 2_000.0)
    (told,) = heard
    assert isinstance(told, DeviceToolCalled)
    assert told.outcome == "abandoned"


async def test_a_listing_has_ten_seconds_altogether(
    autojump_clock: MockClock, stage: Stage, desk: PlayedDesk
) -> None:
    desk.device().takes_s = 300.0
    began = trio.current_time()

    reply = await stage.ask("GET", f"/admin/v1/devices/{DEVICE}/tools")

    assert (reply.status, error_of(reply)["code"]) == (502, "tools_unknown")
    assert trio.current_time() - began == 10.0


async def test_a_tool_that_is_not_named_is_not_called_and_the_try_is_told(
    stage: Stage, desk: PlayedDesk, log_lines: LogLines
) -> None:
    desk.device()

    reply = await call(stage, "self.reboot")

    assert (reply.status, error_of(reply)["code"]) == (403, "tool_not_allowed")
    assert desk.called == []
    (line,) = log_lines.of(LogEvent.DEVICE_TOOL_CALLED)
    assert (line["tool"], line["outcome"]) == ("self.reboot", "refused")


async def test_only_an_object_is_what_a_tool_is_called_with(stage: Stage, desk: PlayedDesk) -> None:
    desk.device()

    for body in ({"arguments": [1]}, {"arguments": "x"}, {"arguments": {}, "name": "other"}, [1]):
        assert (await call(stage, body=body)).status == 400

    assert desk.called == []


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ({}, 404, "not_found"),
        ({"connected": False}, 409, "device_not_ready"),
        ({"busy": True}, 409, "device_busy"),
    ],
)
async def test_who_cannot_be_asked_is_not(
    stage: Stage, desk: PlayedDesk, state: dict[str, bool], status: int, code: str
) -> None:
    if state:
        change(desk.device(), state)

    called = await call(stage)
    listed = await stage.ask("GET", f"/admin/v1/devices/{DEVICE}/tools")

    assert (called.status, error_of(called)["code"]) == (status, code)
    assert (listed.status, error_of(listed)["code"]) == (status, code)


async def test_a_device_that_does_not_say_which_tools_it_has_is_a_502(
    stage: Stage, desk: PlayedDesk
) -> None:
    desk.device().tools = None

    reply = await stage.ask("GET", f"/admin/v1/devices/{DEVICE}/tools")

    assert (reply.status, error_of(reply)["code"]) == (502, "tools_unknown")


def change(device: PlayedDevice, state: dict[str, bool]) -> None:
    for name, value in state.items():
        setattr(device, name, value)


def error_of_unanswered(reply: Reply) -> str:
    code: str = json.loads(reply.body)["error"]["code"]
    return code
