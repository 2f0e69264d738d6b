"""From a pooled upstream to its client: a flow whose messages stay whole among those of others.

Several upstreams may send to one client, and an upstream between two turns sends to nobody. So the
client's stream stands at a message boundary whenever another upstream may have its turn:

* a message of several frames, or of a frame over 64 KiB, is assembled and sent on as one frame;
* one over 1 MiB that its reader need not read is sent on as fragments of a message, as its pieces
  come; between them :attr:`Flow.standing` is ``MESSAGE``, and nobody else may send a message. It
  is never ``FRAME``;
* one over 1 MiB that may matter is assembled up to 4 MiB, so that its reader decides before
  anything of it is sent; beyond, the reader is asked whether it may go unread.

A single frame of up to 64 KiB goes on as it came, as in every flow.
"""

from __future__ import annotations

import re
from typing import Final

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.protocol.directions import ASIDE_MAX_BYTES, PROOF_MAX_BYTES
from relayd.protocol.flow import Flow, Standing
from relayd.protocol.frames import Opcode, encode_frame, encode_head, is_utf8
from relayd.protocol.outcomes import EventReader, Instead, Notice, Violation

ASSEMBLE_MAX_BYTES: Final = 1 << 20
"""A message that has grown past this is sent on in fragments, unless it may matter."""

_TEXT: Final = 0x80 | Opcode.TEXT

_OPENING: Final = re.compile(rb"[ \t\n\r]*+(\{)[ \t\n\r]*+(.)", re.DOTALL)
"""An object's first brace and the byte that follows it, but for white space (RFC 8259)."""


class EventFlow(Flow):
    """From one pooled upstream. A binary message breaks its rules: events are text.

    Args:
        message_max_bytes: As for every flow.
        hold: As for every flow; what is assembled is counted in it.
        reader: Sees every message that its proof does not settle.

    Attributes:
        reader: Swapped by assignment while :attr:`between_messages`, never during a feed: the
            message behind that boundary is the first that the new one sees.
        splice: Put behind the first brace of every message that is sent on, such as
            ``b'"stream_id":"a",'``; the comma that ends it is left out of an empty object. Where
            it is set, a message that is no object breaks the rules. Swapped like the reader.
    """

    __slots__ = ("_due", "_last", "_whole_max_bytes", "reader", "splice")

    broken_rule = Reason.PROTOCOL_ERROR_UPSTREAM
    masked = False

    def __init__(self, *, message_max_bytes: int, hold: HoldBudget, reader: EventReader) -> None:
        super().__init__(message_max_bytes=message_max_bytes, hold=hold)
        self.reader = reader
        self.splice = b""
        self._whole_max_bytes = ASSEMBLE_MAX_BYTES  # how far the message in progress is assembled
        self._last = False  # the piece at hand ends its message
        self._due: Notice | None = None  # when the message that goes in fragments is whole

    @property
    def between_messages(self) -> bool:
        """Whether the consumed bytes end at a message boundary."""
        return not self._opcode

    @property
    def progress(self) -> int:
        """See :attr:`Flow.progress`; what was not sent on moves it too."""
        return super().progress + self._aside

    def feed(self, view: memoryview, buffer: bytearray, size: int, now: float) -> int:  # noqa: PLR0915 - one loop; calls in it cost more than its work
        """See :meth:`Flow.feed`."""
        self._start_feed(now)
        pos = self._continue_large(view, size) if self._left else 0
        reader, splice = self.reader, self.splice
        proof = reader.proof
        longest = self.message_max_bytes
        messages = total = 0
        fresh = not self._opcode
        while size - pos >= 2 and self.event is None:
            stop = 0
            if fresh and buffer[pos] == _TEXT:
                length = buffer[pos + 1]
                if 0 < length < 126:
                    start = pos + 2
                    stop = start + length
                elif length == 126 and size - pos >= 4:
                    length = buffer[pos + 2] << 8 | buffer[pos + 3]
                    if length >= 126:
                        start = pos + 4
                        stop = start + length
            if not stop or length > longest:
                self.messages += messages
                self.bytes += total
                messages = total = 0
                after = self._walk_one(view, buffer, pos, size, now)
                if after == pos:
                    break
                pos = after
                fresh = not self._opcode
                continue
            if stop > size:
                break
            payload = buffer[start:stop]
            if not payload.isascii() and not is_utf8(payload):
                self._fail(Reason.BAD_UTF8, "a text message that is not UTF-8")
                break
            if splice or not payload.startswith(proof):
                self.messages += messages
                self.bytes += total
                messages = total = 0  # a reader that counts sees exact counts
                passes = splice and payload.startswith(proof)
                verdict = None if passes else reader.message(payload, now)
                proof = reader.proof
                if splice or (verdict is not None and isinstance(verdict, Violation | Instead)):
                    self._set_out(view, pos, stop)
                    self._do(verdict, payload)
                    pos = stop
                    continue
                self.event = verdict
            messages += 1
            total += length
            pos = stop
        self.messages += messages
        self.bytes += total
        self._end_feed(view, pos)
        return pos

    # -- whole messages

    def _read(self, payload: bytearray) -> Notice | Violation | Instead | None:
        if payload.startswith(self.reader.proof):
            return None
        return self.reader.message(payload, self._now)

    def _do(self, verdict: Notice | Violation | Instead | None, payload: bytearray) -> None:
        """Put out a whole message, that does not go on as it came, or what goes in its place."""
        match verdict:
            case Violation():
                self.event = verdict
            case Instead(other, event):
                self._aside += len(payload)
                if other is not None:
                    self.out.append(encode_frame(Opcode.TEXT, other, masked=False))
                    self.messages += 1
                    self.bytes += len(other)
                self.event = event
            case _:
                if self._put_frame(payload, fin=True):
                    self.messages += 1
                    self.bytes += len(payload)
                    self.event = verdict

    def _put_frame(self, payload: bytearray, *, fin: bool) -> bool:
        """Put out the first frame of a message; ``False`` where an event stopped the flow."""
        splice, after = self.splice, 0
        if splice:
            opening = _OPENING.match(payload)
            if opening is None:
                self._fail(self.broken_rule, "an event that is no JSON object")
                return False
            after = opening.end(1)
            if opening[2] == b"}":
                splice = splice[:-1]
        head = encode_head(Opcode.TEXT, len(payload) + len(splice), masked=False, fin=fin)
        self.out.append(head + payload[:after] + splice)
        self.out.append(memoryview(payload)[after:])
        self.bytes += len(splice)
        return True

    # -- messages in more than one piece

    def _walk_one(
        self, view: memoryview, buffer: bytearray, pos: int, size: int, now: float
    ) -> int:
        if buffer[pos] & 0x0F == Opcode.BINARY:
            self._fail(self.broken_rule, "a binary message")
            return pos
        return super()._walk_one(view, buffer, pos, size, now)

    def _end_feed(self, view: memoryview, pos: int) -> None:
        self._set_out(view, pos, pos)
        begun = self._opcode and self._copy is None
        self.standing = Standing.MESSAGE if begun else Standing.BOUNDARY

    def _unmasked(self, buffer: bytearray, start: int, stop: int) -> bytes:
        return bytes(buffer[start:stop])

    def _unmasked_run(self, raw: memoryview) -> bytes:
        return bytes(raw)

    def _take(self, piece: bytes, raw: memoryview, *, last: bool) -> bool:
        self._last = last
        return super()._take(piece, raw, last=last)

    def _begin_copies(self, opcode: int) -> None:
        self._held = bytearray()  # stays empty: the frames do not go on as they came
        self._copy = bytearray()
        self._whole_max_bytes = ASSEMBLE_MAX_BYTES

    def _keep_piece(self, piece: bytes, raw: memoryview) -> bool:
        if self._copy is None:
            fragment = encode_frame(Opcode.CONTINUATION, piece, masked=False, fin=self._last)
            self.out.append(fragment)
            return True
        if not self._keep(self._copy, piece):
            return False
        return len(self._copy) <= self._whole_max_bytes or self._outgrown(self._copy)

    def _outgrown(self, copy: bytearray) -> bool:
        """The message is longer than is assembled: go on doing so if it may matter, or send it."""
        reader = self.reader
        if self._whole_max_bytes == ASSEMBLE_MAX_BYTES:
            if copy.startswith(reader.proof) or reader.harmless(copy[:PROOF_MAX_BYTES]):
                return self._begin_fragments(copy)
            self._whole_max_bytes = ASIDE_MAX_BYTES
        if len(copy) <= ASIDE_MAX_BYTES:
            return True
        verdict = reader.oversize(copy, self._now)
        if isinstance(verdict, Violation):
            self.event = verdict
            return False
        self._due = verdict
        return self._begin_fragments(copy)

    def _begin_fragments(self, copy: bytearray) -> bool:
        """The message goes as its pieces come; ``False`` where an event stopped the flow."""
        if not self._put_frame(copy, fin=self._last):
            return False
        self._drop_copies()
        self._held = bytearray()
        return True

    def _end_copies(self, *, text: bool) -> bool:
        payload = self._copy
        self._drop_copies()
        if payload is None:
            self.event, self._due = self._due, None
            return True
        self._do(self._read(payload), payload)
        return False
