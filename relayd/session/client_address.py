"""Where a client comes from, when it comes through proxies.

Nobody is believed but those in ``server.trusted_proxies``: a proxy's header that anybody may send
would let anybody choose their address, and ``keys.allowed_ips`` with it. Nothing of these headers
goes upstream.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from relayd.config.kinds import UNIX_PEER
from relayd.config.networks import Network, is_within
from relayd.core.refusals import Refusal, RefusalCode

if TYPE_CHECKING:
    from relayd.config.schema import ServerSettings
    from relayd.protocol.head import Head
    from relayd.protocol.proxy_protocol import ProxyHeader

HOPS_MAX: Final = 32
"""Entries of X-Forwarded-For that are looked at, from the right. Real chains have up to five."""

ENTRY_MAX_CHARS: Final = 64
"""An IPv6 address with brackets and port has at most 53."""

FORWARDED_FOR: Final = "x-forwarded-for"

_ENTRY: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f.:]+)\]|(?P<v4>[0-9.]+))(?::[0-9]{1,5})?|(?P<v6>[0-9A-Fa-f.:]+)"
)


def proxy_header_due(socket_address: str, server: ServerSettings) -> bool | Refusal:
    """Whether a connection has to begin with a PROXY protocol header.

    There is no guessing by what the first bytes look like. A peer that is no trusted proxy is
    refused, since it could name any address. A Unix socket's file mode says who may connect, so
    with ``proxy_protocol`` every peer there is taken for the proxy.

    Args:
        socket_address: The peer's address by the socket: an IP address or ``unix``.
        server: The settings in force.

    Returns:
        Whether the header must be read before anything else, TLS too; or why the peer is refused.
    """
    if not server.proxy_protocol:
        return False
    if socket_address == UNIX_PEER or is_within(socket_address, _networks(server)):
        return True
    message = "This address is served only through a proxy, and your address is no proxy's."
    return Refusal(RefusalCode.ADDRESS_NOT_ALLOWED, message)


def client_address(
    socket_address: str, head: Head, server: ServerSettings, proxied: ProxyHeader | None = None
) -> str:
    """The address that a client counts as: for the log, and for ``keys.allowed_ips``.

    Args:
        socket_address: The peer's address by the socket: an IP address or ``unix``.
        head: The request.
        server: The settings in force.
        proxied: The PROXY header, where :func:`proxy_header_due` asked for one.

    Returns:
        An IP address, IPv4 wherever it can be said as that; or ``unix``. The request's header
        counts only where the one who sent it is trusted: the socket's peer, or the address that
        the PROXY header names. A peer that sent a PROXY header without an address speaks for
        itself, and its request's header is not believed.
    """
    networks = _networks(server)
    if proxied is None:
        sender = socket_address
        is_trusted = is_within(sender, networks)
        if sender == UNIX_PEER:
            is_trusted = UNIX_PEER in server.trusted_proxies
    elif proxied.address is None:
        return _plain(socket_address)
    else:
        sender = proxied.address
        is_trusted = is_within(sender, networks)
    if not is_trusted:
        return _plain(sender)
    value = head.get(server.client_address_header)
    if value is None:
        return _plain(sender)
    if server.client_address_header == FORWARDED_FOR:
        return _first_untrusted(value, networks) or _plain(sender)
    return _parse(value) or _plain(sender)


def _first_untrusted(value: str, networks: tuple[Network, ...]) -> str | None:
    """Walk back from the last entry, which the sender added, to the first who is not trusted.

    What stands left of that one is hearsay. An entry that is no address ends the walk as well:
    the one before it is the last that is known.
    """
    last_good = None
    for entry in reversed(value.rsplit(",", HOPS_MAX)[-HOPS_MAX:]):
        address = _parse(entry.strip(" \t"))
        if address is None:
            break
        last_good = address
        if not is_within(address, networks):
            break
    return last_good


def _parse(entry: str) -> str | None:
    """An address out of a header, without port and brackets; ``None`` where there is none."""
    parts = _ENTRY.fullmatch(entry) if len(entry) <= ENTRY_MAX_CHARS else None
    if parts is None:
        return None
    try:
        if parts["v4"] is not None:
            return str(ipaddress.IPv4Address(parts["v4"]))
        return _plain(str(ipaddress.IPv6Address(parts["bracketed"] or parts["v6"])))
    except ValueError:
        return None


def _plain(address: str) -> str:
    """``address`` as it is written everywhere; IPv4-mapped IPv6 is IPv4 (RFC 4291 2.5.5.2)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # a Unix socket's
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _networks(server: ServerSettings) -> tuple[Network, ...]:
    return tuple(each for each in server.trusted_proxies if not isinstance(each, str))
