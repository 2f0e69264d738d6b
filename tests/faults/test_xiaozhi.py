"""What servers and devices do to each other, and what a device notices of it: as little as can be.

A session stands between real sockets here, without the door before it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relayd.config.accounts import Timeouts
from relayd.config.secret import Secret
from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings
from relayd.dialect.xiaozhi_identity import Identity
from relayd.observe.bus import (
    AccountFailed,
    DeviceContextLost,
    DeviceRejoined,
    SessionFailedOver,
)
from relayd.observe.events import LogEvent
from tests.conftest import LogLines
from tests.faults.harness import Upstream
from tests.faults.wire import PING, TEXT, Ending, close, frame
from tests.session.xiaozhi.stage import (
    CLIENT,
    HELLO,
    LISTEN,
    MAC,
    OPUS,
    STOP,
    Peer,
    Stage,
    answer,
    staged,
)

REFUSED = "认证失败".encode()
OTHER_MAC = "aa:bb:cc:dd:ee:02"


@pytest.fixture
async def scene(log_lines: LogLines) -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


def spoken(session_id: str, state: str) -> dict[str, Any]:
    return {"type": "tts", "state": state, "session_id": session_id}


async def takes_over(scene: Stage, upstream: Upstream, session_id: str) -> Peer:
    """Another server is found, and has said hello."""
    server = await scene.accept(upstream)
    assert await server.text() == HELLO
    await server.say(answer(session_id))
    return server


# -- a server is lost


async def test_a_server_killed_while_it_speaks_is_replaced(
    autojump_clock: MockClock, scene: Stage, log_lines: LogLines
) -> None:
    one, two = await scene.server("one"), await scene.server("two")
    device, server = await scene.talking(one, session_id="s-1")
    await server.say(spoken("s-1", "start"))
    await server.play(OPUS)
    assert [await device.hear(), await device.hear()] == [spoken("s-1", "start"), OPUS]
    began = trio.current_time()

    server.wire.reset()

    assert await device.text() == spoken("s-1", "stop")
    another = await takes_over(scene, two, "s-2")
    assert trio.current_time() - began == pytest.approx(2.0, abs=0.2)
    await device.say({**LISTEN, "session_id": "s-1"})
    await device.play(OPUS)
    assert await another.text() == {**LISTEN, "session_id": "s-2"}
    assert await another.audio() == OPUS
    await another.say(spoken("s-2", "start"))
    await another.play(OPUS)
    assert [await device.hear(), await device.hear()] == [spoken("s-1", "start"), OPUS]
    (line,) = log_lines.of(LogEvent.XIAOZHI_CONTEXT_LOST)
    assert (line["account"], line["lost"], line["speaking"]) == ("one", 1, True)
    (lost,), (back,) = scene.of(DeviceContextLost), scene.of(DeviceRejoined)
    assert (lost.session.account, back.session.account) == ("one", "two")
    assert device.session.verdict.reason is None
    assert scene.in_flight == [0, 1]


@pytest.mark.parametrize("code", [1011, 1012, 1013])
async def test_a_server_in_trouble_is_replaced(
    autojump_clock: MockClock, scene: Stage, code: int
) -> None:
    one, two = await scene.server("one"), await scene.server("two")
    _, server = await scene.talking(one)

    await server.leave(code)

    await takes_over(scene, two, "s-2")
    (lost,) = scene.of(DeviceContextLost)
    assert (lost.cause, lost.close_code) == ("closed", code)


async def test_the_only_server_may_come_back_itself(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one = await scene.server("one")
    _, server = await scene.talking(one)

    await server.leave(1012)

    await takes_over(scene, one, "s-2")


async def test_what_is_said_meanwhile_reaches_the_next_server(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one, two = await scene.server("one"), await scene.server("two")
    device, server = await scene.talking(one)
    await device.say(LISTEN)
    assert await server.text() == LISTEN
    server.wire.reset()
    await trio.sleep(0.5)

    packets = [OPUS + bytes([number]) for number in range(40)]
    await device.play(*packets)
    await device.say(STOP)
    another = await takes_over(scene, two, "s-2")

    assert await another.text() == LISTEN
    held = 2.0 // 0.06
    assert [await another.audio() for _ in range(int(held))] == packets[-int(held) :]
    assert await another.text() == STOP
    await device.play(OPUS)
    assert await another.audio() == OPUS
    (back,) = scene.of(DeviceRejoined)
    assert back.packets_dropped == 40 - held


async def test_a_silent_server_is_lost(autojump_clock: MockClock, scene: Stage) -> None:
    one, two = await scene.server("one"), await scene.server("two")
    device, _ = await scene.talking(one)

    async def stay() -> None:
        while True:
            await trio.sleep(5.0)
            await device.say({"type": "ping"})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stay)
        await trio.sleep(41.0)
        await takes_over(scene, two, "s-2")
        nursery.cancel_scope.cancel()

    (lost,) = scene.of(DeviceContextLost)
    assert lost.cause == "timeout"


async def test_reconnects_come_to_an_end(autojump_clock: MockClock, scene: Stage) -> None:
    one = await scene.server("one")
    device, server = await scene.talking(one)

    for number in range(2):
        server.wire.reset()
        await trio.sleep(2.0 * (number + 1))
        server = await takes_over(scene, one, f"s-{number + 2}")
    server.wire.reset()

    assert await device.closes() == 1011
    assert await device.ended() == "reconnects_exhausted"
    assert len(scene.of(DeviceContextLost)) == 2


async def test_without_reconnects_the_first_loss_ends_it(
    autojump_clock: MockClock, scene: Stage
) -> None:
    scene.settings = XiaozhiSettings(reconnects_max=0)
    device, server = await scene.talking(await scene.server("one"))

    server.wire.reset()

    assert await device.closes() == 1011
    assert await device.ended() == "reconnects_exhausted"


async def test_a_reconnect_goes_on_to_the_next_server_behind_a_silent_one(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one, two, three = [await scene.server(name) for name in ("one", "two", "three")]
    _, server = await scene.talking(one)
    await server.leave(1012)
    began = trio.current_time()
    silent = await scene.accept(two)
    await trio.sleep(7.0)

    await takes_over(scene, three, "s-3")
    await trio.testing.wait_all_tasks_blocked()

    assert await silent.text() == HELLO
    assert trio.current_time() - began == pytest.approx(10.0, abs=0.5)
    (back,) = scene.of(DeviceRejoined)
    assert back.session.account == "three"


async def test_a_second_reconnect_begins_with_whom_the_first_one_did_not_try(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one, two, three = [await scene.server(name) for name in ("one", "two", "three")]
    _, server = await scene.talking(one)
    await server.leave(1012)
    await two.accept()  # its upgrade is not answered: half of the time goes
    await trio.sleep(4.0)
    slow = await scene.accept(three)
    await slow.text()
    await trio.sleep(8.0)  # the rest goes too, and the delay

    again = await takes_over(scene, one, "s-2")

    assert again.wire.seen
    assert [each.account for each in scene.of(AccountFailed)] == ["two", "three"]


async def test_nobody_left_to_reconnect_to_ends_it(autojump_clock: MockClock, scene: Stage) -> None:
    one = await scene.server("one")
    device, server = await scene.talking(one)
    one.sock.close()

    server.wire.reset()
    await trio.sleep(7.0)

    assert await device.closes() == 1011
    assert await device.ended() == "reconnects_exhausted"


async def test_a_device_that_leaves_while_no_server_is_there(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one = await scene.server("one")
    device, server = await scene.talking(one)
    server.wire.reset()
    await device.play(OPUS)
    await trio.sleep(0.5)

    await device.leave()

    assert await device.ended() == "client_closed"
    assert scene.in_flight == [0]


# -- before its hello


async def test_a_refusal_in_plain_text_leads_to_the_next_server(
    autojump_clock: MockClock, scene: Stage, log_lines: LogLines
) -> None:
    one, two = await scene.server("one"), await scene.server("two")
    device = await scene.device()
    await device.say(HELLO)
    server = await scene.accept(one)

    await server.wire.send(frame(TEXT, REFUSED, masked=False))
    await takes_over(scene, two, "s-2")

    assert (await device.text())["session_id"] == "s-2"
    (line,) = log_lines.of(LogEvent.UPSTREAM_FAILED)
    assert (line["account"], line["reason"]) == ("one", "device_refused")
    assert not log_lines.of(LogEvent.ACCOUNT_DISABLED)
    (over,) = scene.of(SessionFailedOver)
    assert (over.account_from, over.session.account) == ("one", "two")
    assert not scene.of(DeviceContextLost)


async def turned_away(scene: Stage, upstream: Upstream, device_id: str, said: bytes) -> None:
    """A device to which the only server answers ``said`` and goes, for its hello."""
    device = await scene.device(device_id=device_id)
    await device.say(HELLO)
    server = await scene.accept(upstream)
    await server.text()
    await server.wire.send(said)
    assert (await device.wire.until_close()).close_code == 1011
    await device.wire.finish()
    await device.ended()


async def test_a_key_that_is_refused_to_two_devices_is_of_no_use(
    autojump_clock: MockClock, scene: Stage, log_lines: LogLines
) -> None:
    one = await scene.server("one")
    refusal = frame(TEXT, REFUSED, masked=False)
    for _ in range(3):
        await turned_away(scene, one, MAC, refusal)
    assert not log_lines.of(LogEvent.ACCOUNT_DISABLED)

    await turned_away(scene, one, OTHER_MAC, refusal)

    assert len(log_lines.of(LogEvent.ACCOUNT_DISABLED)) == 1


async def test_no_token_that_is_refused_disables_nobody(
    autojump_clock: MockClock, scene: Stage, log_lines: LogLines
) -> None:
    asks = DeviceServerSettings(ota_url="http://127.0.0.1:1/ota/")
    one = await scene.server("one", asks, api_key=None)
    for number in range(3):
        await turned_away(scene, one, f"device-{number}", frame(TEXT, REFUSED, masked=False))

    assert not log_lines.of(LogEvent.ACCOUNT_DISABLED)


async def test_a_device_whose_hello_servers_close_at_opens_no_breaker(
    autojump_clock: MockClock, scene: Stage, log_lines: LogLines
) -> None:
    one = await scene.server("one")
    for _ in range(6):
        await turned_away(scene, one, MAC, close(1011, masked=False))
    assert not log_lines.of(LogEvent.BREAKER_OPENED)

    for number in range(4):
        await turned_away(scene, one, f"device-{number}", close(1011, masked=False))

    assert len(log_lines.of(LogEvent.BREAKER_OPENED)) == 1


async def test_a_token_of_the_devices_own_that_is_refused_disables_nobody(
    autojump_clock: MockClock, scene: Stage, log_lines: LogLines
) -> None:
    one = await scene.server("one", DeviceServerSettings(ota_url="http://127.0.0.1:1/ota/"))
    await scene.desk.tokens.keep("one", Identity(MAC, CLIENT), "its-own", ttl_s=60.0)
    device = await scene.device()
    await device.say(HELLO)
    server = await scene.accept(one)

    await server.wire.send(frame(TEXT, REFUSED, masked=False))

    assert b"\r\nAuthorization: Bearer its-own\r\n" in server.wire.seen
    assert (await device.text())["type"] == "alert"
    assert await device.closes() == 1011
    assert await device.ended() == "upstream_refused"
    assert not log_lines.of(LogEvent.ACCOUNT_DISABLED)


async def test_a_server_that_declines_the_upgrade_is_passed_over(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one, two = await scene.server("one"), await scene.server("two")
    device = await scene.device()
    await device.say(HELLO)
    wire = await one.accept()
    await wire.head()

    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nServer is running")

    await takes_over(scene, two, "s-2")
    assert (await device.text())["session_id"] == "s-2"


async def test_a_server_that_never_answers_the_hello_is_passed_over(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one, two = await scene.server("one"), await scene.server("two")
    device = await scene.device()
    await device.say(HELLO)
    server = await scene.accept(one)
    await trio.sleep(8.5)

    await takes_over(scene, two, "s-2")

    assert [await server.text() for _ in range(4)] == [HELLO] * 4
    assert (await device.text())["session_id"] == "s-2"
    (failed,) = scene.of(AccountFailed)
    assert failed.reason == "device_no_hello"


async def test_a_slow_hello_is_in_time(autojump_clock: MockClock, scene: Stage) -> None:
    one = await scene.server("one")
    device = await scene.device()
    await device.say(HELLO)
    server = await scene.accept(one)
    await trio.sleep(7.0)

    await server.say(answer())
    await server.say({**answer(), "session_id": "again"})
    await server.say(spoken("s-1", "start"))

    assert await device.text() == answer()
    assert await device.text() == spoken("s-1", "start")


async def test_no_server_at_all_ends_it(autojump_clock: MockClock, scene: Stage) -> None:
    one = await scene.server("one")
    one.sock.close()
    device = await scene.device()

    await device.say(HELLO)

    assert await device.closes() == 1011
    assert await device.ended() == "upstream_lost"


async def test_a_server_that_is_full_is_not_a_lost_one(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one = await scene.server("one", sessions_max=1)
    await scene.talking(one)
    device = await scene.device(device_id=OTHER_MAC)

    await device.say(HELLO)

    assert await device.closes() == 1013
    assert await device.ended() == "overload"
    assert not scene.of(AccountFailed)


async def test_a_device_that_leaves_while_a_server_is_dialled(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one = await scene.server("one", timeouts=Timeouts(connect_s=60.0))
    device = await scene.device()
    await device.say(HELLO)
    wire = await one.accept()
    await wire.head()

    await device.leave()

    assert await device.ended() == "client_closed"
    assert scene.in_flight == [0]


# -- what either side does to break it


async def test_a_flood_of_pings_ends_the_session(autojump_clock: MockClock, scene: Stage) -> None:
    device, _ = await scene.talking(await scene.server())

    await device.wire.send(frame(PING) * 200)

    assert (await device.wire.until_close()).close_code == 1008
    await device.wire.finish()
    assert await device.ended() == "control_flood"


async def test_an_unmasked_frame_ends_the_session(autojump_clock: MockClock, scene: Stage) -> None:
    device, _ = await scene.talking(await scene.server())

    await device.wire.send(frame(TEXT, b"{}", masked=False))

    assert await device.closes() == 1002
    assert await device.ended() == "protocol_error_client"


async def test_a_server_that_breaks_the_protocol_ends_the_session(
    autojump_clock: MockClock, scene: Stage
) -> None:
    device, server = await scene.talking(await scene.server())

    await server.wire.send(frame(TEXT, b"{}", masked=True))

    assert await device.closes() == 1011
    assert await device.ended() == "protocol_error_upstream"


async def until_full(peer: Peer) -> None:
    """Send audio until the other side takes no more."""
    with contextlib.suppress(trio.TooSlowError):
        while True:
            await peer.play(OPUS * 1000)


async def test_a_device_that_does_not_read_is_cut_off(
    autojump_clock: MockClock, scene: Stage
) -> None:
    device, server = await scene.talking(await scene.server(), receive_buffer=4096)

    await until_full(server)

    assert await device.ended() == "client_stalled"
    assert await device.wire.end() is Ending.RESET


async def test_a_server_that_does_not_read_is_replaced(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one, two = await scene.server("one"), await scene.server("two")
    device, _ = await scene.talking(one)

    await until_full(device)
    await trio.sleep(scene.limit_settings.stall_s)
    await takes_over(scene, two, "s-2")

    assert [each.cause for each in scene.of(DeviceContextLost)] == ["timeout"]
    assert device.session.verdict.reason is None


async def test_what_a_device_is_told_of_private_places_is_left_out(
    autojump_clock: MockClock, scene: Stage
) -> None:
    device, server = await scene.talking(await scene.server())
    vision = {"url": "http://192.168.7.7/explain", "token": "t"}
    params = {"capabilities": {"vision": vision}, "protocolVersion": "2024-11-05"}
    payload = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}

    await server.say({"type": "mcp", "payload": payload})

    got = await device.text()
    assert got["payload"]["params"] == {"capabilities": {}, "protocolVersion": "2024-11-05"}


async def test_a_secret_of_a_server_signs_each_devices_token(
    autojump_clock: MockClock, scene: Stage
) -> None:
    one = await scene.server("one", DeviceServerSettings(auth_key=Secret("canary-of-server")))
    _, server = await scene.talking(one)

    head = bytes(server.wire.seen).partition(b"\r\n\r\n")[0].decode()

    (token,) = [
        line[22:] for line in head.split("\r\n") if line.startswith("Authorization: Bearer ")
    ]
    assert token.endswith(".1795000000")
    assert "canary-of-server" not in head
