"""Devices and servers that do anything at all: no bug shows, and nothing is left behind."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings
from relayd.dialect.xiaozhi_frames import AudioFrame, build
from relayd.observe.bus import SessionEnded, TurnEnded, TurnStarted
from relayd.observe.events import LogEvent
from relayd.session.xiaozhi.asking import DeviceBusy
from tests.conftest import LogLines
from tests.faults.harness import Upstream
from tests.faults.wire import CLOSE, PING, TEXT, Ended, Wire, accepting, frame
from tests.session.xiaozhi.stage import HELLO, LISTEN, OPUS, STOP, Device, Peer, Stage, staged

STEPS = 60
TEXTS: tuple[dict[str, Any], ...] = (
    LISTEN,
    STOP,
    {"type": "abort"},
    {"type": "server", "action": "restart"},
    {"type": "hello"},
    {"type": "mcp", "payload": {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}},
    {"type": "mcp", "payload": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}},
    {"type": "mcp", "payload": {"jsonrpc": "2.0", "id": 1, "method": "initialize"}},
    {"type": "stt", "text": "hi", "session_id": "s-1"},
    {"type": "tts", "state": "start", "session_id": "s-1"},
    {"type": "tts", "state": "stop"},
    {"type": "iot", "states": "x" * 70_000},
)


@pytest.fixture
async def scene(log_lines: LogLines) -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


async def read_away(peer: Peer) -> None:
    """Read until the end; a Close is answered, mostly."""
    try:
        while (await peer.wire.frame()).opcode != CLOSE:
            pass
        await peer.wire.finish()
    except (Ended, trio.TooSlowError, trio.ClosedResourceError, OSError):
        return


async def act(peer: Peer, chance: random.Random, version: int) -> None:
    """One thing that either side may do."""
    match chance.choices(range(7), weights=(40, 30, 6, 3, 3, 2, 10))[0]:
        case 0:
            await peer.say(chance.choice(TEXTS))
        case 1:
            packet = build(AudioFrame(OPUS), version)
            assert packet is not None
            await peer.play(packet, packet + b"?" * chance.randrange(2))
        case 2:
            await peer.wire.send(frame(TEXT, b"no json", masked=peer.wire.is_client))
        case 3:
            await peer.leave(chance.choice([1000, 1001, 1011, 1012, 1013, 4000]))
        case 4:
            peer.wire.reset()
        case 5:
            await peer.wire.send(chance.randbytes(20))
        case _:
            await peer.wire.send(frame(PING, b"p", masked=peer.wire.is_client))


async def misbehave(peer: Peer, chance: random.Random, version: int) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_away, peer)
        for _ in range(STEPS):
            await trio.sleep(chance.random() * 0.6)
            try:
                await act(peer, chance, version)
            except (trio.TooSlowError, trio.ClosedResourceError, OSError):
                break
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    peer.wire.close()


async def serve(upstream: Upstream, chance: random.Random, version: int) -> None:
    async with trio.open_nursery() as nursery:
        while True:
            sock, _ = await upstream.sock.accept()
            nursery.start_soon(greet, upstream, sock, chance, version)


async def greet(
    upstream: Upstream, sock: trio.socket.SocketType, chance: random.Random, version: int
) -> None:
    wire = Wire(sock, is_client=False)
    upstream.wires.append(wire)
    peer = Peer(wire)
    try:
        await wire.send(accepting(await wire.head()))
        if chance.random() < 0.1:
            await peer.wire.send(frame(TEXT, "认证失败".encode(), masked=False))
        elif chance.random() < 0.9:
            await trio.sleep(chance.random() * 3.0)
            await peer.say({"type": "hello", "transport": "websocket", "session_id": "s-1"})
    except (Ended, trio.TooSlowError, OSError):
        return
    await misbehave(peer, chance, version)


async def operate(device: Device, scene: Stage, chance: random.Random) -> None:
    """An operator who asks at the wrong moments."""
    for _ in range(10):
        await trio.sleep(chance.random() * 4.0)
        try:
            device.session.alert("Info", "hi", "happy")
        except DeviceBusy:
            continue
        device.session.review(scene.snapshot)


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens_a_session_ends_once_and_whole(
    autojump_clock: MockClock, scene: Stage, log_lines: LogLines, seed: int
) -> None:
    chance = random.Random(seed)
    versions = chance.choice([1, 2, 3]), chance.choice([1, 2, 3])
    scene.settings = XiaozhiSettings(reconnects_max=chance.randrange(5))
    for name in ("one", "two"):
        await scene.server(name, DeviceServerSettings(protocol_version=versions[1]))
    async with trio.open_nursery() as nursery:
        for upstream in scene.upstreams:
            nursery.start_soon(serve, upstream, chance, versions[1])
        device = await scene.device(version=versions[0])
        await device.say(HELLO)
        async with trio.open_nursery() as actors:
            actors.start_soon(operate, device, scene, chance)
            actors.start_soon(misbehave, device, chance, versions[0])
        await device.ended()
        nursery.cancel_scope.cancel()

    assert not log_lines.of(LogEvent.SESSION_CRASHED)
    assert len(log_lines.of(LogEvent.SESSION_ENDED)) == len(scene.of(SessionEnded)) == 1
    assert len(log_lines.of(LogEvent.XIAOZHI_ENDED)) == 1
    assert len(scene.of(TurnStarted)) == len(scene.of(TurnEnded))
    turns = [row for row in scene.ledger.rows if row.entry.startswith("turn:")]
    assert len(turns) == len(scene.of(TurnEnded))
