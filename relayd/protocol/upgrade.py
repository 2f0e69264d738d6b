"""The opening handshake with a client: what an upgrade must look like, and the answers to it.

RFC 6455 section 4.2, taken at its word. Nothing here does I/O: a request becomes a value or a
refusal, and an answer is bytes that are ready to send.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

import attrs

from relayd.core.redact import redact
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.fields import encode_head, is_token
from relayd.protocol.head import Head, HeadError, malformed

KEY_SUBPROTOCOL: Final = "openai-insecure-api-key."
"""How a browser, which cannot set headers, presents its key."""

PRIVATE_SUBPROTOCOLS: Final = (
    KEY_SUBPROTOCOL,
    "openai-organization.",
    "openai-project.",
    "xai-client-secret.",
)
"""Beginnings of offered items that carry credentials or identity: never echoed or passed on."""

SUBPROTOCOLS_MAX: Final = 32
"""Items in one offer; clients send up to five."""

_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")  # base64 of exactly 16 bytes


@attrs.frozen
class UpgradeRequest:
    """A request for a WebSocket that keeps RFC 6455's rules.

    Attributes:
        head: The request it was read from.
        key: ``Sec-WebSocket-Key``, as sent.
        subprotocols: The offer in order. It may hold a key, so it is in no repr.
        origin: The ``Origin`` header; browsers send it, other clients rarely do.
        host: The ``Host`` header.
    """

    head: Head
    key: str = attrs.field(repr=False)
    subprotocols: tuple[str, ...] = attrs.field(repr=False)
    origin: str | None
    host: str


def check_upgrade(head: Head) -> UpgradeRequest:
    """Take ``head`` as a WebSocket upgrade.

    Raises:
        HeadError: 405 for another method than GET, 426 where no WebSocket or another version of
            it is asked for, 400 for everything else that RFC 6455 section 4.2.1 forbids.
    """
    if head.method != "GET":
        message = "A WebSocket is opened with GET."
        raise _refuse(RefusalCode.METHOD_NOT_ALLOWED, message, headers=(("Allow", "GET"),))
    if not (head.names_token("upgrade", "websocket") and head.names_token("connection", "upgrade")):
        message = "This address speaks WebSocket: send Upgrade: websocket and Connection: Upgrade."
        upgrade = (("Upgrade", "websocket"),)
        raise _refuse(RefusalCode.UPGRADE_REQUIRED, message, "upgrade", headers=upgrade)
    if head.get("sec-websocket-version") != "13":
        message = "The WebSocket version must be 13."
        version = (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket"))
        name = "sec-websocket-version"
        raise _refuse(RefusalCode.WEBSOCKET_VERSION, message, name, headers=version)
    key = head.get("sec-websocket-key")
    if key is None or _KEY.fullmatch(key) is None:
        raise malformed("Sec-WebSocket-Key must be base64 of 16 bytes.", "sec-websocket-key")
    if head.early_bytes:
        message = "Bytes followed the request; wait for the 101 before sending frames."
        raise _refuse(RefusalCode.EARLY_BYTES, message)
    subprotocols = head.get_list("sec-websocket-protocol")
    _check_subprotocols(subprotocols)
    return UpgradeRequest(head, key, subprotocols, head.get("origin"), head.get("host") or "")


def is_private(subprotocol: str) -> bool:
    """Whether an offered item carries a credential or identity, or merely looks as if it did."""
    return subprotocol.lower().startswith(PRIVATE_SUBPROTOCOLS) or (
        redact(subprotocol) != subprotocol
    )


def public_subprotocols(offered: Iterable[str]) -> tuple[str, ...]:
    """The offered items that may be passed on or echoed, in order."""
    return tuple(item for item in offered if not is_private(item))


def echo_subprotocol(offered: Iterable[str]) -> str | None:
    """Which offered item a 101 of relayd's own choice names.

    ``realtime`` where it is offered, else the first item that is not private; browsers and ``ws``
    give up when they offered and nothing is chosen. ``None`` where there is none to choose.
    """
    public = public_subprotocols(offered)
    if "realtime" in public:
        return "realtime"
    return public[0] if public else None


def accept_token(key: str) -> str:
    """``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key`` (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def response_101(key: str, subprotocol: str | None) -> bytes:
    """The accepting response. Extensions are declined by naming none.

    Raises:
        ValueError: ``subprotocol`` is no token.
    """
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_token(key)),
    ]
    if subprotocol is not None:
        if not is_token(subprotocol):
            raise ValueError("a subprotocol must be a token")
        headers.append(("Sec-WebSocket-Protocol", subprotocol))
    return encode_head("HTTP/1.1 101 Switching Protocols", headers)


def refusal_response(
    refusal: Refusal, *, head_only: bool = False, request_id: str | None = None
) -> bytes:
    """The complete response to a request that is refused; the connection ends with it.

    Args:
        refusal: Says the status; with status 0 nobody is left and the response is empty.
        head_only: The request was a HEAD: the body's length is told, the body is left out.
        request_id: Sent as ``x-request-id``.
    """
    if not refusal.status:
        return b""
    body = refusal.body()
    # RFC 9110 section 7.8: who sends Upgrade names it in Connection.
    upgrade = any(name == "Upgrade" for name, _ in refusal.headers)
    headers = [
        ("Connection", "Upgrade, close" if upgrade else "close"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        *refusal.headers,
    ]
    if refusal.retry_after_s is not None:
        headers.append(("Retry-After", str(max(0, math.ceil(refusal.retry_after_s)))))
    if request_id is not None:
        headers.append(("x-request-id", request_id))
    phrase = HTTPStatus(refusal.status).phrase
    head = encode_head(f"HTTP/1.1 {refusal.status} {phrase}", headers)
    return head if head_only else head + body


def _check_subprotocols(offered: tuple[str, ...]) -> None:
    name = "sec-websocket-protocol"
    if len(offered) > SUBPROTOCOLS_MAX:
        raise malformed(f"More than {SUBPROTOCOLS_MAX} subprotocols are offered.", name)
    if not all(map(is_token, offered)):
        raise malformed("Every offered subprotocol must be a token.", name)
    if len(set(offered)) < len(offered):  # RFC 6455 section 4.1, item 10
        raise malformed("A subprotocol is offered twice.", name)


def _refuse(
    code: RefusalCode,
    message: str,
    param: str | None = None,
    *,
    headers: tuple[tuple[str, str], ...] = (),
) -> HeadError:
    return HeadError(Refusal(code, message, param, headers=headers))
