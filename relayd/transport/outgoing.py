"""Where relayd may dial: what keeps a name from leading it into its own network.

What the operator writes is meant: an address in the configuration, or ``localhost``. What a name
resolves to is somebody else's word, and so is every host that an upstream hands out. Those lead to
public addresses only, unless the account says ``allow_private``. Spellings do not matter, since
what is judged is the address that the socket is about to be connected to.

The table follows IANA's registries of special-purpose addresses (RFC 6890 and its successors) and
names what is refused; of IPv6 only 2000::/3 has been given out at all.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from relayd.transport.errors import DialError, DialErrorKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relayd.transport.resolve import Address

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

LOCALHOST: Final = "localhost"

_CACHED_ADDRESSES: Final = 1024
"""Judgements that are remembered: upstreams have few addresses, sessions are many."""

_SPECIAL_V4: Final = tuple(
    (ipaddress.IPv4Network(network), word)
    for network, word in (
        ("0.0.0.0/8", "an unspecified"),
        ("10.0.0.0/8", "a private"),
        ("100.64.0.0/10", "a carrier's private"),  # RFC 6598; Alibaba's metadata are in it
        ("127.0.0.0/8", "a loopback"),
        ("168.63.129.16/32", "a cloud's metadata"),  # Azure's, though it looks public
        ("169.254.0.0/16", "a link-local"),  # most clouds' metadata are in it
        ("172.16.0.0/12", "a private"),
        ("192.0.0.0/24", "a reserved"),  # RFC 6890; Oracle's metadata are in it
        ("192.0.2.0/24", "a documentation"),
        ("192.88.99.0/24", "a reserved"),  # RFC 7526, once of 6to4 relays
        ("192.168.0.0/16", "a private"),
        ("198.18.0.0/15", "a benchmarking"),
        ("198.51.100.0/24", "a documentation"),
        ("203.0.113.0/24", "a documentation"),
        ("224.0.0.0/4", "a multicast"),
        ("240.0.0.0/4", "a reserved"),  # with the broadcast address
    )
)
_SPECIAL_V6: Final = tuple(
    (ipaddress.IPv6Network(network), word)
    for network, word in (
        ("::/128", "an unspecified"),
        ("::1/128", "a loopback"),
        ("64:ff9b:1::/48", "a private"),  # RFC 8215: NAT64 within one network
        ("2001::/23", "a reserved"),  # RFC 2928; Teredo is looked through before
        ("2001:db8::/32", "a documentation"),
        ("3fff::/20", "a documentation"),  # RFC 9637
        ("fc00::/7", "a private"),  # RFC 4193; AWS's metadata are in it
        ("fe80::/10", "a link-local"),
        ("fec0::/10", "a private"),  # RFC 3879, once site-local
        ("ff00::/8", "a multicast"),
    )
)
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052 section 2.1: the well-known prefix. That of one's own network cannot be known."""

# At its end the C library reads what no standard has as an address: "2130706433", "0x7f.1".
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


class AddressRefused(DialError):
    """relayd does not dial there, ``ADDRESS_REFUSED``. The message says why, and what allows it.

    It does not say the address: a client may read it, and could map the network with it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(DialErrorKind.ADDRESS_REFUSED, message)


def check_resolved(
    host: str, addresses: Sequence[Address], *, allow_private: bool, is_learned: bool = False
) -> tuple[Address, ...]:
    """Those of a name's ``addresses`` that may be dialled, in their order, at least one.

    The caller connects to what is returned and resolves nothing again: the name may have another
    address a moment later.

    Args:
        host: The name, in lower case.
        addresses: What it resolved to, at least one.
        allow_private: Let all of them pass.
        is_learned: The name came from a peer, so that ``localhost`` is not the operator's word.

    Raises:
        AddressRefused: None of them may.
    """
    if allow_private or (host == LOCALHOST and not is_learned):
        return tuple(addresses)
    kinds = [special_kind(address.sockaddr[0]) for address in addresses]
    allowed = [address for address, kind in zip(addresses, kinds, strict=True) if kind is None]
    if not allowed:
        raise _refusal(host, kinds[0] or "no")
    return tuple(allowed)


def check_learned(host: str, *, allow_private: bool) -> None:
    """Check a host that a peer handed out, before anything is done with it.

    A name passes: dialling it with ``is_learned`` judges what it resolves to, also where it is
    reached through a proxy (:func:`relayd.transport.egress.connect`).

    Args:
        host: An address, without brackets, or a name; nothing about it is trusted.
        allow_private: The account's setting.

    Raises:
        AddressRefused: It is ``localhost``, an address that is not public, or a number that is no
            address in dotted form, however it is spelled.
    """
    if allow_private:
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        last_label = host.lower().rstrip(".").rpartition(".")[2]
        if last_label == LOCALHOST:  # RFC 6761 section 6.3
            kind: str | None = "a loopback"
        else:
            kind = "no proper" if _NUMERIC_LABEL.fullmatch(last_label) else None
    else:
        kind = special_kind(host)
    if kind is not None:
        raise _refusal("a host that the upstream named", kind)


@functools.lru_cache(_CACHED_ADDRESSES)
def special_kind(address: str) -> str | None:
    """Why ``address`` is not public, such as "a loopback"; ``None`` where it is.

    Addresses that carry another one are what they carry: IPv4-mapped, 6to4, NAT64 and Teredo, of
    which either address counts. What is no address is not public.
    """
    try:
        return _kind_of(ipaddress.ip_address(address))
    except ValueError:
        return "no public"


def _kind_of(address: IPAddress) -> str | None:
    if isinstance(address, ipaddress.IPv4Address):
        return next((word for network, word in _SPECIAL_V4 if address in network), None)
    carried = _carried(address)
    if carried:
        return next((kind for each in carried if (kind := _kind_of(each)) is not None), None)
    special = next((word for network, word in _SPECIAL_V6 if address in network), None)
    return special or (None if address in _GLOBAL_V6 else "a reserved")


def _carried(address: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 one that is a way to reach them."""
    if address.ipv4_mapped is not None:  # RFC 4291 section 2.5.5.2
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:  # RFC 3056
        return (address.sixtofour,)
    if address.teredo is not None:  # RFC 4380: the server and the client
        return address.teredo
    if address in _NAT64:
        return (ipaddress.IPv4Address(address.packed[12:]),)
    return ()


def _refusal(host: str, kind: str) -> AddressRefused:
    return AddressRefused(
        f"{host} leads to {kind} address; if that is meant, set allow_private = true for its"
        " account"
    )
