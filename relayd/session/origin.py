"""Which web pages may open a WebSocket here: browsers name theirs, and no page can lie about it."""

from __future__ import annotations

from typing import Final

from relayd.core.refusals import Refusal, RefusalCode

_DEFAULT_PORTS: Final = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}


def check_origin(origin: str | None, host: str, allowed: tuple[str, ...]) -> Refusal | None:
    """Whether a page from ``origin`` may open a WebSocket here; only browsers send one.

    Args:
        origin: The ``Origin`` header; ``None`` passes, since the key still has to be right.
        host: The ``Host`` header.
        allowed: ``server.allowed_origins``. Empty: the origin must be at ``host`` itself, its port
            included, so that no page of another program on the same machine gets in.
    """
    if origin is None or "*" in allowed or origin.lower() in allowed:
        return None
    if not allowed and _is_same_host(origin.lower(), host.lower()):
        return None
    message = "Pages of this origin may not connect. Add it to server.allowed_origins."
    return Refusal(RefusalCode.ORIGIN_NOT_ALLOWED, message, "origin")


def _is_same_host(origin: str, host: str) -> bool:
    scheme, _, authority = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None or not authority:
        return False
    return authority.removesuffix(port) == host.removesuffix(port)
