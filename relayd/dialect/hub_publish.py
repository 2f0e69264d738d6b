"""What publishers send, read and checked: one event, or a list of them.

An event is ``{"topic", "event", "data", "session_id"?, "node_id"?, "droppable"?}``; a list stands
in ``{"events": […]}``. Either all of it is right or nothing is published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

import attrs
import msgspec

from relayd.dialect.hub_errors import Mistake, malformed, mistake_in, wrong
from relayd.dialect.hub_event import Publication
from relayd.dialect.hub_streams import stream_of
from relayd.dialect.hub_topics import is_event_name, is_topic
from relayd.protocol.frames import is_utf8

EVENTS_MAX: Final = 100
DATA_MAX_BYTES: Final = 65_536
NAME_MAX_CHARS: Final = 128
"""Of ``session_id`` and ``node_id``."""

DEPTH_MAX: Final = 64
"""Arrays and objects inside each other. What reads an event may know a limit of its own."""

DIGITS_MAX: Final = 1024
"""In a row in one number, likewise: Python reads no integer of more than 4,300."""

MESSAGE: Final = "message"
"""The name of an event that a Centrifuge client publishes without one."""

RESERVED: Final = frozenset({"resync_required", "closed", "stats"})
"""Events that relayd alone tells, wherever they stand: clients act on these without looking at the
topic, and on the end of a stream or a lost place by throwing away what they have."""

RESERVED_PREFIXES: Final = ("account.", "device.", "session.", "turn.", "usage.")
"""Likewise. No name of council's begins so."""

_SESSION: Final = "session:"
_CONTROLS: Final = re.compile(rb"[\x00-\x1f]")
_LONG_NUMBER: Final = re.compile(rb"(?<![0-9])[0-9]{%d}" % (DIGITS_MAX + 1))
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_UNPAIRED: Final = "not JSON: a \\u escape of half a surrogate pair (RFC 8259 section 8.2)"
_LONE_SURROGATE: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*+"  # no backslash before it, or escaped ones
    rb"(?:\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F])",
    re.DOTALL,
)
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    topic: str
    event: str
    data: msgspec.Raw
    session_id: str | None = None
    node_id: str | None = None
    droppable: bool = False


class _Told(msgspec.Struct, forbid_unknown_fields=True):
    """The same without a topic: what a Centrifuge client publishes to a channel."""

    event: str
    data: msgspec.Raw
    session_id: str | None = None
    node_id: str | None = None
    droppable: bool = False


class _Which(msgspec.Struct):
    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    events: msgspec.Raw


# A list's length limit is looked at when the list is there. An array-like struct has only so many
# places, and ends at the first element too many.
_EventList: Final = msgspec.defstruct(
    "_EventList",
    [(f"at_{n}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for n in range(EVENTS_MAX)],
    array_like=True,
    forbid_unknown_fields=True,
)

_decode_which: Final = msgspec.json.Decoder(_Which).decode
_decode_batch: Final = msgspec.json.Decoder(_Batch).decode
_decode_list: Final = msgspec.json.Decoder(_EventList).decode
_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_told: Final = msgspec.json.Decoder(_Told).decode


@attrs.frozen(kw_only=True)
class Draft:
    """An event that is to be published.

    Attributes:
        data: A JSON value without a byte below 0x20, at most :data:`DATA_MAX_BYTES`.
        session_id: Where none is given, that of the topic ``session:{id}``.
        stream: As :class:`~relayd.dialect.hub_event.Publication` has it.
    """

    topic: str
    event: str
    data: bytes = attrs.field(repr=False)
    session_id: str | None = None
    node_id: str | None = None
    droppable: bool = False
    stream: tuple[str, str] | None = None


Drafts: TypeAlias = tuple[Draft, ...]


@attrs.frozen
class Publishing:
    """The body of a request to publish.

    Attributes:
        drafts: In their order; at least one, at most :data:`EVENTS_MAX`.
        is_batch: Whether they came as a list, and the answer is one.
    """

    drafts: Drafts
    is_batch: bool


def parse_publishing(body: bytes) -> Publishing | Mistake:
    """Read the body of a request.

    Args:
        body: Any bytes; its size is bounded by the caller.
    """
    if not is_utf8(body):
        return malformed("the body is not UTF-8")
    try:
        if _decode_which(body).events is msgspec.UNSET:
            draft = _draft(_decode_event(body), at="")
            return draft if isinstance(draft, Mistake) else Publishing((draft,), is_batch=False)
        raws = _events(_decode_batch(body).events)
        return raws if isinstance(raws, Mistake) else _read_batch(raws)
    except msgspec.ValidationError as error:
        return mistake_in(error)
    except msgspec.DecodeError as error:
        return malformed(_UNPAIRED) if _LONE_SURROGATE.search(body) else mistake_in(error)
    except RecursionError:
        return malformed("the body is nested too deeply")


def _events(raw: msgspec.Raw) -> Sequence[msgspec.Raw] | Mistake:
    """The elements of the list, not yet looked into."""
    try:
        listed = _decode_list(raw)
    except msgspec.ValidationError:
        return wrong("events", f"expected a list of 1 to {EVENTS_MAX} events")
    raws = [each for each in msgspec.structs.astuple(listed) if isinstance(each, msgspec.Raw)]
    return raws or wrong("events", f"expected a list of 1 to {EVENTS_MAX} events")


def _read_batch(raws: Sequence[msgspec.Raw]) -> Publishing | Mistake:
    drafts = []
    for index, raw in enumerate(raws):
        at = f"events[{index}]"
        try:
            draft = _draft(_decode_event(raw), at=f"{at}.")
        except msgspec.ValidationError as error:
            return mistake_in(error, at=at)
        if isinstance(draft, Mistake):
            return draft
        drafts.append(draft)
    return Publishing(tuple(drafts), is_batch=True)


def parse_channel_data(channel: str, data: bytes) -> Draft | Mistake:
    """What a Centrifuge client publishes to a channel.

    Data of the shape ``{"event", "data", …}`` is an event as it is published by HTTP, without its
    topic. Any other value is the data of an event named :data:`MESSAGE`.

    Args:
        data: A JSON value, checked.
    """
    try:
        told = _decode_told(data)
    except RecursionError:
        return wrong("data", f"nested deeper than {DEPTH_MAX}")
    except msgspec.ValidationError:
        told = _Told(MESSAGE, msgspec.Raw(data))
    event = _Event(channel, told.event, told.data, told.session_id, told.node_id, told.droppable)
    return _draft(event, at="data.")


def _draft(event: _Event, *, at: str) -> Draft | Mistake:
    if not is_topic(event.topic):
        return wrong(f"{at}topic", "expected the name of a topic, such as workflow:{id}")
    if not is_event_name(event.event):
        return wrong(f"{at}event", "expected 1 to 64 letters, digits and characters of _ . : -")
    if event.event in RESERVED or event.event.startswith(RESERVED_PREFIXES):
        return wrong(f"{at}event", "events of this name are told by relayd alone; use another")
    for name, value in (("session_id", event.session_id), ("node_id", event.node_id)):
        if value is not None and len(value) > NAME_MAX_CHARS:
            return wrong(at + name, f"longer than {NAME_MAX_CHARS} characters")
    data = bytes(event.data)
    if len(data) > DATA_MAX_BYTES:
        return wrong(f"{at}data", f"larger than {DATA_MAX_BYTES} bytes", code="event_too_large")
    if not _is_shallow(data):
        return wrong(f"{at}data", f"nested deeper than {DEPTH_MAX}")
    if _LONG_NUMBER.search(data) and _LONG_NUMBER.search(_STRINGS.sub(b'""', data)):
        return wrong(f"{at}data", f"a number of more than {DIGITS_MAX} digits")
    if _CONTROLS.search(data):  # between values alone: inside a string JSON has them escaped
        data = msgspec.json.format(data, indent=-1)
    session_id = event.session_id
    if session_id is None and event.topic.startswith(_SESSION):
        session_id = event.topic.removeprefix(_SESSION)
    return Draft(
        topic=event.topic,
        event=event.event,
        data=data,
        session_id=session_id,
        node_id=event.node_id,
        droppable=event.droppable,
        stream=stream_of(event.event, data),
    )


def _is_shallow(data: bytes) -> bool:
    """Whether a JSON value is nested no deeper than :data:`DEPTH_MAX`."""
    if data.count(b"[") + data.count(b"{") <= DEPTH_MAX:
        return True
    steps = _STRINGS.sub(b"", data).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) <= DEPTH_MAX


def encode_published(publications: Iterable[Publication], *, is_batch: bool) -> bytes:
    """The answer to a request: where each event stands, in the order of the request."""
    results = [
        {
            "id": each.id,
            "topic": each.topic,
            "epoch": each.epoch,
            "offset": each.offset,
            "seq": each.seq,
        }
        for each in publications
    ]
    return msgspec.json.encode({"results": results} if is_batch else results[0])
