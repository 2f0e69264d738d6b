"""Who may ask the admin listener anything, decided before anything else is looked at.

On a unix socket file modes rule. Over TCP every request carries the admin token and names a host
of its own, so that no page in a browser can lead one here under another name (DNS rebinding); and
nothing that a web page sent is answered on either.
"""

from __future__ import annotations

import hmac
from typing import Final

from relayd.config.secret import Secret, digest
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")

_SCHEME: Final = "bearer"
_ORIGIN: Final = Refusal(
    RefusalCode.ORIGIN_NOT_ALLOWED, "The admin listener is not for web pages.", "origin"
)
_HOST: Final = Refusal(
    RefusalCode.ADDRESS_NOT_ALLOWED,
    "Name the admin listener by its loopback address, with its port.",
    "host",
)
_TOKEN: Final = Refusal(
    RefusalCode.INVALID_API_KEY,
    "Send Authorization: Bearer with the admin token (server.admin_token).",
    headers=(("WWW-Authenticate", "Bearer"),),
)


def refuse_access(head: Head, token: Secret | None, *, tcp: bool) -> Refusal | None:
    """Why ``head`` is not answered; ``None`` where it is.

    Args:
        head: The request.
        token: The admin token. Over TCP nobody is let in without one.
        tcp: Whether it came over TCP, not over a unix socket.
    """
    if head.get("origin") is not None:
        return _ORIGIN
    if not tcp:
        return None
    if (head.get("host") or "").rpartition(":")[0] not in LOOPBACK:
        return _HOST
    return None if _is_authorized(head, token) else _TOKEN


def _is_authorized(head: Head, token: Secret | None) -> bool:
    """Whether the token was presented. The time this takes tells nothing about it."""
    scheme, _, presented = (head.get("authorization") or "").partition(" ")
    if token is None or scheme.lower() != _SCHEME:
        return False
    return hmac.compare_digest(digest(presented), digest(token.reveal()))
