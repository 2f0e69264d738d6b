"""What a client of the Centrifuge protocol sends: commands, as JSON, one a line.

Source: https://centrifugal.dev/docs/transports/client_protocol. A command is an object with an
``id`` and one member that names the method; an empty one answers a ping. Members that relayd has no
use for are passed over, as the protocol's own server does: clients offer what a server may take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

import attrs
import msgspec

from relayd.dialect.hub_centrifuge import ReplyError
from relayd.dialect.hub_errors import Mistake, malformed
from relayd.dialect.hub_event import Position
from relayd.dialect.hub_topics import is_topic

COMMANDS_MAX: Final = 256
"""Commands in one message; a client that comes back subscribes to all its topics in one."""

TOKEN_MAX_CHARS: Final = 16_384
NAME_MAX_CHARS: Final = 128
"""Of what a client calls its software and its version."""

_ID_MAX: Final = 2**32 - 1
_OFFSET_MAX: Final = 2**63 - 1
_REJECT_UNRECOVERED: Final = 2
"""In ``flag``: answer an error instead of ``recovered: false``."""

_Id: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=_ID_MAX)]
_Offset: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=_OFFSET_MAX)]
_Token: TypeAlias = Annotated[str, msgspec.Meta(max_length=TOKEN_MAX_CHARS)]
_Word: TypeAlias = Annotated[str, msgspec.Meta(max_length=NAME_MAX_CHARS)]
_Part: TypeAlias = msgspec.Raw | msgspec.UnsetType


class _Command(msgspec.Struct):
    id: _Id = 0
    connect: _Part = msgspec.UNSET
    subscribe: _Part = msgspec.UNSET
    unsubscribe: _Part = msgspec.UNSET
    publish: _Part = msgspec.UNSET
    presence: _Part = msgspec.UNSET
    presence_stats: _Part = msgspec.UNSET
    history: _Part = msgspec.UNSET
    refresh: _Part = msgspec.UNSET
    sub_refresh: _Part = msgspec.UNSET
    rpc: _Part = msgspec.UNSET
    send: _Part = msgspec.UNSET


class _Connect(msgspec.Struct):
    token: _Token = ""
    name: _Word = ""
    version: _Word = ""


class _Subscribe(msgspec.Struct):
    channel: str
    recover: bool = False
    epoch: str = ""
    offset: _Offset = 0
    recoverable: bool = False
    positioned: bool = False
    flag: int = 0
    type: int = 0


class _Channel(msgspec.Struct):
    channel: str


class _Publish(msgspec.Struct):
    channel: str
    data: msgspec.Raw


class _Since(msgspec.Struct):
    offset: _Offset = 0
    epoch: str = ""


class _History(msgspec.Struct):
    channel: str
    limit: int = 0
    since: _Since | None = None
    reverse: bool = False


class _Refresh(msgspec.Struct):
    token: _Token = ""


_decode_command: Final = msgspec.json.Decoder(_Command).decode
_decode_connect: Final = msgspec.json.Decoder(_Connect).decode
_decode_subscribe: Final = msgspec.json.Decoder(_Subscribe).decode
_decode_channel: Final = msgspec.json.Decoder(_Channel).decode
_decode_publish: Final = msgspec.json.Decoder(_Publish).decode
_decode_history: Final = msgspec.json.Decoder(_History).decode
_decode_refresh: Final = msgspec.json.Decoder(_Refresh).decode


@attrs.frozen
class Pong:
    """The answer to a ping."""


@attrs.frozen
class Connect:
    """The first command.

    Attributes:
        token: A JWT or one of relayd's keys; empty where there is none.
        name: Of the client's software, as it says.
        version: Likewise.
    """

    id: int
    token: str = attrs.field(default="", repr=False)
    name: str = ""
    version: str = ""


@attrs.frozen(kw_only=True)
class Subscribe:
    """Follow a channel.

    Attributes:
        channel: The name of a topic.
        since: How far the client came, where it asks for what it missed.
        recoverable: Whether it wants to be able to ask so later. One that asks now does: told
            otherwise, a client forgets its place.
        positioned: Whether it wants to be told when it misses something.
        rejects_unrecovered: Whether it would rather have error 112 than a subscription that missed
            something.
    """

    id: int
    channel: str
    since: Position | None = None
    recoverable: bool = False
    positioned: bool = False
    rejects_unrecovered: bool = False


@attrs.frozen
class Unsubscribe:
    """Follow a channel no longer.

    Attributes:
        channel: Any text. An error would make clients connect anew, so even a channel that cannot
            be is left without one.
    """

    id: int
    channel: str


@attrs.frozen
class Publish:
    """Publish to a channel.

    Attributes:
        data: A JSON value, to be read by :func:`~relayd.dialect.hub_publish.parse_channel_data`.
    """

    id: int
    channel: str
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class PresenceStats:
    """How many follow the channel?"""

    id: int
    channel: str


@attrs.frozen
class History:
    """What was published?

    Attributes:
        limit: How many at most; 0 for none, only where the topic stands; negative for all.
        since: Only what came after it, or with ``reverse`` before it.
        reverse: Newest first.
    """

    id: int
    channel: str
    limit: int
    since: Position | None
    reverse: bool


@attrs.frozen
class Refresh:
    """Another token for the connection."""

    id: int
    token: str = attrs.field(repr=False)


@attrs.frozen
class Declined:
    """A command that is wrong in itself, or asks for what relayd has not."""

    id: int
    error: ReplyError


Command: TypeAlias = (
    Pong
    | Connect
    | Subscribe
    | Unsubscribe
    | Publish
    | PresenceStats
    | History
    | Refresh
    | Declined
)

_OnChannel: Final = (Subscribe, Publish, PresenceStats, History)


def parse_commands(text: bytes) -> tuple[Command, ...] | Mistake:
    """Read one text message of a client.

    Args:
        text: Any UTF-8; its size is bounded by the caller.

    Returns:
        The commands in their order, at least one. A fatal mistake where one cannot be answered:
        it is no JSON object, or asks for something without an ``id``.
    """
    if text == b"{}":
        return (Pong(),)
    if text.count(b"\n") >= COMMANDS_MAX:
        return malformed(f"more than {COMMANDS_MAX} commands in one message")
    commands: list[Command] = []
    for line in text.split(b"\n"):
        if not line.strip():
            continue
        try:
            command = _read(_decode_command(line))
        except msgspec.DecodeError as error:
            return malformed(f"not a command: {error}")
        except RecursionError:
            return malformed("the message is nested too deeply")
        if isinstance(command, Mistake):
            return command
        commands.append(command)
    return tuple(commands) or malformed("an empty message")


def _read(told: _Command) -> Command | Mistake:
    parts = [
        (method, part)
        for method in _METHODS
        if isinstance(part := getattr(told, method), msgspec.Raw)
    ]
    if told.id == 0:
        return malformed(f"{parts[0][0]} without an id") if parts else Pong()
    if len(parts) != 1:
        error = ReplyError.BAD_REQUEST if parts else ReplyError.METHOD_NOT_FOUND
        return Declined(told.id, error)
    method, part = parts[0]
    read = _READERS[method]
    if isinstance(read, ReplyError):
        return Declined(told.id, read)
    try:
        command = read(told.id, part)
    except msgspec.ValidationError:
        return Declined(told.id, ReplyError.BAD_REQUEST)
    if isinstance(command, _OnChannel) and not is_topic(command.channel):
        return Declined(told.id, ReplyError.UNKNOWN_CHANNEL)
    return command


def _connect(id_: int, part: msgspec.Raw) -> Connect:
    told = _decode_connect(part)
    return Connect(id_, told.token, told.name, told.version)


def _subscribe(id_: int, part: msgspec.Raw) -> Subscribe | Declined:
    told = _decode_subscribe(part)
    if told.type != 0:
        return Declined(id_, ReplyError.NOT_AVAILABLE)  # a map, or a shared poll
    return Subscribe(
        id=id_,
        channel=told.channel,
        since=Position(told.epoch, told.offset, overall=False) if told.recover else None,
        recoverable=told.recoverable or told.recover,
        positioned=told.positioned,
        rejects_unrecovered=bool(told.flag & _REJECT_UNRECOVERED),
    )


def _unsubscribe(id_: int, part: msgspec.Raw) -> Unsubscribe:
    return Unsubscribe(id_, _decode_channel(part).channel)


def _publish(id_: int, part: msgspec.Raw) -> Publish:
    told = _decode_publish(part)
    return Publish(id_, told.channel, bytes(told.data))


def _presence_stats(id_: int, part: msgspec.Raw) -> PresenceStats:
    return PresenceStats(id_, _decode_channel(part).channel)


def _history(id_: int, part: msgspec.Raw) -> History:
    told = _decode_history(part)
    since = None
    if told.since is not None:
        since = Position(told.since.epoch, told.since.offset, overall=False)
    return History(id_, told.channel, told.limit, since, told.reverse)


def _refresh(id_: int, part: msgspec.Raw) -> Refresh | Declined:
    token = _decode_refresh(part).token
    return Refresh(id_, token) if token else Declined(id_, ReplyError.BAD_REQUEST)


_READERS: Final[Mapping[str, Callable[[int, msgspec.Raw], Command] | ReplyError]] = {
    "connect": _connect,
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "publish": _publish,
    "presence": ReplyError.NOT_AVAILABLE,
    "presence_stats": _presence_stats,
    "history": _history,
    "refresh": _refresh,
    "sub_refresh": ReplyError.NOT_AVAILABLE,
    "rpc": ReplyError.METHOD_NOT_FOUND,
    "send": ReplyError.METHOD_NOT_FOUND,
}
_METHODS: Final = tuple(_READERS)
