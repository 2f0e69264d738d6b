"""Addresses that a server hands to its devices: where to send pictures, where firmware is.

They come from a peer, and lead a device into the network that it stands in. Whether a host may be
named is the caller's to say; a name passes there, since what it leads to is not known before.

Devices read JSON with cJSON, whose ``cJSON_GetObjectItem`` takes keys without regard to case, so
keys are looked for likewise here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from relayd.dialect.responses_members import Members, edited
from relayd.dialect.xiaozhi_messages import Unreadable, read_object

Refuses: TypeAlias = Callable[[str], bool]
"""Whether a host, without brackets, must not be named to a device."""

URL_MAX_CHARS: Final = 2048

_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})
_VISION: Final = ("params", "capabilities", "vision")
_decode_url: Final = msgspec.json.Decoder(str).decode


def refuses_none(host: str) -> bool:
    """For an account that may name any host."""
    return False


def host_of(url: str) -> str | None:
    """The host that every reader of ``url`` finds in it; ``None`` where they might differ."""
    if len(url) > URL_MAX_CHARS or not url.isascii() or not url.isprintable():
        return None
    if "\\" in url or " " in url:
        return None  # which some read as slashes, or leave out
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme not in _SCHEMES or parts.username is not None or parts.password is not None:
        return None
    return parts.hostname or None


def without_vision(payload: bytes, refuses: Refuses) -> bytes:
    """A JSON-RPC ``initialize`` without the place for pictures, where that may not be named.

    Returns ``payload`` itself where nothing is to be taken out.

    Raises:
        Unreadable: On the way there a member stands twice.
    """
    return edited_at(payload, _VISION, lambda raw: None if vision_refused(raw, refuses) else raw)


def url_refused(raw: bytes, refuses: Refuses) -> bool:
    """Whether a JSON value must not reach a device as an address. An empty one says nothing."""
    try:
        url = _decode_url(raw)
    except msgspec.DecodeError:
        return raw != b"null"
    if not url:
        return False
    host = host_of(url)
    return host is None or refuses(host)


def vision_refused(raw: bytes, refuses: Refuses) -> bool:
    """Whether a JSON value must not reach a device as a place for pictures."""
    try:
        members = read_object(raw)
        name = spelled(members, "url")
    except Unreadable:
        return True
    return name is not None and url_refused(bytes(members.values[name]), refuses)


def spelled(members: Members, name: str) -> str | None:
    """How an object spells a key that a device would take for ``name``; ``None`` without one.

    Raises:
        Unreadable: There are two, of which a device takes the first.
    """
    # C ends a string at its first zero byte, so that what comes behind it is not compared.
    found = [key for key in members.values if key.partition("\0")[0].lower() == name]
    if len(found) > 1:
        raise Unreadable("a member twice, in other letters")
    return found[0] if found else None


def edited_at(
    payload: bytes, path: tuple[str, ...], change: Callable[[bytes], bytes | None]
) -> bytes:
    """``payload`` with the value at ``path`` changed; itself where there is none, or no change.

    Args:
        payload: A JSON object.
        path: Keys in small letters, outermost first; see :func:`spelled`.
        change: From the value's JSON to what stands there then; ``None`` takes it out.

    Raises:
        Unreadable: A member on the way stands twice, or is no object.
    """
    members = read_object(payload)
    name = spelled(members, path[0])
    if name is None:
        return payload
    raw = bytes(members.values[name])
    new = change(raw) if len(path) == 1 else edited_at(raw, path[1:], change)
    return payload if new == raw else edited(payload, members.spans, {name: new})
