"""Devices that are here, as far as operators look at them and act on them."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
import trio

from relayd.dialect.xiaozhi_state import NotConnected, Phase
from relayd.observe.bus import SessionFacts
from relayd.session.xiaozhi.asking import DeviceBusy
from relayd.session.xiaozhi.desk import (
    NoSuchDevice,
    SeveralDevices,
    ToolNotAllowed,
    ToolsUnknown,
)
from relayd.session.xiaozhi.views import Presence

LAMP = b'{"name":"self.lamp","description":"Light.","inputSchema":{"type":"object"}}'


@attrs.frozen
class Facts:
    facts: SessionFacts


@attrs.define(eq=False)
class PlayedDevice:
    """A device, and what was said to it."""

    presence: Presence
    said: list[str] = attrs.field(factory=list)
    answer: bytes = b'{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}'
    takes_s: float = 0.0
    tools: list[bytes] | None = attrs.field(factory=lambda: [LAMP])
    busy: bool = False
    connected: bool = True

    @property
    def reporter(self) -> Facts:
        here = self.presence
        return Facts(
            SessionFacts(
                session_id=here.session_id,
                dialect="xiaozhi",
                key=here.key,
                tenant=here.tenant,
                account=here.account,
                model=None,
            )
        )

    def kill(self) -> None:
        self.said.append("kill")

    def reboot(self) -> None:
        self.check()
        self.said.append("reboot")

    def alert(self, status: str, message: str, emotion: str) -> None:
        self.check()
        self.said.append(f"alert {status}: {message} ({emotion})")

    def check(self) -> None:
        if self.busy:
            raise DeviceBusy("it does not read")


@attrs.define(eq=False)
class PlayedDesk:
    """All of them; ``allowed`` tools may be called."""

    here: list[PlayedDevice] = attrs.field(factory=list)
    allowed: set[str] = attrs.field(factory=lambda: {"self.lamp"})
    called: list[tuple[str, bytes]] = attrs.field(factory=list)

    def device(self, device_id: str = "24:0a:c4:00:00:01", **given: object) -> PlayedDevice:
        """One more."""
        number = len(self.here) + 1
        facts: dict[str, Any] = {
            "device_id": device_id,
            "client_id": "c9",
            "session_id": f"sess_{number}",
            "tenant": "team",
            "key": "devices",
            "account": "kitchen",
            "client_address": "192.0.2.7",
            "phase": Phase.TALKING.value,
            "talk": "idle",
            "version": 1,
            "from_gateway": False,
            "has_tools": True,
            "since_s": 60.0,
            "hello_ms": 190.04,
            "losses": 0,
            "turns": 2,
            "audio_in_s": 3.14159,
            "audio_out_s": 12.5,
            "dropped": {"before hello": 1},
        }
        made = PlayedDevice(Presence(**(facts | given)))
        self.here.append(made)
        return made

    def devices(self) -> tuple[Presence, ...]:
        return tuple(each.presence for each in self.here)

    def find(self, device_id: str, tenant: str | None = None) -> PlayedDevice:
        found = [
            each
            for each in self.here
            if each.presence.device_id == device_id and tenant in {None, each.presence.tenant}
        ]
        if not found:
            raise NoSuchDevice(device_id)
        if len(found) > 1:
            raise SeveralDevices(device_id)
        return found[0]

    def alert_all(
        self, *, status: str, message: str, emotion: str, tenant: str | None = None
    ) -> tuple[int, int]:
        told = busy = 0
        for each in self.here:
            if tenant in {None, each.presence.tenant}:
                told, busy = told + (not each.busy), busy + each.busy
                if not each.busy:
                    each.alert(status, message, emotion)
        return told, busy

    async def tools(self, device_id: str, tenant: str | None = None) -> list[msgspec.Raw]:
        device = self._asked(device_id, tenant)
        await trio.sleep(device.takes_s)
        if device.tools is None:
            raise ToolsUnknown("it did not say")
        return list(map(msgspec.Raw, device.tools))

    def check_tool(self, name: str) -> None:
        if name not in self.allowed:
            raise ToolNotAllowed(name)

    async def call(
        self, device_id: str, name: str, arguments: msgspec.Raw, tenant: str | None = None
    ) -> bytes:
        self.check_tool(name)
        device = self._asked(device_id, tenant)
        self.called.append((name, bytes(arguments)))
        await trio.sleep(device.takes_s)
        return device.answer

    def _asked(self, device_id: str, tenant: str | None) -> PlayedDevice:
        device = self.find(device_id, tenant)
        device.check()
        if not device.connected:
            raise NotConnected("no hello yet")
        return device
