"""What the hub tells of devices: each event of the bus under a name, with all that it says."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.observe.device_events import (
    DeviceCommanded,
    DeviceContextLost,
    DeviceEnded,
    DeviceEvent,
    DeviceGreeted,
    DeviceRejoined,
    DeviceToolCalled,
    DeviceTurnEnded,
)

NAMES: Final[dict[type[DeviceEvent], str]] = {
    DeviceGreeted: "device.greeted",
    DeviceContextLost: "device.context_lost",
    DeviceRejoined: "device.rejoined",
    DeviceTurnEnded: "device.turn_ended",
    DeviceEnded: "device.ended",
    DeviceCommanded: "device.commanded",
    DeviceToolCalled: "device.tool_called",
}


def told_of_device(event: DeviceEvent) -> tuple[str, dict[str, object]]:
    """An event's name, and what it says beside whose session it is about."""
    said = {
        field.name: getattr(event, field.name)
        for field in attrs.fields(type(event))
        if field.name != "session"
    }
    return NAMES[type(event)], said
