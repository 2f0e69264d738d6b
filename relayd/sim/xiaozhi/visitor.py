"""Who comes to a simulated xiaozhi server, as the request's head says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

import attrs

from relayd.sim.xiaozhi.scenario import Scenario, scenario_named

GATEWAY: Final = "from=mqtt_gateway"
"""How the target of the gateway's sockets ends."""

_PLAYED: Final = "sim-"


@attrs.frozen(kw_only=True)
class Visitor:
    """A device, or the gateway in its place.

    Attributes:
        device_id: Empty where the request has none.
        client_id: Likewise.
        token: Without its scheme.
        version: The framing that is asked for, where that is one.
        is_gateway: Whether it comes by the MQTT gateway.
        forwarded_for: What a proxy says about its address.
        path: Of the request, without its query.
    """

    device_id: str
    client_id: str
    token: str = attrs.field(repr=False)
    version: int | None
    is_gateway: bool
    forwarded_for: str | None
    path: str

    def scenario(self, default: Scenario) -> Scenario:
        """What it is to be played: what its client id names, else ``default``."""
        if not self.client_id.startswith(_PLAYED):
            return default
        return scenario_named(self.client_id.removeprefix(_PLAYED), default)


def visitor_of(target: str, headers: Mapping[str, str]) -> Visitor:
    """The visitor of a request.

    Args:
        target: Path and query; browsers, which can set no headers, name themselves there.
        headers: By names in lower case.
    """
    parts = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    said = {**query, **headers}
    version = said.get("protocol-version", "")
    return Visitor(
        device_id=said.get("device-id", ""),
        client_id=said.get("client-id", ""),
        token=said.get("authorization", "").removeprefix("Bearer ").strip(),
        version=int(version) if version in {"1", "2", "3"} else None,
        is_gateway=parts.query.endswith(GATEWAY),
        forwarded_for=headers.get("x-forwarded-for"),
        path=parts.path,
    )
