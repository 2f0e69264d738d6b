"""A publication on its way to many: each wire's bytes are made once, when first asked for."""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

import attrs

from relayd.dialect.hub_centrifuge import encode_centrifuge
from relayd.dialect.hub_council import encode_council
from relayd.dialect.hub_event import Publication
from relayd.dialect.hub_sse import encode_sse
from relayd.protocol.frames import Opcode, encode_frame

TORN_EPOCH: Final = "0" * 16
"""The epoch of an id that a client cannot resume from. No hub counts in it."""

ENVELOPE_MAX_BYTES: Final = 512
"""More than any wire puts around names and data, and than the values take in memory."""

ESCAPED_MAX_BYTES: Final = 6
"""What one character of a JSON string takes at most, as ``\\u0000`` does."""


class Wire(enum.IntEnum):
    """How a client is spoken to. The value is an index into the encodings of a :class:`Shared`."""

    COUNCIL = 0
    CENTRIFUGE = 1
    SSE = 2  # ids are places in the one topic that is followed
    SSE_OVERALL = 3  # ids are places among everything

    @property
    def by_topic(self) -> bool:
        """Whether an event in several topics is sent once for each, and resumed by topic."""
        return self is Wire.CENTRIFUGE

    @property
    def is_sse(self) -> bool:
        """Whether it is HTTP, and no WebSocket."""
        return self is Wire.SSE or self is Wire.SSE_OVERALL


def size_of(publication: Publication) -> int:
    """Bytes that a publication is counted as: no encoding of it is longer."""
    named = len(publication.tenant)
    if publication.session_id is not None:
        named += len(publication.session_id)
    if publication.node_id is not None:
        named += len(publication.node_id)
    plain = len(publication.topic) + len(publication.event) + len(publication.data)
    return ENVELOPE_MAX_BYTES + plain + ESCAPED_MAX_BYTES * named


def _encode(publication: Publication, wire: Wire) -> bytes:
    if wire is Wire.COUNCIL:
        return encode_frame(Opcode.TEXT, encode_council(publication), masked=False)
    if wire is Wire.CENTRIFUGE:
        return encode_frame(Opcode.TEXT, encode_centrifuge(publication), masked=False)
    return encode_sse(publication, overall=wire is Wire.SSE_OVERALL)


@attrs.define(eq=False, kw_only=True)
class Shared:
    """One publication for all who get it.

    Attributes:
        publication: What is sent.
        at: When it was published, by the hub's clock.
        size: :func:`size_of` it.
        first_seq: The ``seq`` of the earliest event whose text is in it: its own, unless joined.
        siblings: All topics, as tenant and name, that the event was put into, in their order;
            empty where it is one.
        origin: Where the id is torn: the same with its id.
    """

    publication: Publication
    at: float
    size: int = attrs.field()
    first_seq: int = attrs.field()
    siblings: tuple[tuple[str, str], ...] = ()
    origin: Shared | None = None
    warm: bool = attrs.field(default=False, init=False)
    _encoded: list[bytes | None] | None = attrs.field(default=None, init=False, repr=False)
    _torn: Shared | None = attrs.field(default=None, init=False, repr=False)

    @size.default
    def _default_size(self) -> int:
        return size_of(self.publication)

    @first_seq.default
    def _default_first_seq(self) -> int:
        return self.publication.seq

    @property
    def topics(self) -> tuple[tuple[str, str], ...]:
        """All topics, as tenant and name, that the event was put into."""
        return self.siblings or ((self.publication.tenant, self.publication.topic),)

    def encoded(self, wire: Wire) -> bytes:
        """What a client of ``wire`` is sent: a whole WebSocket frame, or an event of SSE."""
        kept = self._encoded
        if kept is not None and (made := kept[wire]) is not None:
            return made
        made = _encode(self.publication, wire)
        if self.warm:
            if kept is None:
                kept = self._encoded = [None] * len(Wire)
            kept[wire] = made
        return made

    def torn(self) -> Shared:
        """The same with an id that cannot be resumed from.

        For a client that has not been sent everything before it: resuming from there would skip
        that silently, so it is answered that it has to load anew.
        """
        if self._torn is not None:
            return self._torn
        torn = Shared(
            publication=attrs.evolve(self.publication, epoch=TORN_EPOCH),
            at=self.at,
            size=self.size,
            first_seq=self.first_seq,
            siblings=self.siblings,
            origin=self,
        )
        if self.warm:
            torn.warm = True
            self._torn = torn
        return torn

    def cool(self) -> None:
        """Give back what was encoded; from now on it is encoded each time."""
        self.warm = False
        self._encoded = None
        if self._torn is not None:
            self._torn.cool()
            self._torn = None


class Warm:
    """The publications that keep what was encoded of them: the newest, up to a number of bytes."""

    __slots__ = ("_bytes", "_queue", "bytes_max")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._bytes = 0
        self._queue: deque[Shared] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def keep(self, shared: Shared) -> None:
        """Let ``shared`` keep its encodings, and the oldest that are too many lose theirs."""
        if shared.warm:
            return
        shared.warm = True
        self._queue.append(shared)
        self._bytes += shared.size
        while self._bytes > self.bytes_max:
            oldest = self._queue.popleft()
            self._bytes -= oldest.size
            oldest.cool()
