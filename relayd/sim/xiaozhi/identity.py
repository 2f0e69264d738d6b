"""Who a simulated device is, and how it says so."""

from __future__ import annotations

import secrets
import uuid
from typing import Self

import attrs

from relayd.dialect.xiaozhi_frames import RAW
from relayd.sim.xiaozhi.audio import FRAME_MS


@attrs.frozen(kw_only=True)
class Identity:
    """What a device says of itself.

    Attributes:
        device_id: A MAC address.
        client_id: A UUID, or ``sim-NAME`` where a simulated server is to play something.
        token: Empty: no Authorization header.
        version: The framing that it speaks.
        frame_ms: How long its packets last.
    """

    device_id: str
    client_id: str
    token: str = attrs.field(default="", repr=False)
    version: int = RAW
    frame_ms: int = FRAME_MS

    @classmethod
    def random(cls, token: str = "", version: int = RAW) -> Self:
        """A device that nobody has met."""
        mac = ":".join(f"{byte:02x}" for byte in b"\x02" + secrets.token_bytes(5))
        return cls(device_id=mac, client_id=str(uuid.uuid4()), token=token, version=version)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of the upgrade."""
        said = {
            "Device-Id": self.device_id,
            "Client-Id": self.client_id,
            "Protocol-Version": str(self.version),
        }
        if self.token:
            said["Authorization"] = f"Bearer {self.token}"
        return [(name.encode(), value.encode()) for name, value in said.items()]
