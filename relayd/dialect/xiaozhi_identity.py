"""Who a device says that it is: ``Device-Id`` and ``Client-Id``, checked before anything else."""

from __future__ import annotations

import re
from typing import Final

import attrs

ID_MAX_CHARS: Final = 128

_MAC: Final = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z:._-]{0,127}")
_VERSION: Final = re.compile(r"[123]")


class BadIdentity(ValueError):
    """A device's id or its client's is missing or is none; the text says which, never the value."""


@attrs.frozen
class Identity:
    """A device.

    Attributes:
        device_id: Its MAC address in lower case, or another id of 1 to 128 letters, digits,
            ``:``, ``.``, ``_`` and ``-``.
        client_id: Likewise, mostly a UUID; "" where it sends none.
    """

    device_id: str
    client_id: str = ""


def read_identity(
    device_id: str | None, client_id: str | None, *, client_required: bool = False
) -> Identity:
    """Check what a device says of itself. A MAC address has one spelling afterwards.

    Raises:
        BadIdentity: Either is no id, or is missing and required. The device's always is.
    """
    if not device_id:
        raise BadIdentity("the device's id is missing")
    if not _ID.fullmatch(device_id):
        raise BadIdentity("the device's id is none")
    if not client_id:
        if client_required:
            raise BadIdentity("the client's id is missing")
        client_id = ""
    elif not _ID.fullmatch(client_id):
        raise BadIdentity("the client's id is none")
    return Identity(device_id.lower() if _MAC.fullmatch(device_id) else device_id, client_id)


def read_version(protocol_version: str | None) -> int:
    """The framing that a ``Protocol-Version`` names; 1 where it is missing or names none."""
    if protocol_version is None or not _VERSION.fullmatch(protocol_version):
        return 1
    return int(protocol_version)
