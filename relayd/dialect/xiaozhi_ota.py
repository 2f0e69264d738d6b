"""What a device is told when it asks for its settings, rewritten so that it comes to relayd.

A server's reply names its WebSocket and a token for it. The device is given relayd's instead, and
keeps them in flash; the server's token stays here. ``mqtt`` is taken out beside ``websocket``: the
firmware prefers it wherever both stand. Every other member goes on byte for byte, but for the
addresses of firmware and of a place for pictures that must not be named
(:mod:`relayd.dialect.xiaozhi_addresses`). Keys are known in any letters, as devices know them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs
import msgspec

from relayd.dialect.responses_members import Members, edited
from relayd.dialect.xiaozhi_addresses import (
    Refuses,
    edited_at,
    refuses_none,
    spelled,
    url_refused,
    vision_refused,
)
from relayd.dialect.xiaozhi_frames import HEADER_BYTES
from relayd.dialect.xiaozhi_messages import Unreadable, read_object, word_in

BODY_MAX_BYTES: Final = 65_536
"""Of a device's question and of a server's answer."""

TOKEN_MAX_CHARS: Final = 3072
"""Far above a signed token; what is kept with it has to fit beside it in the store."""

URL_MAX_CHARS: Final = 2048
REQUEST_ERROR: Final = b'{"success":false,"message":"request error."}'
"""What a device is answered that does not say who it is, with status 200, as servers do."""

_TOKEN: Final = re.compile(r"[\x20-\x7e]*")
_encode: Final = msgspec.json.encode
_decode_int: Final = msgspec.json.Decoder(int).decode


class BadReply(ValueError):
    """A server's reply that cannot be rewritten: it must not reach a device as it is."""


@attrs.frozen(kw_only=True)
class Offer:
    """What devices are given in place of a server's own.

    Attributes:
        url: relayd's WebSocket.
        token: relayd's, for this device.
        version: The framing to speak; ``None`` leaves what the server says.
        keep_mqtt: Whether its gateway is left in.
    """

    url: str
    token: str = attrs.field(repr=False)
    version: int | None = None
    keep_mqtt: bool = False


@attrs.frozen(kw_only=True)
class Rewritten:
    """A reply for a device, and what relayd learned from it.

    Attributes:
        body: For the device.
        offered: Whether it holds relayd's WebSocket. A reply without one tells a device to
            activate itself, or leads it to the gateway.
        url: The server's own WebSocket, unchecked; ``None`` where it names none.
        token: The server's for this device; "" where it wants none.
        version: The framing that the server named; ``None`` for none that is.
        mqtt: Whether the device is told of a gateway.
        activates: Whether it is told to activate itself.
        taken_out: What was, for the log: ``mqtt``, ``firmware.url``, ``mcp.vision``.
    """

    body: bytes = attrs.field(repr=False)
    offered: bool = False
    url: str | None = None
    token: str | None = attrs.field(default=None, repr=False)
    version: int | None = None
    mqtt: bool = False
    activates: bool = False
    taken_out: tuple[str, ...] = ()


def rewrite(body: bytes, offer: Offer, *, refuses: Refuses = refuses_none) -> Rewritten:
    """Rewrite a server's reply, of status 200.

    Args:
        body: As it came.
        offer: What the device gets instead.
        refuses: Whether a host must not be named to a device.

    Raises:
        BadReply: It is longer than :data:`BODY_MAX_BYTES`, is no JSON object, has a member twice
            where it matters, in whatever letters, or a token that no header can carry.
    """
    if len(body) > BODY_MAX_BYTES:
        raise BadReply(f"more than {BODY_MAX_BYTES} bytes")
    try:
        return _rewrite(body, offer, refuses)
    except Unreadable as wrong:
        raise BadReply(str(wrong)) from None


def _rewrite(body: bytes, offer: Offer, refuses: Refuses) -> Rewritten:
    body, taken_out = _without_refused(body, refuses)
    members = read_object(body)
    name, mqtt = spelled(members, "websocket"), spelled(members, "mqtt")
    has_mqtt, activates = _is_object(members, mqtt), spelled(members, "activation") is not None
    if name is None or not _is_object(members, name):
        return Rewritten(body=body, mqtt=has_mqtt, activates=activates, taken_out=tuple(taken_out))
    raw = bytes(members.values[name])
    websocket = read_object(raw)
    url, token = spelled(websocket, "url") or "url", spelled(websocket, "token") or "token"
    version = spelled(websocket, "version") or "version"
    changes: dict[str, bytes | None] = {url: _encode(offer.url), token: _encode(offer.token)}
    if offer.version is not None:
        changes[version] = b"%d" % offer.version
    outer: dict[str, bytes | None] = {name: edited(raw, websocket.spans, changes)}
    if mqtt is not None and not offer.keep_mqtt:
        outer[mqtt] = None
        taken_out.append("mqtt")
    return Rewritten(
        body=edited(body, members.spans, outer),
        offered=True,
        url=word_in(websocket, url, URL_MAX_CHARS),
        token=_token_in(websocket, token),
        version=_version_in(websocket, version),
        mqtt=has_mqtt and offer.keep_mqtt,
        activates=activates,
        taken_out=tuple(taken_out),
    )


def _without_refused(body: bytes, refuses: Refuses) -> tuple[bytes, list[str]]:
    """``body`` without addresses that must not be named, and what was taken out of it."""
    taken_out: list[str] = []
    ways: tuple[tuple[tuple[str, str], Callable[[bytes, Refuses], bool]], ...] = (
        (("firmware", "url"), url_refused),
        (("mcp", "vision"), vision_refused),
    )
    for path, refused in ways:
        members = read_object(body)
        if not _is_object(members, spelled(members, path[0])):
            continue
        before = body
        body = edited_at(body, path, partial(_unless, refused, refuses))
        if body is not before:
            taken_out.append(".".join(path))
    return body, taken_out


def _unless(
    refused: Callable[[bytes, Refuses], bool], refuses: Refuses, raw: bytes
) -> bytes | None:
    return None if refused(raw, refuses) else raw


def _is_object(members: Members, name: str | None) -> bool:
    return name is not None and bytes(members.values[name]).startswith(b"{")


def _token_in(websocket: Members, name: str) -> str:
    raw = websocket.values.get(name)
    if raw is None or bytes(raw) == b"null":
        return ""
    token = word_in(websocket, name, TOKEN_MAX_CHARS)
    if token is None or not _TOKEN.fullmatch(token):
        raise BadReply("a token that no header can carry")
    return token


def _version_in(websocket: Members, name: str) -> int | None:
    try:
        version = _decode_int(websocket.values.get(name, b""))
    except msgspec.DecodeError:
        return None
    return version if version in HEADER_BYTES else None


def websocket_url(public_url: str, path: str = "/xiaozhi/v1/") -> str:
    """Where devices open their sockets: ``public_url`` with a WebSocket's scheme, and ``path``."""
    scheme, _, rest = public_url.partition("://")
    scheme = {"http": "ws", "https": "wss"}.get(scheme, scheme)
    return f"{scheme}://{rest.rstrip('/')}{path}"
