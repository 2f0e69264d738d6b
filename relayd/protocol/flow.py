"""One direction of a relayed WebSocket, sans-IO: bytes from a peer in, slices for the other out.

A flow walks frame headers and validates as RFC 6455 asks of an endpoint: masking by direction,
reserved bits, opcodes, control frames, continuation order, minimal lengths, UTF-8, size. It does
not decode what no rule needs, and it never copies a frame that goes on as it came.

What is sent on, in which pieces:

* a data frame of up to 64 KiB is sent on whole or not at all; an unfinished one is not consumed,
  the caller presents its bytes again with more behind them;
* a larger frame is cut through: while it lasts, :attr:`Flow.standing` is ``FRAME``;
* control frames are hop-by-hop: a ping is answered here, a pong swallowed, a Close reported;
* a client whose messages are read (:class:`~relayd.protocol.outcomes.ClientReader`) has each of
  them held until the decision; a message over 64 KiB is let go early only when its beginning
  proves it harmless.

The two subclasses in ``relayd.protocol.directions`` hold the loop over ordinary frames, which is
where the time goes; everything else is here.
"""

from __future__ import annotations

import codecs
import enum
from typing import ClassVar, Final

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.protocol.floods import FloodGuard
from relayd.protocol.frames import BadClose, Opcode, parse_close, read_head
from relayd.protocol.outcomes import Event, PeerClosed, Violation

WHOLE_MAX_BYTES: Final = 65535
"""Payload of the largest frame that is sent on whole: what a 16-bit length can say."""

HELD_HEADERS_MAX_BYTES: Final = 1 << 20
"""Room for the headers of a held message's fragments beside ``message_max_bytes``."""


class Standing(enum.IntEnum):
    """Where the bytes sent on so far leave the sink."""

    BOUNDARY = 0  # between messages: any frame may follow
    MESSAGE = 1  # between fragments: control frames may follow
    FRAME = 2  # inside a frame: only the rest of it may follow


class Flow:
    """One direction. Subclasses say who the peer is; see the module's text for the rules.

    Args:
        message_max_bytes: A longer message ends the session as ``too_big``, from its declared
            length, before any of it is kept.
        hold: The process's count of held bytes.

    Attributes:
        out: Slices to send on, in order, after each :meth:`feed`. They may point into the buffer
            that was fed and are good until it is written again.
        pings: Payloads of pings to answer, in order, after each :meth:`feed`.
        answers: Text payloads to send back to this peer, in order.
        event: Why the flow has stopped, if it has. While it is set nothing may be fed.
        standing: Where ``out`` leaves the sink.
        joint: Index in ``out`` before which a large frame ended, so that control frames may go in
            between; -1 where there is none.
        messages: Messages sent on.
        bytes: Payload bytes of those messages.
    """

    __slots__ = (
        "_aside",
        "_copy",
        "_fin",
        "_floods",
        "_held",
        "_left",
        "_length",
        "_mask",
        "_now",
        "_opcode",
        "_region",
        "_taken",
        "_utf8",
        "answers",
        "bytes",
        "event",
        "hold",
        "joint",
        "message_max_bytes",
        "messages",
        "out",
        "pings",
        "standing",
    )

    broken_rule: ClassVar[Reason]
    """What it is called when this peer breaks a rule of RFC 6455."""
    masked: ClassVar[bool]

    def __init__(self, *, message_max_bytes: int, hold: HoldBudget) -> None:
        self.message_max_bytes = message_max_bytes
        self.hold = hold
        self.out: list[memoryview | bytes] = []
        self.pings: list[bytes] = []
        self.answers: list[bytes] = []
        self.event: Event | None = None
        self.standing = Standing.BOUNDARY
        self.joint = -1
        self.messages = 0
        self.bytes = 0
        self._opcode = 0  # of the message in progress; 0 between messages
        self._length = 0  # payload bytes of the message in progress
        self._utf8: codecs.IncrementalDecoder | None = None
        self._left = 0  # payload bytes of the cut-through frame still to come
        self._fin = False  # of that frame
        self._mask = b""  # of that frame, turned to the next byte
        self._held: bytearray | None = None  # wire bytes of a message that is held back
        self._copy: bytearray | None = None  # unmasked payload of a message that is read
        self._taken = 0  # bytes taken from the hold budget
        self._aside = 0  # payload bytes of messages that were not sent on as they came
        self._region = 0  # where the slice not yet put out begins
        self._now = 0.0  # of the feed
        self._floods = FloodGuard()

    # -- what callers use

    def feed(self, view: memoryview, buffer: bytearray, size: int, now: float) -> int:
        """Walk ``buffer[:size]``; ``view`` is a memoryview of the same buffer.

        Fills :attr:`out`, :attr:`pings`, :attr:`answers` and perhaps :attr:`event`.

        Returns:
            How many bytes were consumed. The rest is an unfinished frame, or what stands behind
            an event, and is to be presented again at the front of the next feed.
        """
        raise AssertionError("a direction walks its own ordinary frames")

    @property
    def inside(self) -> bool:
        """Whether the consumed bytes end inside a frame that was consumed in part."""
        return self._left > 0

    @property
    def progress(self) -> int:
        """Grows with every payload byte and message; control frames do not move it."""
        return self.messages + self.bytes + self._length

    def close(self) -> None:
        """Give back every held byte. The flow is of no use afterwards; calling again is fine."""
        self._drop_copies()

    # -- for the subclasses

    def _start_feed(self, now: float) -> None:
        assert self.event is None, "a stopped flow was fed"
        self._now = now
        self.out.clear()
        self._region = 0
        self.joint = -1

    def _end_feed(self, view: memoryview, pos: int) -> None:
        """Put out what is left of the region and note where it leaves the sink."""
        self._set_out(view, pos, pos)
        if self._held is not None or not self._opcode:
            self.standing = Standing.BOUNDARY
        else:
            self.standing = Standing.FRAME if self._left else Standing.MESSAGE

    def _set_out(self, view: memoryview, pos: int, after: int) -> None:
        """Put out what stands before ``pos``; what is put out next begins at ``after``."""
        if pos > self._region:
            self.out.append(view[self._region : pos])
        self._region = after

    def _fail(self, reason: Reason, message: str) -> None:
        if self.event is None:
            self.event = Violation(reason, message)

    def _walk_one(
        self, view: memoryview, buffer: bytearray, pos: int, size: int, now: float
    ) -> int:
        """Any frame that the ordinary loop leaves alone: control, fragment, large, or wrong.

        Returns:
            The position after what was consumed; ``pos`` itself where the frame is unfinished or
            an event stopped the flow before it.
        """
        head = read_head(buffer, pos, size, masked=self.masked, in_message=self._opcode != 0)
        if not isinstance(head, tuple):
            if head is not None:
                self._fail(self.broken_rule, head)
            return pos
        opcode, fin, start, length = head
        stop = start + length
        if opcode & 8:
            if stop > size:
                return pos
            self._set_out(view, pos, stop)
            self._control(opcode, self._unmasked(buffer, start, stop), now)
            return stop
        if self._refuses(length, fin=fin):
            return pos
        if length <= WHOLE_MAX_BYTES and stop > size:
            return pos
        if self._opcode == 0:
            self._begin_message(opcode)
        if length > WHOLE_MAX_BYTES:
            return self._begin_large(view, pos, start, length, fin=fin, size=size)
        if self._held is not None:
            self._set_out(view, pos, stop)
        if not self._take(self._unmasked(buffer, start, stop), view[pos:stop], last=fin):
            return pos
        if fin:
            self._finish()
        return stop

    def _refuses(self, length: int, *, fin: bool) -> bool:
        """Whether a data frame of ``length`` bytes is one too many, or makes its message too big.

        Asked again for an unfinished frame, so it changes nothing but for an empty frame, which
        is never unfinished. An empty frame that is a whole message is no fragment.
        """
        carried = self._length if self._opcode else 0
        if carried + length > self.message_max_bytes:
            self._fail(Reason.TOO_BIG, f"a message of more than {self.message_max_bytes} bytes")
        elif length == 0 and not (fin and not self._opcode):
            flooded = self._floods.empty(self.bytes + self._aside + self._length)
            if flooded:
                self._fail(Reason.CONTROL_FLOOD, flooded)
        return self.event is not None

    def _control(self, opcode: int, payload: bytes, now: float) -> None:
        if flooded := self._floods.control(now):
            self._fail(Reason.CONTROL_FLOOD, flooded)
        elif opcode == Opcode.PING:
            self.pings.append(payload)
        elif opcode == Opcode.CLOSE:
            try:
                self.event = PeerClosed(*parse_close(payload))
            except BadClose as bad:
                self._fail(Reason.BAD_UTF8 if bad.bad_utf8 else self.broken_rule, str(bad))

    # -- frames that are cut through, or held, piece by piece

    def _begin_large(
        self, view: memoryview, pos: int, start: int, length: int, *, fin: bool, size: int
    ) -> int:
        """Returns the position after what there is of the frame; ``pos`` where none of it goes."""
        self._left, self._fin = length, fin
        self._mask = bytes(view[start - 4 : start]) if self.masked else b""
        if self._held is not None:
            self._set_out(view, pos, start)
            if not self._keep_head(view[pos:start]):
                return pos
        stop = min(start + length, size)
        if self._take_large(view, start, stop):
            return stop
        self._left = 0  # not even its header was sent on
        return pos

    def _continue_large(self, view: memoryview, size: int) -> int:
        """The next bytes of the large frame; returns where they end, 0 if an event forbids them."""
        stop = min(self._left, size)
        return stop if self._take_large(view, 0, stop) else 0

    def _take_large(self, view: memoryview, pos: int, stop: int) -> bool:
        """The large frame's bytes up to ``stop``; ``False`` where an event stopped the flow."""
        raw = view[pos:stop]
        if self._held is not None:
            self._set_out(view, pos, stop)
        left = self._left - (stop - pos)
        last = self._fin and left == 0
        if not self._take(self._unmasked_run(raw), raw, last=last):
            return False
        self._left = left
        if left == 0 and self._held is None:
            self._set_out(view, stop, stop)
            self.joint = len(self.out)
        if last:
            self._finish()
        return True

    # -- messages in more than one piece

    def _begin_message(self, opcode: int) -> None:
        self._opcode, self._length = opcode, 0
        if opcode == Opcode.TEXT:
            self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._begin_copies(opcode)

    def _take(self, piece: bytes, raw: memoryview, *, last: bool) -> bool:
        """Validate and keep the next payload piece; ``False`` where an event stopped the flow."""
        self._length += len(piece)
        if self._utf8 is not None:
            try:
                self._utf8.decode(piece, last)
            except UnicodeDecodeError:
                self._fail(Reason.BAD_UTF8, "a text message that is not UTF-8")
                return False
        return self._keep_piece(piece, raw)

    def _finish(self) -> None:
        """The message in progress is whole."""
        self._utf8 = None
        length, self._length = self._length, 0
        opcode, self._opcode = self._opcode, 0
        if self._end_copies(text=opcode == Opcode.TEXT):
            self.messages += 1
            self.bytes += length

    def _keep(self, where: bytearray, piece: bytes | memoryview) -> bool:
        """Append to a held copy, within the process's budget and the message's own bound."""
        if len(where) + len(piece) > self.message_max_bytes + HELD_HEADERS_MAX_BYTES:
            self._fail(Reason.TOO_BIG, "a held message with too many fragments")
            return False
        if not self.hold.take(len(piece)):
            self.event = self.event or Violation.overload()
            return False
        self._taken += len(piece)
        where += piece
        return True

    def _drop_copies(self) -> None:
        self._held = self._copy = None
        self.hold.give(self._taken)
        self._taken = 0

    # -- what the directions do differently

    def _unmasked(self, buffer: bytearray, start: int, stop: int) -> bytes:
        """The payload of a whole frame; a mask stands in the four bytes before ``start``."""
        raise AssertionError("a direction knows its mask")

    def _unmasked_run(self, raw: memoryview) -> bytes:
        """The next payload bytes of a large frame."""
        raise AssertionError("a direction knows its mask")

    def _begin_copies(self, opcode: int) -> None:
        """A message of several pieces begins: decide whether to hold or copy it."""

    def _keep_head(self, raw: memoryview) -> bool:
        """Hold a large frame's header; ``False`` where an event stopped the flow."""
        return True

    def _keep_piece(self, piece: bytes, raw: memoryview) -> bool:
        """Hold or copy the next piece; ``False`` where an event stopped the flow."""
        return True

    def _end_copies(self, *, text: bool) -> bool:
        """The message is whole; returns whether it was, or has been, sent on."""
        return True
