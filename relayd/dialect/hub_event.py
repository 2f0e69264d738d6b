"""What the hub carries: a publication, its place in a topic's history, and how places are written.

A topic is numbered by itself, from 1 on, so that a client of one topic sees a gap; ``seq`` numbers
everything, so that a client of many can say with one number how far it came.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

TOKEN_STREAM: Final = "token_stream"
"""The one event whose parts may be joined on their way to a client that reads slowly."""

RESYNC_REQUIRED: Final = "resync_required"
"""Told to a client that missed something: it is to load its state anew."""

_POSITION: Final = re.compile(r"([0-9a-f]{16})([:@])(0|[1-9][0-9]{0,18})")


@attrs.frozen(kw_only=True)
class Publication:
    """One event in one topic.

    Attributes:
        tenant: Whose topic it is; empty for ``ops``.
        topic: Its name, such as ``session:{id}``.
        epoch: What the numbers below count in: 16 hex digits. Numbers of another epoch say nothing.
        offset: Its number in the topic, from 1 on, each one more than the one before.
        seq: Its number among everything published. An event put into several topics has one.
        ts: When it was published, in seconds since the epoch of Unix.
        event: Its name, such as ``token_stream``.
        data: A JSON value, checked.
        session_id: The session it is about, if it is about one.
        node_id: The node of a workflow, likewise.
        droppable: A slow client may be spared it.
        stream: What a ``token_stream`` belongs to, node and agent: such ones may be joined.
    """

    tenant: str
    topic: str
    epoch: str
    offset: int
    seq: int
    ts: float
    event: str
    data: bytes = attrs.field(repr=False)
    session_id: str | None = None
    node_id: str | None = None
    droppable: bool = False
    stream: tuple[str, str] | None = None

    @property
    def id(self) -> str:
        """Its place in its topic, as clients say it."""
        return f"{self.epoch}:{self.offset}"

    @property
    def cursor(self) -> str:
        """Its place among everything."""
        return f"{self.epoch}@{self.seq}"


@attrs.frozen
class Position:
    """How far a client came.

    Attributes:
        epoch: As in :class:`Publication`.
        number: The last it saw: an ``offset``, or a ``seq``.
        overall: Whether it is a ``seq``.
    """

    epoch: str
    number: int
    overall: bool

    def __str__(self) -> str:
        return f"{self.epoch}{'@' if self.overall else ':'}{self.number}"


def read_position(text: str) -> Position | None:
    """The position that ``text`` says; ``None`` for what is none."""
    match = _POSITION.fullmatch(text)
    if match is None:
        return None
    return Position(match[1], int(match[3]), match[2] == "@")
