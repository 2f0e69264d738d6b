"""Who may ask the admin listener anything, decided before anything else is looked at.

On a unix socket file modes rule. Over TCP every request carries the admin token and names the
listener by an address that is known to be its own, so that no page in a browser can lead one here
under another name (DNS rebinding); and nothing that a web page sent is answered on either.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import Final

from relayd.config.address import TcpAddress, parse_address
from relayd.config.checks import is_wildcard
from relayd.config.secret import Secret, digest
from relayd.config.url import parse_authority
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
"""What names this host to itself, on any port: one may be forwarded by ssh."""

HTTP_PORT: Final = 80
"""The port that a Host header leaves out (RFC 9110 section 4.2.1)."""

_SCHEME: Final = "bearer"
_ORIGIN: Final = Refusal(
    RefusalCode.ORIGIN_NOT_ALLOWED, "The admin listener is not for web pages.", "origin"
)
_HOST: Final = Refusal(
    RefusalCode.ADDRESS_NOT_ALLOWED,
    "Name the admin listener by the address that server.admin has, or by a loopback one.",
    "host",
)
_TOKEN: Final = Refusal(
    RefusalCode.INVALID_API_KEY,
    "Send Authorization: Bearer with the admin token (server.admin_token).",
    headers=(("WWW-Authenticate", "Bearer"),),
)


def own_addresses(*addresses: str) -> tuple[TcpAddress, ...]:
    """Those of ``addresses`` that name one listener: no unix socket, no wildcard, no free port.

    Args:
        addresses: What the configuration calls the listener, and where it is bound.
    """
    return tuple(each for text in addresses if (each := _named(text)) is not None)


def refuse_access(
    head: Head, token: Secret | None, *, tcp: bool, own: Collection[TcpAddress] = ()
) -> Refusal | None:
    """Why ``head`` is not answered; ``None`` where it is.

    Args:
        head: The request.
        token: The admin token. Over TCP nobody is let in without one.
        tcp: Whether it came over TCP, not over a unix socket.
        own: What the listener may be called beside :data:`LOOPBACK`, from :func:`own_addresses`.
    """
    if head.get("origin") is not None:
        return _ORIGIN
    if not tcp:
        return None
    if not _is_own(head.get("host") or "", own):
        return _HOST
    return None if _is_authorized(head, token) else _TOKEN


def _named(text: str) -> TcpAddress | None:
    try:
        address = parse_address(text)
    except ValueError:  # a socket that was passed is called by a word
        return None
    if not isinstance(address, TcpAddress) or is_wildcard(address) or address.port == 0:
        return None
    return address


def _is_own(host: str, own: Collection[TcpAddress]) -> bool:
    """Whether a Host header names this listener. Case and the spelling of IPv6 do not count."""
    try:
        name, port, _ = parse_authority(host)
    except ValueError:
        return False
    return name in LOOPBACK or TcpAddress(name, HTTP_PORT if port is None else port) in own


def _is_authorized(head: Head, token: Secret | None) -> bool:
    """Whether the token was presented. The time this takes tells nothing about it."""
    scheme, _, presented = (head.get("authorization") or "").partition(" ")
    if token is None or scheme.lower() != _SCHEME:
        return False
    return hmac.compare_digest(digest(presented), digest(token.reveal()))
