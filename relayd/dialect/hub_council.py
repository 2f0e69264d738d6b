"""The hub's own WebSocket: JSON messages, one a text message, with council's event names.

An event is its envelope, as :mod:`relayd.dialect.hub_envelope` has it. Everything else that relayd
sends has a ``type``, which an envelope has not; everything that a client sends has one too, but
for the heartbeats of older clients. An ``id`` that a client gives, of any kind, stands in the
answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import attrs
import msgspec

from relayd.dialect.hub_envelope import envelope, timestamp
from relayd.dialect.hub_errors import Mistake, malformed, mistake_in, wrong
from relayd.dialect.hub_event import Position, Publication
from relayd.dialect.hub_topics import Selector
from relayd.dialect.hub_wanted import (
    Wanted,
    parse_events,
    parse_places,
    parse_since,
    parse_topics,
)

ID_MAX_BYTES: Final = 256
"""Of a message's ``id``, as JSON."""

TOKEN_MAX_CHARS: Final = 16_384

_HEARTBEATS: Final = frozenset({"ping", "heartbeat"})
_BARE_HEARTBEATS: Final = frozenset({b"ping", b'"ping"', b"heartbeat", b'"heartbeat"'})

Json: TypeAlias = "str | int | bool | msgspec.Raw | Sequence[str] | None"


class _Head(msgspec.Struct):
    """What tells messages apart. The bare heartbeats say it in one of the other two members."""

    type: str | None = None
    event: str | None = None
    cmd: str | None = None
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Subscribe(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    topics: list[str]
    events: list[str] = []
    except_: list[str] = msgspec.field(name="except", default_factory=list)
    since: str | dict[str, str] | None = None
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Unsubscribe(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    topics: list[str]
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Refresh(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    token: str
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_encode: Final = msgspec.json.encode
_decode_head: Final = msgspec.json.Decoder(_Head).decode
_decode_subscribe: Final = msgspec.json.Decoder(_Subscribe).decode
_decode_unsubscribe: Final = msgspec.json.Decoder(_Unsubscribe).decode
_decode_refresh: Final = msgspec.json.Decoder(_Refresh).decode


@attrs.frozen
class Ping:
    """The client asks whether relayd is there."""

    id: bytes | None = None


@attrs.frozen
class Subscribe:
    """Follow more. A topic that is followed already takes the new filter."""

    wanted: Wanted
    id: bytes | None = None


@attrs.frozen
class Unsubscribe:
    """Follow these no longer, each named as it was when it was subscribed."""

    topics: tuple[Selector, ...]
    id: bytes | None = None


@attrs.frozen
class Refresh:
    """Another token, before the one that the client came with expires."""

    token: str = attrs.field(repr=False)
    id: bytes | None = None


Message: TypeAlias = Ping | Subscribe | Unsubscribe | Refresh


def parse_message(text: bytes) -> Message | Mistake:
    """Read one text message of a client.

    Args:
        text: Any UTF-8; its size is bounded by the caller.

    Returns:
        What it asks for, or what is wrong with it. Only a message that is no JSON is fatal: one
        that asks for what relayd has not is answered, and the client stays.
    """
    if text in _BARE_HEARTBEATS:
        return Ping()
    try:
        head = _decode_head(text)
    except msgspec.DecodeError as error:
        return mistake_in(error)
    except RecursionError:
        return malformed("the message is nested too deeply")
    if head.id is msgspec.UNSET:
        return _read(head, text, None)
    id_ = bytes(head.id)
    if len(id_) > ID_MAX_BYTES:
        return wrong("id", f"longer than {ID_MAX_BYTES} bytes")
    return _read(head, text, id_)


def _read(head: _Head, text: bytes, id_: bytes | None) -> Message | Mistake:
    if head.type is None:
        is_heartbeat = head.event in _HEARTBEATS or head.cmd in _HEARTBEATS
        return Ping(id_) if is_heartbeat else _unknown(id_)
    if head.type in _HEARTBEATS:
        return Ping(id_)
    read = _READERS.get(head.type)
    if read is None:
        return _unknown(id_)
    try:
        message = read(text)
    except msgspec.ValidationError as error:
        message = mistake_in(error)
    return attrs.evolve(message, id=id_)


def _unknown(id_: bytes | None) -> Mistake:
    expected = "expected ping, subscribe, unsubscribe or refresh"
    return attrs.evolve(wrong("type", expected, code="unknown_type"), id=id_)


def _subscribe(text: bytes) -> Subscribe | Mistake:
    told = _decode_subscribe(text)
    topics = parse_topics(told.topics)
    if isinstance(topics, Mistake):
        return topics
    chosen = parse_events(told.events, told.except_)
    if isinstance(chosen, Mistake):
        return chosen
    since: Position | Mapping[str, Position] | Mistake = {}
    if isinstance(told.since, str):
        since = parse_since(topics, told.since)
    elif told.since is not None:
        since = parse_places(topics, told.since)
    if isinstance(since, Mistake):
        return since
    return Subscribe(Wanted(topics=topics, filter=chosen, since=since))


def _unsubscribe(text: bytes) -> Unsubscribe | Mistake:
    topics = parse_topics(_decode_unsubscribe(text).topics)
    return topics if isinstance(topics, Mistake) else Unsubscribe(topics)


def _refresh(text: bytes) -> Refresh | Mistake:
    token = _decode_refresh(text).token
    if not 0 < len(token) <= TOKEN_MAX_CHARS:
        return wrong("token", f"expected 1 to {TOKEN_MAX_CHARS} characters")
    return Refresh(token)


_READERS: Final[Mapping[str, Callable[[bytes], Message | Mistake]]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "refresh": _refresh,
}


def encode_council(publication: Publication) -> bytes:
    """One event."""
    return envelope(publication)


def encode_welcome(
    *, client: str, epoch: str, seq: int, topics: Sequence[Selector], recovered: bool | None
) -> bytes:
    """The first message to a client.

    Args:
        client: What relayd calls this connection.
        epoch: What numbers are counted in.
        seq: The number of the last event before those that follow.
        topics: What the client follows by its URL.
        recovered: Whether all that it missed follows; ``None`` where it did not ask.
    """
    names = [selector.text for selector in topics]
    place = {"client": client, "epoch": epoch, "seq": seq}
    return _encode({"type": "welcome", **place, "topics": names, "recovered": recovered})


def encode_subscribed(
    *,
    topics: Sequence[Selector],
    epoch: str,
    seq: int,
    recovered: bool | None,
    request_id: bytes | None,
) -> bytes:
    """The answer to :class:`Subscribe`; what the client missed follows it."""
    names = [selector.text for selector in topics]
    return _message(
        "subscribed",
        request_id,
        {"topics": names, "epoch": epoch, "seq": seq, "recovered": recovered},
    )


def encode_unsubscribed(topics: Sequence[Selector], request_id: bytes | None) -> bytes:
    """The answer to :class:`Unsubscribe`."""
    return _message("unsubscribed", request_id, {"topics": [selector.text for selector in topics]})


def encode_refreshed(expires: float | None, request_id: bytes | None) -> bytes:
    """The answer to :class:`Refresh`.

    Args:
        expires: When the new token does, in seconds since the epoch of Unix; ``None``: never.
    """
    shown = None if expires is None else timestamp(expires)
    return _message("refreshed", request_id, {"expires": shown})


def encode_pong(now: float, request_id: bytes | None) -> bytes:
    """The answer to :class:`Ping`."""
    return _message("pong", request_id, {"ts": timestamp(now)})


def encode_error(mistake: Mistake) -> bytes:
    """The answer to a message that is wrong."""
    error = msgspec.Raw(_encode(mistake.error()))
    return _message("error", mistake.id, {"error": error})


def _message(type_: str, request_id: bytes | None, members: Mapping[str, Json]) -> bytes:
    """An answer, with the ``id`` of what it answers."""
    answered = None if request_id is None else msgspec.Raw(request_id)
    return _encode({"type": type_, **members, "id": answered})
