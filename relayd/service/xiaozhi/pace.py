"""How often devices may ask from one address, before anything else is known of them."""

from __future__ import annotations

import ipaddress
from typing import Final

import attrs

from relayd.service.hub.pace import Pace

ASKED_PER_S: Final = 5.0
"""Requests a second from one address: a house full of devices that all start at once."""

ASKED_AT_ONCE: Final = 100
ADDRESSES_MAX: Final = 4096
"""Those that asked last."""

NETWORK_BITS: Final = 64
"""Of an IPv6 address: what one customer has at least (RFC 6177)."""


def _pace() -> Pace:
    return Pace(per_s=ASKED_PER_S, burst=ASKED_AT_ONCE, tenants_max=ADDRESSES_MAX)


@attrs.define(eq=False)
class AddressPace:
    """A bucket for each address that asks; addresses of one IPv6 network share one."""

    _pace: Pace = attrs.field(factory=_pace)

    def take(self, address: str, now: float) -> float:
        """Count one request.

        Args:
            address: Where it comes from: an IP address, else a word for a socket without one.
            now: Seconds of a clock that does not go back.

        Returns:
            0 where it may be answered, else after how many seconds it could be.
        """
        return self._pace.take(network_of(address), 1, now)


def network_of(address: str) -> str:
    """What shares a bucket with ``address``."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), NETWORK_BITS), strict=False))
    return str(parsed)
