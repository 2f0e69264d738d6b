"""The routes for devices over the simulated server of devices, which speaks real HTTP."""

from __future__ import annotations

import json
import socket

import pytest
import trio
from trio.testing import MockClock

from relayd.config.snapshot import Account
from relayd.config.url import Url
from relayd.dialect.xiaozhi_identity import Identity
from relayd.sim.xiaozhi.ota import ANY_TOKEN
from relayd.sim.xiaozhi.scenario import Scenario
from relayd.sim.xiaozhi.upstream import XiaozhiUpstream
from relayd.transport import egress
from tests.service.xiaozhi.stage import CLIENT, DEVICE, SOCKET_URL, Stage

NORMAL = next(iter(Scenario))


def play(stage: Stage, monkeypatch: pytest.MonkeyPatch, scenario: Scenario) -> None:
    """Let the simulated server answer at the account's address."""
    upstream = XiaozhiUpstream(scenario)

    async def connect(url: Url, account: Account, **given: object) -> socket.socket:
        await trio.lowlevel.checkpoint()
        near, far = socket.socketpair()
        near.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(far))
        stage.nursery.start_soon(upstream.serve_stream, stream)
        return near

    monkeypatch.setattr(egress, "connect", connect)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_device_is_told_of_relayd(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    play(stage, monkeypatch, NORMAL)

    reply = await stage.ask(method=method, body=b"{}" if method == "POST" else b"")

    answer = json.loads(reply.body)
    assert (reply.status, answer["websocket"]["url"]) == (200, SOCKET_URL)
    assert answer["websocket"]["token"].startswith("v1.")
    assert answer["firmware"]["url"] == "http://kitchen.test/firmware/1.0.1.bin"
    assert "mqtt" not in answer
    assert await stage.tokens.find("kitchen", Identity(DEVICE, CLIENT)) == ANY_TOKEN


async def test_a_gateway_beside_the_socket_is_taken_out_and_one_alone_is_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(stage, monkeypatch, Scenario.OTA_BOTH)
    both = json.loads((await stage.ask()).body)
    play(stage, monkeypatch, Scenario.OTA_MQTT)
    alone = json.loads((await stage.ask()).body)

    assert ("mqtt" in both, "websocket" in both) == (False, True)
    assert ("mqtt" in alone, "websocket" in alone) == (True, False)


async def test_a_device_is_activated(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    play(stage, monkeypatch, Scenario.OTA_ACTIVATION)

    asked = json.loads((await stage.ask()).body)
    waits = await stage.ask("/xiaozhi/ota/activate")
    done = await stage.ask("/xiaozhi/ota/activate")
    told = json.loads((await stage.ask()).body)

    assert asked["activation"]["code"] == "460609"
    assert (waits.status, done.status) == (202, 200)
    assert "activation" not in told


@pytest.mark.parametrize(
    "scenario",
    [Scenario.OTA_HTTP_500, Scenario.OTA_NOT_JSON, Scenario.OTA_HUGE, Scenario.OTA_REDIRECT],
)
async def test_an_answer_that_is_of_no_use_goes_no_further(
    autojump_clock: MockClock, stage: Stage, monkeypatch: pytest.MonkeyPatch, scenario: Scenario
) -> None:
    play(stage, monkeypatch, scenario)

    reply = await stage.ask()

    assert (reply.status, json.loads(reply.body)["success"]) == (502, False)


async def test_a_server_s_own_refusal_is_the_device_s_to_hear(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(stage, monkeypatch, Scenario.OTA_REFUSED)

    reply = await stage.ask()

    assert reply.status == 200
    assert json.loads(reply.body) == {"success": False, "message": "request error."}
