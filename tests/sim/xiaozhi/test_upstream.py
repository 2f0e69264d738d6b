"""The simulated xiaozhi server from the first byte on."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock
from websockets.frames import Opcode

from relayd.sim.xiaozhi import tokens
from relayd.sim.xiaozhi.scenario import Scenario
from relayd.sim.xiaozhi.upstream import NO_DEVICE, TOKEN_REFUSED, XiaozhiUpstream
from tests.sim.peer import served
from tests.sim.xiaozhi.stage import CLIENT, HEADERS, MAC, over_http, peer_at

PATH = "/xiaozhi/v1/"
NOW = 1795190400


def test_an_account_reaches_it_by_its_base_url() -> None:
    assert XiaozhiUpstream().base_path == PATH


async def refusal(upstream: XiaozhiUpstream, headers: dict[str, str]) -> tuple[str, int | None]:
    async with peer_at(upstream, headers=headers) as peer:
        text = (await peer.message()).decode()
        return text, (await peer.end()).code


async def test_a_token_is_refused_in_text_after_the_101() -> None:
    upstream = XiaozhiUpstream(auth_key="k", wall=lambda: NOW)
    wrong = {**HEADERS, "Authorization": "Bearer wrong"}

    assert await refusal(upstream, wrong) == (TOKEN_REFUSED, 1000)
    assert upstream.statistics().total.refused == 1
    played = XiaozhiUpstream(Scenario.TOKEN_REFUSED)
    assert await refusal(played, dict(HEADERS)) == (TOKEN_REFUSED, 1000)


async def test_a_token_that_was_signed_opens_the_door() -> None:
    upstream = XiaozhiUpstream(auth_key="k", wall=lambda: NOW)
    token = tokens.sign("k", CLIENT, MAC, NOW)
    async with peer_at(upstream, headers={**HEADERS, "Authorization": f"Bearer {token}"}) as peer:
        await peer.send({"type": "hello"})
        assert (await peer.event())["type"] == "hello"


async def test_who_is_no_device_is_told_that_the_port_works() -> None:
    assert await refusal(XiaozhiUpstream(), {}) == (NO_DEVICE, 1000)


async def test_a_browser_comes_by_its_query() -> None:
    upstream = XiaozhiUpstream()
    async with peer_at(upstream, f"{PATH}?device-id=web&client-id=tab", headers={}) as peer:
        await peer.send({"type": "hello"})
        assert (await peer.event())["type"] == "hello"

    assert upstream.statistics().records[0].visitor.device_id == "web"


async def test_the_gateway_gets_frames_of_its_own(autojump_clock: MockClock) -> None:
    upstream = XiaozhiUpstream(protocol_version=1)
    async with peer_at(upstream, f"{PATH}?from=mqtt_gateway") as peer:
        await peer.send({"type": "hello"})
        await peer.event()
        detect = {"type": "listen", "state": "detect", "text": "[sim:normal words=2]"}
        await peer.send(detect)
        while (message := await peer.message())[:1] == b"{":
            pass

    assert message[:1] == b"\x01"
    assert int.from_bytes(message[12:16], "big") == len(message) - 16


@pytest.mark.parametrize(
    ("connection", "status"), [("Upgrade", 101), ("upgrade", 101), ("keep-alive, Upgrade", 200)]
)
async def test_the_connection_header_is_compared_as_a_whole(connection: str, status: int) -> None:
    async with served(XiaozhiUpstream(), PATH) as peer:
        request = peer.protocol.connect()
        del request.headers["Connection"]
        request.headers["Connection"] = connection
        request.headers["Device-Id"] = MAC
        peer.protocol.send_request(request)
        for data in peer.protocol.data_to_send():
            await peer.stream.send_all(data)
        answer = await peer.stream.receive_some(65_536)

    assert bytes(answer).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    ("scenario", "status"), [(Scenario.REFUSE_HTTP_500, 500), (Scenario.IS_RUNNING, 200)]
)
async def test_some_scenarios_answer_without_a_101(scenario: Scenario, status: int) -> None:
    async with served(XiaozhiUpstream(scenario), PATH) as peer:
        assert (await peer.upgrade({"Device-Id": MAC})).status_code == status


async def test_a_silent_handshake_answers_nothing(autojump_clock: MockClock) -> None:
    async with served(XiaozhiUpstream(Scenario.SILENT_HANDSHAKE), PATH) as peer:
        with trio.move_on_after(100) as waiting:
            await peer.upgrade(HEADERS)

    assert waiting.cancelled_caught


@pytest.mark.parametrize("is_ignored", [True, False])
async def test_pings_of_the_websocket(is_ignored: bool, autojump_clock: MockClock) -> None:
    upstream = XiaozhiUpstream(Scenario.PING_IGNORED if is_ignored else Scenario.NORMAL)
    async with peer_at(upstream) as peer:
        peer.protocol.send_ping(b"there?")
        await peer.send({"type": "hello"})
        kinds = [(await peer.frame()).opcode]
        with trio.move_on_after(10):
            kinds.append((await peer.frame()).opcode)

    assert kinds == ([Opcode.TEXT] if is_ignored else [Opcode.PONG, Opcode.TEXT])


async def test_one_device_is_played_what_its_client_id_names() -> None:
    upstream = XiaozhiUpstream()
    headers = {**HEADERS, "Client-Id": "sim-token_refused"}

    assert await refusal(upstream, headers) == (TOKEN_REFUSED, 1000)


def http(method: str, path: str, body: bytes = b"", more: str = "") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: sim:8000\r\nDevice-Id: {MAC}\r\n"
        f"Client-Id: {CLIENT}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/xiaozhi/ota/", "/xiaozhi/ota"])
async def test_settings_over_http_at_the_same_address(method: str, path: str) -> None:
    upstream = XiaozhiUpstream(protocol_version=2)
    body = b'{"version":2}' if method == "POST" else b""
    request = (
        http(method, path, body)
        if body
        else http(method, path).replace(b"Content-Length: 0\r\n", b"")
    )
    status, text, _ = await over_http(upstream, request)

    told = json.loads(text)["websocket"]
    assert (status, told["version"], told["url"]) == (200, 2, "ws://sim:8000/xiaozhi/v1/")
    assert upstream.statistics().settings == 1


async def test_an_activation_over_http() -> None:
    upstream = XiaozhiUpstream(Scenario.OTA_ACTIVATION)
    request = http("POST", "/xiaozhi/ota/activate", b"{}")

    assert [(await over_http(upstream, request))[0] for _ in range(2)] == [202, 200]


async def test_a_redirect_says_where(autojump_clock: MockClock) -> None:
    request = http("GET", "/xiaozhi/ota/").replace(b"Content-Length: 0\r\n", b"")
    status, _, answer = await over_http(XiaozhiUpstream(Scenario.OTA_REDIRECT), request)

    assert status == 302
    assert b"\r\nLocation: /xiaozhi/ota/\r\n" in answer


async def test_settings_that_never_come(autojump_clock: MockClock) -> None:
    with trio.move_on_after(100) as waiting:
        await over_http(XiaozhiUpstream(Scenario.OTA_SILENT), http("POST", "/xiaozhi/ota/", b"{}"))

    assert waiting.cancelled_caught
