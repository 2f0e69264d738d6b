"""What the admin API says of devices, and is told for them, in the manner of
:mod:`relayd.service.admin.shapes`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from relayd.service.admin.shapes import Moment, RpcError, Shape

DeviceState = Literal["connecting", "idle", "listening", "speaking", "reconnecting"]


class DeviceView(Shape):
    """A device that is here."""

    device_id: str
    client_id: Annotated[str, Meta(description="Empty where it has none.")]
    session_id: str
    tenant: str
    key: str
    account: Annotated[str | None, Meta(description="Its server; null while it has none.")]
    client_address: str
    state: Annotated[
        DeviceState, Meta(description="reconnecting: its server was lost, another is looked for.")
    ]
    protocol_version: Annotated[int, Meta(description="The framing of its audio: 1, 2 or 3.")]
    from_gateway: Annotated[bool, Meta(description="Whether an MQTT gateway speaks for it.")]
    has_tools: bool
    since: Moment
    duration_s: float
    hello_ms: Annotated[float | None, Meta(description="From its hello to its server's.")]
    contexts_lost: Annotated[int, Meta(description="Servers that it has outlived.")]
    turns: int
    audio_in_s: Annotated[float, Meta(description="Seconds of audio from it.")]
    audio_out_s: float
    dropped: Annotated[dict[str, int], Meta(description="Messages that went no further, by why.")]


class DevicePage(Shape):
    """Devices that are here, in the order in which they came."""

    devices: tuple[DeviceView, ...]
    total: Annotated[int, Meta(description="All that are here, of the tenant if one is named.")]
    next_cursor: Annotated[str | None, Meta(description="For the next page; null at the end.")]


class ToolList(Shape):
    """A device's tools."""

    device_id: str
    session_id: str
    tools: Annotated[
        tuple[msgspec.Raw, ...], Meta(description="As the device spells them, in MCP's shape.")
    ]


class ToolCall(Shape, forbid_unknown_fields=True):
    """What a tool is called with."""

    arguments: Annotated[
        dict[str, msgspec.Raw], Meta(description="As the tool's inputSchema has it.")
    ] = msgspec.field(default_factory=dict)


class ToolAnswer(Shape):
    """What a tool answered: a result, or the device's own error."""

    device_id: str
    session_id: str
    tool: str
    result: Annotated[msgspec.Raw, Meta(description="In MCP's shape; null beside an error.")]
    error: RpcError | None
    duration_ms: float


class Alert(Shape, forbid_unknown_fields=True):
    """A message that devices show, with a sound."""

    message: Annotated[str, Meta(min_length=1, max_length=512)]
    status: Annotated[str, Meta(max_length=64, description="Stands above it.")] = "Alert"
    emotion: Annotated[str, Meta(max_length=32, description="The face beside it.")] = "neutral"


class DeviceTold(Shape):
    """A device was sent an operator's word; that it follows it cannot be seen."""

    device_id: str
    session_id: str


class AlertedAll(Shape):
    """A message was sent to devices."""

    told: int
    busy: Annotated[int, Meta(description="Devices that do not read what they are sent.")]
