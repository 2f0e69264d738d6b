"""Devices: which are here, their tools, and what operators have them do.

Each call of a tool and each word to a device leaves a line in the log, without what was said; one
that is for all leaves one line. The bus is told of every device: of an alert by the device's own
session, which may be one of many that show it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final

import attrs
import msgspec

from relayd.dialect.xiaozhi_state import Phase
from relayd.observe.bus import DeviceCommand, DeviceCommanded
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.service.admin import paging
from relayd.service.admin.device_requests import TENANT, Asked, device_of, refused, said_in
from relayd.service.admin.device_shapes import (
    Alert,
    AlertedAll,
    DeviceState,
    DeviceTold,
    DeviceView,
)
from relayd.service.admin.device_tools import ToolHandlers
from relayd.service.admin.routes import DEVICE_OPERATIONS
from relayd.service.admin.shapes import ENCODER, moment
from relayd.service.admin.state import Operations
from relayd.service.admin.views import answer
from relayd.service.http.request import Request
from relayd.service.http.responses import Json
from relayd.service.http.router import Route
from relayd.session.xiaozhi.asking import DeviceBusy
from relayd.session.xiaozhi.views import Presence

log = get_logger()

_PAGE: Final = ("limit", "cursor")


def device_routes(operations: Operations) -> tuple[Route, ...]:
    """All of them, for the admin listener's :class:`~relayd.service.http.router.Router`."""
    desk, tools = DeviceHandlers(operations), ToolHandlers(operations)
    handlers = {
        "list_devices": desk.list_devices,
        "alert_devices": desk.alert_all,
        "list_device_tools": tools.list_tools,
        "call_device_tool": tools.call_tool,
        "kick_device": desk.kick,
        "reboot_device": desk.reboot,
        "alert_device": desk.alert,
    }
    return tuple(
        Route(each.method, each.pattern, handlers[each.name], each.name, each.summary)
        for each in DEVICE_OPERATIONS
    )


@attrs.frozen
class DeviceHandlers:
    """Handlers of what can be looked at and done."""

    operations: Operations

    # -- looking

    async def list_devices(self, request: Request) -> Json:
        """``GET /admin/v1/devices``."""
        given = paging.parameters(request, (TENANT, *_PAGE))
        limit, slices, devices = paging.limit_of(given), paging.Slices(), self.operations.devices
        tenant = given.get(TENANT)
        here = [
            each
            for each in (() if devices is None else devices.devices())
            if tenant in {None, each.tenant}
        ]
        rest = await paging.after(here, _name_of, given.get("cursor"))
        shown: list[msgspec.Raw] = []
        for each in rest[:limit]:
            shown.append(msgspec.Raw(ENCODER.encode(self.view_of(each))))
            await slices.shown()
        more = _name_of(rest[limit - 1]) if len(rest) > limit else None
        return answer({"devices": shown, "total": len(here), "next_cursor": more})

    def view_of(self, device: Presence) -> DeviceView:
        """One device."""
        hello_ms = device.hello_ms
        return DeviceView(
            device_id=device.device_id,
            client_id=device.client_id,
            session_id=device.session_id,
            tenant=device.tenant,
            key=device.key,
            account=device.account or None,
            client_address=device.client_address,
            state=_state_of(device),
            protocol_version=device.version,
            from_gateway=device.from_gateway,
            has_tools=device.has_tools,
            since=moment(self.operations.wall() - device.since_s),
            duration_s=round(device.since_s, 3),
            hello_ms=None if hello_ms is None else round(hello_ms, 1),
            contexts_lost=device.losses,
            turns=device.turns,
            audio_in_s=round(device.audio_in_s, 3),
            audio_out_s=round(device.audio_out_s, 3),
            dropped=device.dropped,
        )

    # -- words to devices

    async def kick(self, request: Request) -> Json:
        """``POST /admin/v1/devices/{device_id}/kick``."""
        asked = device_of(request, self.operations)
        kill = asked.device.kill
        told = self._command(asked, LogEvent.DEVICE_KICKED, kill)
        self._publish(asked, DeviceCommand.KICK)
        return told

    async def reboot(self, request: Request) -> Json:
        """``POST /admin/v1/devices/{device_id}/reboot``."""
        asked = device_of(request, self.operations)
        reboot = asked.device.reboot
        told = self._command(asked, LogEvent.DEVICE_REBOOTED, reboot)
        self._publish(asked, DeviceCommand.REBOOT)
        return told

    async def alert(self, request: Request) -> Json:
        """``POST /admin/v1/devices/{device_id}/alert``."""
        said = await said_in(request, Alert)
        asked = device_of(request, self.operations)
        show = partial(asked.device.alert, said.status, said.message, said.emotion)
        return self._command(asked, LogEvent.DEVICE_ALERTED, show, devices=1)

    async def alert_all(self, request: Request) -> Json:
        """``POST /admin/v1/devices/alert``."""
        tenant = paging.parameters(request, (TENANT,)).get(TENANT)
        said, devices, told, busy = await said_in(request, Alert), self.operations.devices, 0, 0
        if devices is not None:
            told, busy = devices.alert_all(
                status=said.status, message=said.message, emotion=said.emotion, tenant=tenant
            )
        log.info(LogEvent.DEVICE_ALERTED, session_id=None, device_id=None, devices=told)
        return answer(AlertedAll(told, busy), HTTPStatus.ACCEPTED)

    def _command(
        self, asked: Asked, event: LogEvent, act: Callable[[], None], **fields: int
    ) -> Json:
        try:
            act()
        except DeviceBusy as error:
            raise refused(error) from None
        facts, device_id = asked.facts, asked.device_id
        log.info(event, session_id=facts.session_id, device_id=device_id, **fields)
        return answer(DeviceTold(device_id, facts.session_id), HTTPStatus.ACCEPTED)

    def _publish(self, asked: Asked, command: DeviceCommand) -> None:
        self.operations.connector.bus.publish(
            DeviceCommanded(session=asked.facts, device_id=asked.device_id, command=command)
        )


def _state_of(device: Presence) -> DeviceState:
    match device.phase:
        case Phase.TALKING:
            for state in _TALKS:
                if state == device.talk:
                    return state
            return "idle"
        case Phase.DELAYING:
            return "reconnecting"
        case _:
            return "connecting" if device.hello_ms is None else "reconnecting"


_TALKS: Final[tuple[DeviceState, ...]] = ("listening", "speaking")


def _name_of(device: Presence) -> str:
    return device.session_id
