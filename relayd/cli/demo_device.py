"""The device of ``relayd demo``: one xiaozhi device that says two things and has tools."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from relayd.cli.demo_client import DemoError, Narrator
from relayd.config.providers import Dialect
from relayd.sim.xiaozhi.device import Device, connected
from relayd.sim.xiaozhi.heard import DeviceError, Turn
from relayd.sim.xiaozhi.identity import Identity

PACKETS: Final = 5
FRAME_MS: Final = 20
"""Packets are sent as they sound, so short ones make a short demo."""

_WHO: Final = Dialect.XIAOZHI.value


async def talk(address: str, key: str, narrator: Narrator) -> None:
    """A device's conversation: its hello, something aloud, and a tool that its server calls.

    Args:
        address: The relay, ``host:port``.
        key: What the device comes in with.
        narrator: Is told what happens.

    Raises:
        OSError: The relay cannot be reached.
        ExceptionGroup: Of a ``DemoError``, where the device was not answered as it should be, or of
            a ``trio_websocket.HandshakeError``, where it was not let in.
    """
    host, _, port = address.rpartition(":")
    stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
    identity = attrs.evolve(Identity.random(token=key), frame_ms=FRAME_MS)
    try:
        async with connected(stream, identity, host=address) as device:
            await _converse(device, narrator)
    except* DeviceError as group:
        raise DemoError(f"the device was left alone: {_first(group)}") from None


async def _converse(device: Device, narrator: Narrator) -> None:
    await device.greet()
    narrator.tell(_WHO, f"a device said hello; its session is {device.session_id[:8]}…")
    spoken = await device.speak(PACKETS)
    narrator.tell(_WHO, f"spoke {PACKETS} packets of Opus, was understood: {_heard(spoken)}")
    narrator.tell(_WHO, f"heard {spoken.packets} packets in answer, none lost")
    if device.ear.lost or device.frames_wrong:
        raise DemoError("packets were lost")
    called = await device.write("What can you do? [sim:tool_call]")
    if not device.toolset.calls:
        raise DemoError("no tool was called")
    narrator.tell(_WHO, f"asked in words: {_heard(called)}; it called {device.toolset.calls[0]}")


def _heard(turn: Turn) -> str:
    return f'"{turn.heard}"'


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
