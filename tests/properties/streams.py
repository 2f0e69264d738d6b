"""Frame streams for the flows' tests: made, chopped up, driven, and read by a second opinion.

:func:`frames_in` is the reference: it knows nothing of chunks, loops over a whole stream once,
and shares no code with ``relayd.protocol``.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
from hypothesis import strategies as st

from relayd.core.hold import HoldBudget
from relayd.protocol.directions import ClientFlow, UpstreamFlow
from relayd.protocol.flow import Standing
from relayd.protocol.outcomes import Action, ClientReader, Event, Notice, UpstreamReader, Waiting

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

HOLD_MAX_BYTES = 1 << 28
MESSAGE_MAX_BYTES = 1 << 22


@attrs.frozen
class Frame:
    opcode: int
    fin: bool
    payload: bytes
    wire: bytes

    @property
    def is_data(self) -> bool:
        return self.opcode < CLOSE


@attrs.frozen
class Message:
    text: bool
    payload: bytes
    wire: bytes


def xor(payload: bytes, mask: bytes) -> bytes:
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(
        len(payload), "big"
    )


def frame(opcode: int, payload: bytes, mask: bytes | None = None, *, fin: bool = True) -> bytes:
    """One frame of the shortest length form; masked where there is a ``mask``."""
    first, bit, size = opcode | 0x80 * fin, 0x80 * (mask is not None), len(payload)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + payload if mask is None else head + mask + xor(payload, mask)


def fragments(
    opcode: int, pieces: Sequence[bytes], mask: bytes | None, between: bytes = b""
) -> bytes:
    """One message in ``pieces``, with the frames of ``between`` after each but the last."""
    wire = bytearray()
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        wire += frame(opcode if number == 0 else CONTINUATION, piece, mask, fin=last)
        wire += b"" if last else between
    return bytes(wire)


def head_at(wire: bytes | bytearray, pos: int) -> tuple[int, int] | None:
    """Start and end of the payload of the frame at ``pos``; ``None`` without a whole header."""
    if len(wire) < pos + 2:
        return None
    size, masked = wire[pos + 1] & 0x7F, wire[pos + 1] >> 7
    width = {126: 2, 127: 8}.get(size, 0)
    start = pos + 2 + width + 4 * masked
    if len(wire) < start:
        return None
    if width:
        size = int.from_bytes(wire[pos + 2 : pos + 2 + width], "big")
    return start, start + size


def frames_in(wire: bytes) -> Iterator[Frame]:
    """The whole frames of a valid stream."""
    pos = 0
    while (place := head_at(wire, pos)) is not None and place[1] <= len(wire):
        start, stop = place
        payload = wire[start:stop]
        if wire[pos + 1] >> 7:
            payload = xor(payload, wire[start - 4 : start])
        yield Frame(wire[pos] & 15, wire[pos] >> 7 == 1, payload, wire[pos:stop])
        pos = stop


def messages_in(wire: bytes) -> Iterator[Message]:
    """The whole messages of a valid stream, without what stood between their fragments."""
    parts: list[Frame] = []
    for part in frames_in(wire):
        if part.is_data:
            parts.append(part)
            if part.fin:
                payload = b"".join(p.payload for p in parts)
                yield Message(parts[0].opcode == TEXT, payload, b"".join(p.wire for p in parts))
                parts = []


@attrs.define
class Place:
    """Where a growing stream of sent bytes stands, by the reference's reading."""

    wire: bytearray = attrs.field(factory=bytearray)
    _pos: int = 0
    _in_message: bool = False

    def add(self, data: bytes) -> None:
        self.wire += data
        while (place := head_at(self.wire, self._pos)) is not None and place[1] <= len(self.wire):
            self._in_message = self.wire[self._pos] >> 7 == 0
            self._pos = place[1]

    @property
    def standing(self) -> Standing:
        if self._pos < len(self.wire):
            return Standing.FRAME
        return Standing.MESSAGE if self._in_message else Standing.BOUNDARY

    @property
    def inside_large(self) -> bool:
        """Whether the stream ends inside a frame of more than 65,535 bytes."""
        place = head_at(self.wire, self._pos)
        return place is not None and place[1] - place[0] > 65535


@attrs.define
class Relayed:
    """What became of a stream."""

    sent: Place = attrs.field(factory=Place)
    pings: list[bytes] = attrs.field(factory=list)
    answers: list[bytes] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    rest: bytes = b""

    @property
    def wire(self) -> bytes:
        return bytes(self.sent.wire)


def client_flow(
    reader: ClientReader | None = None, *, message_max_bytes: int = MESSAGE_MAX_BYTES
) -> ClientFlow:
    hold = HoldBudget(HOLD_MAX_BYTES)
    return ClientFlow(message_max_bytes=message_max_bytes, hold=hold, reader=reader)


def upstream_flow(
    reader: UpstreamReader | None = None, *, message_max_bytes: int = MESSAGE_MAX_BYTES
) -> UpstreamFlow:
    hold = HoldBudget(HOLD_MAX_BYTES)
    return UpstreamFlow(message_max_bytes=message_max_bytes, hold=hold, reader=reader)


def drive(
    flow: ClientFlow | UpstreamFlow,
    wire: bytes,
    cuts: Iterable[int] = (),
    *,
    decide: Callable[[Waiting], Action | None] = lambda waiting: None,
    relayed: Relayed | None = None,
    now: float = 1.0,
) -> Relayed:
    """Feed ``wire``, cut at ``cuts``, as the reactor does; check the rules after every feed."""
    relayed = Relayed() if relayed is None else relayed
    edges = sorted({0, len(wire), *(cut for cut in cuts if 0 < cut < len(wire))})
    for start, stop in itertools.pairwise(edges):
        relayed.rest += wire[start:stop]
        while feed_once(flow, relayed, now):
            match flow.event:
                case Notice():
                    flow.event = None
                case Waiting():
                    assert isinstance(flow, ClientFlow)
                    collect(flow, relayed, flow.resume(decide(flow.event)))
                case None:
                    break
            if flow.event is not None:
                return relayed
    return relayed


def feed_once(flow: ClientFlow | UpstreamFlow, relayed: Relayed, now: float) -> bool:
    """One feed of what waits; whether it ended in an event."""
    before = relayed.sent.standing
    buffer = bytearray(relayed.rest)
    consumed = flow.feed(memoryview(buffer), buffer, len(buffer), now)
    assert 0 <= consumed <= len(buffer)
    relayed.rest = bytes(buffer[consumed:])
    collect(flow, relayed, flow.out)
    if flow.event is not None:
        relayed.events.append(flow.event)
    if before is Standing.FRAME and relayed.sent.standing is not Standing.FRAME:
        assert flow.joint >= 0
    return flow.event is not None


def collect(
    flow: ClientFlow | UpstreamFlow, relayed: Relayed, out: list[memoryview | bytes]
) -> None:
    for index, piece in enumerate(out):
        if index == flow.joint:
            assert relayed.sent.standing is not Standing.FRAME, "no frame ends at the joint"
        relayed.sent.add(bytes(piece))
    if flow.joint == len(out):
        assert relayed.sent.standing is not Standing.FRAME, "no frame ends at the joint"
    assert flow.joint <= len(out)
    standing = relayed.sent.standing
    assert standing is not Standing.FRAME or relayed.sent.inside_large, "a piece of a small frame"
    if flow.event is None:
        assert flow.standing is standing
    else:
        assert (flow.standing is Standing.FRAME) == (standing is Standing.FRAME)
    relayed.pings += flow.pings
    relayed.answers += flow.answers
    flow.pings.clear()
    flow.answers.clear()


SIZES = st.sampled_from([0, 1, 2, 5, 124, 125, 126, 127, 300, 4096, 65535, 65536, 70001, 200_000])
WORDS = "relay – é𝄞 "


def content(size: int, *, text: bool, salt: int) -> bytes:
    """``size`` bytes, valid UTF-8 if ``text``; different for each ``salt``."""
    unit = (
        (WORDS + str(salt)).encode() if text else bytes((salt + step) % 251 for step in range(251))
    )
    return unit * (size // len(unit)) + b"." * (size % len(unit))


@st.composite
def masks_of(draw: st.DrawFn, *, masked: bool) -> bytes | None:
    return draw(st.binary(min_size=4, max_size=4)) if masked else None


@st.composite
def streams(draw: st.DrawFn, *, masked: bool, marks: Sequence[bytes] = (b"",)) -> bytes:
    """A valid stream: messages in fragments, pings and pongs anywhere, perhaps a Close.

    Each payload begins with one of ``marks``, where it has room for it.
    """
    wire = bytearray()
    for salt in range(draw(st.integers(1, 4))):
        mask = draw(masks_of(masked=masked))
        text = draw(st.booleans())
        mark = draw(st.sampled_from(marks))
        size = max(0, draw(SIZES) - len(mark))
        payload = mark + content(size, text=text, salt=salt)
        edges = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        pieces = [payload[i:j] for i, j in zip([0, *edges], [*edges, len(payload)], strict=True)]
        control = draw(st.sampled_from([b"", frame(PING, b"in", mask), frame(PONG, b"", mask)]))
        wire += fragments(TEXT if text else BINARY, pieces, mask, control)
        wire += frame(PING, b"%d" % salt, mask) if draw(st.booleans()) else b""
    if draw(st.booleans()):
        wire += frame(CLOSE, b"\x03\xe8bye", draw(masks_of(masked=masked)))
    return bytes(wire)


@st.composite
def cuts_of(draw: st.DrawFn, wire: bytes) -> list[int]:
    """Where a stream is cut: anywhere, and on purpose in and around frame headers."""
    edges = [0]
    while (place := head_at(wire, edges[-1])) is not None and place[1] <= len(wire):
        edges.append(place[1])
    near = st.tuples(st.sampled_from(edges), st.integers(-3, 16)).map(sum)
    return draw(st.lists(near | st.integers(0, len(wire)), max_size=12))
