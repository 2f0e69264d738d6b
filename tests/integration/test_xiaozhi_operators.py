"""What operators do with devices: through the admin API, and with ``relayd devices``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from relayd.observe.events import LogEvent
from tests.integration.xiaozhi_stage import MAC, answers, house, told

pytestmark = pytest.mark.slow

TOOL = "self.lamp.turn_on"


async def test_an_operator_lists_and_calls_a_devices_tools_and_kicks_it(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    async with house(tmp_path) as place:
        client = await place.start("write:hello", "attend:60", nursery=nursery)
        await client.until(lambda: bool(answers(client.lines)))
        path = f"/admin/v1/devices/{MAC}"
        (device,) = await place.devices()
        tools = (await place.ask_admin("GET", f"{path}/tools")).json()["tools"]
        called = await place.ask_admin("POST", f"{path}/tools/{TOOL}", arguments={})
        unknown = await place.ask_admin("POST", f"{path}/tools/self.lamp.explode", arguments={})
        denied = await place.ask_admin("POST", f"{path}/tools/user.delete", arguments={})
        rebooted = await place.ask_admin("POST", f"{path}/reboot")
        alerted = await place.ask_admin("POST", f"{path}/alert", message="Dinner")
        kicked = await place.ask_admin("POST", f"{path}/kick")
        gone = await place.ask_admin("POST", f"{path}/kick")
        await client.until(lambda: bool(told(client.lines, "close")))

    assert (device["device_id"], device["state"], device["has_tools"]) == (MAC, "idle", True)
    assert [tool["name"] for tool in tools] == [TOOL]
    assert called.json()["result"]["content"][0]["text"] == "lit"
    assert unknown.status_code == 200
    assert (denied.status_code, denied.json()["error"]["code"]) == (403, "tool_not_allowed")
    assert [each.status_code for each in (rebooted, alerted, kicked, gone)] == [202, 202, 202, 404]
    assert told(client.lines, "event") == ["system", "alert"]
    assert told(client.lines, "close") == [1008]
    outcomes = [line["outcome"] for line in place.relayd.of(LogEvent.DEVICE_TOOL_CALLED)]
    assert (outcomes[0], outcomes[-1]) == ("answered", "refused")


async def test_every_verb_does_what_it_says(tmp_path: Path, nursery: trio.Nursery) -> None:
    async with house(tmp_path) as place:
        assert await place.verb() == "no device is here; they connect when they are spoken to\n"
        client = await place.start("write:hello", "attend:60", nursery=nursery)
        await client.until(lambda: bool(answers(client.lines)))
        device = json.loads(await place.verb("--json"))
        listed = await place.verb()
        tools = await place.verb("tools", MAC)
        called = await place.verb("call", MAC, TOOL, '{"room": "kitchen"}')
        alerted = await place.verb("alert", "Dinner", "--all")
        rebooted = await place.verb("reboot", MAC.upper())
        kicked = await place.verb("kick", MAC)
        await client.until(lambda: bool(told(client.lines, "close")))

    assert device["device_id"] == MAC
    assert MAC in listed
    assert tools == f"{TOOL}\n"
    assert called == "lit\n"
    assert alerted == "1 device told\n"
    assert rebooted == f"{MAC.upper()} was told to start anew\n"
    assert kicked == f"{MAC}: {device['session_id']} ends\n"
    assert told(client.lines, "event") == ["alert", "system"]
    assert told(client.lines, "close") == [1008]
