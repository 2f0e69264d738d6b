"""Addresses and networks that clients may come from, in CIDR form (RFC 4632, RFC 4291)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from relayd.config.mistakes import Wrong
from relayd.config.rules import Items, expected

if TYPE_CHECKING:
    from relayd.config.files import Surroundings

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
"""IPv4-mapped IPv6 addresses, RFC 4291 section 2.5.5.2."""

_EXPECTED: Final = (
    'expected an address such as "192.0.2.7" or a network such as "10.0.0.0/8" or "2001:db8::/32"'
)

# Neither masks, which ipaddress takes too, nor zones, which mean something on one machine only.
_SHAPE: Final = re.compile(r"[0-9A-Fa-f.:]{2,45}(?:/[0-9]{1,3})?")


def parse_network(text: str) -> Network:
    """A network, or an address as the network of itself.

    Raises:
        ValueError: With a message for the operator.
    """
    if not _SHAPE.fullmatch(text):
        raise ValueError(_EXPECTED)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(_EXPECTED) from None
    address = text.partition("/")[0]
    if ipaddress.ip_address(address) != network.network_address:
        raise ValueError(
            f"the address has bits beyond the prefix; write {network} for the whole network, or"
            f" {address} for the address alone"
        )
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        raise ValueError(
            f"IPv4-mapped addresses count as IPv4; write {mapped}/{network.prefixlen - 96}"
        )
    return network


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether a peer's address is in one of ``networks``. What is no IP address is in none.

    An IPv4-mapped IPv6 address, as a dual-stack listener reports IPv4 clients, counts as IPv4.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


@attrs.frozen
class NetworkRule:
    """An address or a network."""

    kind: str = attrs.field(default="an address or a network", init=False)

    def read(self, value: object, around: Surroundings) -> Network:
        """The network."""
        if not isinstance(value, str):
            raise expected(self.kind, value)
        try:
            return parse_network(value)
        except ValueError as exc:
            raise Wrong.because(str(exc)) from None


NETWORKS: Final = Items("a list of addresses and networks", NetworkRule())
