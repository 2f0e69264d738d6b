"""Which device a request of an operator is about, what it says, and why it cannot be done."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, TypeVar

import attrs
import msgspec

from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.xiaozhi_state import NotConnected
from relayd.observe.facts import SessionFacts
from relayd.service.admin import paging
from relayd.service.admin.shapes import Shape
from relayd.service.admin.state import Devices, LiveDevice, Operations
from relayd.service.http.refusals import HttpFault, HttpRefused
from relayd.service.http.request import Request
from relayd.session.xiaozhi.desk import NoSuchDevice, SeveralDevices

BODY_MAX_BYTES: Final = 16_384
"""Of a tool's arguments; a device has little memory."""

TENANT: Final = "tenant"

_NO_SUCH_DEVICE: Final = Refusal(
    RefusalCode.NOT_FOUND,
    "No device of this id is here; it connects when it is spoken to.",
    "device_id",
)
_AMBIGUOUS: Final = HttpFault(
    HTTPStatus.CONFLICT,
    "device_ambiguous",
    "Devices of several tenants have this id; name the tenant.",
    TENANT,
)
_NOT_READY: Final = HttpFault(
    HTTPStatus.CONFLICT,
    "device_not_ready",
    "The device's server has not answered its hello yet, or it is going; try again.",
)
_BUSY: Final = HttpFault(
    HTTPStatus.CONFLICT,
    "device_busy",
    "The device does not read what it is sent, or has enough to answer; try again.",
)

T = TypeVar("T", bound=Shape)


@attrs.frozen
class Asked:
    """A device that a request is about.

    Attributes:
        devices: Where it was found.
        device: Its session.
        device_id: As the request names it.
        tenant: Likewise; ``None`` where it names none.
    """

    devices: Devices
    device: LiveDevice
    device_id: str
    tenant: str | None

    @property
    def facts(self) -> SessionFacts:
        """Whose session it is."""
        return self.device.reporter.facts


def device_of(request: Request, operations: Operations) -> Asked:
    """The device that a request is about. Raises :class:`HttpRefused`: 400, 404, 409."""
    tenant = paging.parameters(request, (TENANT,)).get(TENANT)
    device_id, devices = request.parameters["device_id"], operations.devices
    if devices is None:
        raise HttpRefused(_NO_SUCH_DEVICE)
    try:
        return Asked(devices, devices.find(device_id, tenant), device_id, tenant)
    except (NoSuchDevice, SeveralDevices) as error:
        raise refused(error) from None


async def said_in(request: Request, shape: type[T]) -> T:
    """What a request's body says. Raises :class:`HttpRefused`: 400, 413."""
    body = await request.body(BODY_MAX_BYTES)
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except (msgspec.DecodeError, RecursionError):
        message = f"The body must be JSON as {shape.__name__} has it in docs/openapi.json."
        raise paging.invalid(message, "body") from None


def refused(error: Exception) -> HttpRefused:
    """Why a device cannot be asked, for who asks."""
    match error:
        case NoSuchDevice():
            return HttpRefused(_NO_SUCH_DEVICE)
        case SeveralDevices():
            return HttpRefused(_AMBIGUOUS)
        case NotConnected():
            return HttpRefused(_NOT_READY)
        case _:
            return HttpRefused(_BUSY)
