"""Streams of a pooled upstream for the tests of :class:`EventFlow`: made, driven, read."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Sequence

import attrs
from hypothesis import strategies as st

from relayd.core.hold import HoldBudget
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.flow import Standing
from relayd.protocol.outcomes import Instead, Notice, Violation
from tests.properties.streams import (
    PING,
    PONG,
    TEXT,
    Message,
    Relayed,
    fragments,
    frame,
    messages_in,
)

HOLD_MAX_BYTES = 1 << 28
MESSAGE_MAX_BYTES = 1 << 24

PROOF = b'{"type":"delta"'
HARMLESS = b'{"harmless":1'
NOTICE, INSTEAD, SILENCE, LAST = b'{"notice":1', b'{"instead":1', b'{"none":1', b'{"last":1'
MARKS = (PROOF, HARMLESS, NOTICE, INSTEAD, SILENCE, LAST, b'{"plain":1')

Verdict = Notice | Violation | Instead | None


@attrs.define
class Judge:
    """Decides by how a message begins, and remembers what it was shown."""

    proof: bytes = PROOF
    name: str = "heard"
    seen: list[bytes] = attrs.field(factory=list)
    heads: list[int] = attrs.field(factory=list)
    oversized: Verdict = None
    oversizes: list[int] = attrs.field(factory=list)

    def message(self, payload: bytes | bytearray, now: float) -> Verdict:
        assert not payload.startswith(self.proof)
        self.seen.append(bytes(payload))
        return self.verdict(bytes(payload))

    def verdict(self, payload: bytes) -> Verdict:
        if payload.startswith(NOTICE):
            return Notice(self.name)
        if payload.startswith(INSTEAD):
            return Instead(b'{"other":%d}' % len(payload))
        if payload.startswith(SILENCE):
            return Instead(None)
        return Instead(None, Notice(self.name)) if payload.startswith(LAST) else None

    def harmless(self, head: bytes | bytearray) -> bool:
        self.heads.append(len(head))
        return head.startswith(HARMLESS)

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | Violation | None:
        self.oversizes.append(len(head))
        assert not isinstance(self.oversized, Instead)
        return self.oversized


def event_flow(reader: Judge | None = None, *, hold_bytes: int = HOLD_MAX_BYTES) -> EventFlow:
    return EventFlow(
        message_max_bytes=MESSAGE_MAX_BYTES,
        hold=HoldBudget(hold_bytes),
        reader=Judge() if reader is None else reader,
    )


def nothing() -> None:
    """What most tests do about a notice."""


def drive_events(
    flow: EventFlow,
    wire: bytes,
    cuts: Iterable[int] = (),
    *,
    noticed: Callable[[], None] = nothing,
) -> Relayed:
    """Feed ``wire``, cut at ``cuts``, as the reactor does; check the rules after every feed.

    ``noticed`` is called for every notice, while the flow stands behind it.
    """
    relayed = Relayed()
    edges = sorted({0, len(wire), *(cut for cut in cuts if 0 < cut < len(wire))})
    for start, stop in itertools.pairwise(edges):
        relayed.rest += wire[start:stop]
        while feed_once(flow, relayed):
            if not isinstance(flow.event, Notice):
                return relayed
            assert flow.between_messages
            noticed()
            flow.event = None
    return relayed


def feed_once(flow: EventFlow, relayed: Relayed) -> bool:
    """One feed of what waits; whether it ended in an event."""
    before = flow.progress
    buffer = bytearray(relayed.rest)
    consumed = flow.feed(memoryview(buffer), buffer, len(buffer), 1.0)
    assert 0 <= consumed <= len(buffer)
    assert flow.progress >= before or isinstance(flow.event, Violation)
    relayed.rest = bytes(buffer[consumed:])
    relayed.sent.add(b"".join(flow.out))
    relayed.pings += flow.pings
    flow.pings.clear()
    assert relayed.sent.standing is flow.standing
    assert flow.standing is not Standing.FRAME
    assert flow.joint == -1
    if flow.event is not None:
        relayed.events.append(flow.event)
    return flow.event is not None


def marks_of(payloads: Iterable[bytes]) -> list[tuple[bytes, int, int]]:
    """What tells payloads apart, in few words: their beginning, length and checksum."""
    return [(payload[:20], len(payload), zlib.crc32(payload)) for payload in payloads]


def payloads_in(wire: bytes) -> list[bytes]:
    """What a client reads; everything relayd sends it here is text."""
    messages: list[Message] = list(messages_in(wire))
    assert all(message.text for message in messages)
    return [message.payload for message in messages]


SIZES = st.sampled_from([0, 2, 5, 125, 126, 300, 4096, 65535, 65536, 70_001, 150_000, 400_000])
SPACES = st.sampled_from([b"", b" ", b"\n\t \r"])


@st.composite
def objects(draw: st.DrawFn, marks: Sequence[bytes] = MARKS, *, size_max: int = 400_000) -> bytes:
    """A JSON object that begins with one of ``marks``, with text of any width in it."""
    fill = ("é𝄞 " * (min(size_max, draw(SIZES)) // 7)).encode()
    return draw(st.sampled_from(marks)) + b',"x":"' + fill + b'"}'


@st.composite
def in_frames(draw: st.DrawFn, payload: bytes) -> bytes:
    """One message in up to four frames, controls between and behind them."""
    edges = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    pieces = [payload[i:j] for i, j in zip([0, *edges], [*edges, len(payload)], strict=True)]
    control = draw(st.sampled_from([b"", frame(PING, b"in"), frame(PONG, b"")]))
    behind = draw(st.sampled_from([b"", frame(PING, b"behind")]))
    return fragments(TEXT, pieces, None, control) + behind


@st.composite
def event_streams(draw: st.DrawFn, payloads: Sequence[bytes]) -> bytes:
    return b"".join(draw(in_frames(payload)) for payload in payloads)
