"""What relayd sends to a client of the Centrifuge protocol: replies, pushes and pings, as JSON.

Source: https://centrifugal.dev/docs/transports/client_protocol, and what the published clients for
Python (0.7) and JavaScript (5.8) do. Several of these may stand in one text message, each on a line
of its own. One without an ``id`` and without a ``push`` is a ping to them, so that a reply always
has an ``id``. A channel is a topic; what is published in it is an event's envelope.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from relayd.dialect.hub_envelope import envelope
from relayd.dialect.hub_event import Publication

PING: Final = b"{}"
"""A ping of the server's; the client's answer is the same."""

RESUBSCRIBE: Final = 2500
"""The least code of an ``unsubscribe`` push after which a client subscribes again."""

Json: TypeAlias = "str | int | bool | msgspec.Raw"

_encode: Final = msgspec.json.encode


class ReplyError(enum.IntEnum):
    """Why a command failed. The numbers are the protocol's."""

    INTERNAL = 100
    UNAUTHORIZED = 101
    UNKNOWN_CHANNEL = 102
    PERMISSION_DENIED = 103
    METHOD_NOT_FOUND = 104
    ALREADY_SUBSCRIBED = 105
    LIMIT_EXCEEDED = 106
    BAD_REQUEST = 107
    NOT_AVAILABLE = 108
    TOKEN_EXPIRED = 109
    EXPIRED = 110
    TOO_MANY_REQUESTS = 111
    UNRECOVERABLE_POSITION = 112

    @property
    def text(self) -> str:
        """What stands beside the number."""
        return self.name.lower().replace("_", " ")

    @property
    def is_temporary(self) -> bool:
        """Whether the client tries again. It ends a connection or subscription otherwise."""
        return self in (ReplyError.INTERNAL, ReplyError.TOO_MANY_REQUESTS)


def encode_centrifuge(publication: Publication) -> bytes:
    """The push of one event, to those who follow its topic."""
    # The name of a topic has no character that JSON escapes.
    head = f'{{"push":{{"channel":"{publication.topic}","pub":'
    return b"%b%b}}" % (head.encode(), _publication(publication))


def encode_unsubscribe_push(channel: str, *, code: int, reason: str) -> bytes:
    """relayd has ended a subscription.

    Args:
        code: From :data:`RESUBSCRIBE` on the client subscribes again, below it does not.
    """
    return _encode({"push": {"channel": channel, "unsubscribe": {"code": code, "reason": reason}}})


def encode_error(command_id: int, error: ReplyError) -> bytes:
    """The reply to a command that failed."""
    failure: Mapping[str, Json] = {"code": int(error), "message": error.text}
    if error.is_temporary:
        failure = {**failure, "temporary": True}
    return _reply(command_id, "error", failure)


def encode_connected(
    command_id: int, *, client: str, version: str, ping_s: int, ttl_s: int | None
) -> bytes:
    """The reply to ``connect``.

    Args:
        client: What relayd calls this connection.
        version: relayd's.
        ping_s: How often :data:`PING` is sent; the client answers each.
        ttl_s: In how many seconds it has to send another token, at least 1; ``None``: never.
    """
    result: dict[str, Json] = {"client": client, "version": version, "ping": ping_s, "pong": True}
    return _reply(command_id, "connect", {**result, **_expiry(ttl_s)})


def encode_subscribed(
    command_id: int,
    *,
    epoch: str,
    offset: int,
    recoverable: bool,
    positioned: bool,
    recovered: bool | None,
    publications: Sequence[Publication] = (),
) -> bytes:
    """The reply to ``subscribe``.

    Args:
        epoch: What offsets are counted in.
        offset: Where the topic stands; of a subscription that is recovered, the offset that the
            client named, from which each publication takes it on.
        recoverable: Whether it may be resumed, as the client asked.
        positioned: Whether its place is kept, as the client asked.
        recovered: Whether ``publications`` are all that the client missed; ``None`` where it did
            not ask.
        publications: From the one after ``offset`` on, without a gap. None where it is not
            recovered: clients would take them for all that they missed.
    """
    assert recovered or not publications, "events behind a gap"
    result: dict[str, Json] = {"epoch": epoch, "offset": offset}
    if recoverable:
        result["recoverable"] = True
    if positioned or recoverable:
        result["positioned"] = True
    if recovered is not None:
        result["was_recovering"] = True
        result["recovered"] = recovered
    if publications:
        result["publications"] = _listed(publications)
    return _reply(command_id, "subscribe", result)


def encode_done(command_id: int, method: str) -> bytes:
    """The reply to a command that is answered by nothing: ``unsubscribe`` and ``publish``."""
    return _reply(command_id, method, {})


def encode_presence_stats(command_id: int, *, clients: int) -> bytes:
    """The reply to ``presence_stats``: how many follow the channel. Users are not counted."""
    return _reply(command_id, "presence_stats", {"num_clients": clients})


def encode_history(
    command_id: int, *, epoch: str, offset: int, publications: Sequence[Publication]
) -> bytes:
    """The reply to ``history``: where the topic stands, and what was asked for of it."""
    place: dict[str, Json] = {"epoch": epoch, "offset": offset}
    return _reply(command_id, "history", {**place, "publications": _listed(publications)})


def encode_refreshed(command_id: int, *, client: str, version: str, ttl_s: int | None) -> bytes:
    """The reply to ``refresh``; as :func:`encode_connected`."""
    result: dict[str, Json] = {"client": client, "version": version}
    return _reply(command_id, "refresh", {**result, **_expiry(ttl_s)})


def _expiry(ttl_s: int | None) -> dict[str, Json]:
    if ttl_s is None:
        return {}
    return {"expires": True, "ttl": max(1, ttl_s)}  # a time of 0 would be asked about at once


def _publication(publication: Publication) -> bytes:
    return b'{"data":%b,"offset":%d}' % (envelope(publication), publication.offset)


def _listed(publications: Iterable[Publication]) -> msgspec.Raw:
    return msgspec.Raw(b"[%b]" % b",".join(map(_publication, publications)))


def _reply(command_id: int, method: str, result: Mapping[str, Json]) -> bytes:
    assert command_id > 0, "a reply without an id would be a ping"
    return _encode({"id": command_id, method: result})
