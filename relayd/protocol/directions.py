"""The two directions: their loops over ordinary frames, and what each does with read messages."""

from __future__ import annotations

from typing import Final

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.protocol.flow import Flow
from relayd.protocol.frames import Opcode, apply_mask, encode_frame, is_utf8
from relayd.protocol.outcomes import (
    Action,
    ClientReader,
    Drop,
    Notice,
    Replace,
    Taken,
    UpstreamReader,
    Violation,
    Waiting,
    Watch,
)

ASIDE_MAX_BYTES: Final = 4 << 20
"""How much of an upstream message that may matter is copied aside while it is sent on."""

RELEASE_MIN_BYTES: Final = 65536
"""A client message is held whole up to here; beyond, a proven-harmless one is let go."""

ANSWERS_MAX: Final = 64
"""Answers to refused messages that one feed may ask for: a peer cannot multiply its bytes."""

_TEXT: Final = 0x80 | Opcode.TEXT
_BINARY: Final = 0x80 | Opcode.BINARY


class UpstreamFlow(Flow):
    """From an upstream to its client. Nothing is held: what matters is read in passing."""

    __slots__ = ("_matters", "_notice", "reader")

    broken_rule = Reason.PROTOCOL_ERROR_UPSTREAM
    masked = False

    def __init__(
        self, *, message_max_bytes: int, hold: HoldBudget, reader: UpstreamReader | None = None
    ) -> None:
        super().__init__(message_max_bytes=message_max_bytes, hold=hold)
        self.reader = reader
        self._matters = False  # the message in progress is copied aside until it is proven harmless
        self._notice: Notice | None = None  # due when the message in progress is whole

    def feed(self, view: memoryview, buffer: bytearray, size: int, now: float) -> int:
        """See :meth:`Flow.feed`."""
        self._start_feed(now)
        pos = self._continue_large(view, size) if self._left else 0
        reader = self.reader
        longest = self.message_max_bytes
        messages = total = 0
        fresh = not self._opcode
        while size - pos >= 2 and self.event is None:
            first, length = buffer[pos], buffer[pos + 1]
            stop = 0
            if fresh and (first == _TEXT or first == _BINARY):  # noqa: PLR1714, SIM109 - a tuple costs more
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
            if first == _TEXT:
                payload = buffer[start:stop]
                if not payload.isascii() and not is_utf8(payload):
                    self._fail(Reason.BAD_UTF8, "a text message that is not UTF-8")
                    break
                if reader is not None and not payload.startswith(reader.proof):
                    self.messages += messages
                    self.bytes += total
                    messages = total = 0  # a reader that counts sees exact counts
                    self.event = reader.message(payload, now)
            messages += 1
            total += length
            pos = stop
        self.messages += messages
        self.bytes += total
        self._end_feed(view, pos)
        return pos

    def _unmasked(self, buffer: bytearray, start: int, stop: int) -> bytes:
        return bytes(buffer[start:stop])

    def _unmasked_run(self, raw: memoryview) -> bytes:
        return bytes(raw)

    def _begin_copies(self, opcode: int) -> None:
        self._matters = self.reader is not None and opcode == Opcode.TEXT
        if self._matters:
            self._copy = bytearray()

    def _keep_piece(self, piece: bytes, raw: memoryview) -> bool:
        if not self._matters or self._copy is None or self.reader is None:
            return True
        if len(self._copy) + len(piece) > ASIDE_MAX_BYTES:
            self._notice = self.reader.oversize(self._copy, self._now)
        elif not self._keep(self._copy, piece):
            return False
        elif not self.reader.harmless(self._copy[:PROOF_MAX_BYTES]):
            return True
        self._matters = False
        self._drop_copies()
        return True

    def _end_copies(self, *, text: bool) -> bool:
        if self._matters and self._copy is not None and self.reader is not None:
            self._notice = self.reader.message(self._copy, self._now)
            self._drop_copies()
        self.event, self._notice = self._notice, None
        return True


PROOF_MAX_BYTES: Final = 512
"""How far into a message its type may stand to settle that it does not matter."""


class ClientFlow(Flow):
    """From a client to its upstream. With a reader, every message is decided on before it goes."""

    __slots__ = ("_parked", "_parked_length", "_watch", "reader")

    broken_rule = Reason.PROTOCOL_ERROR_CLIENT
    masked = True

    def __init__(
        self, *, message_max_bytes: int, hold: HoldBudget, reader: ClientReader | None = None
    ) -> None:
        super().__init__(message_max_bytes=message_max_bytes, hold=hold)
        self.reader = reader
        self._watch: Watch | None = None  # over a message that was let go early
        self._parked: bytes | None = None  # wire bytes of the message that waits for a decision
        self._parked_length = 0  # its payload bytes

    def feed(self, view: memoryview, buffer: bytearray, size: int, now: float) -> int:  # noqa: C901 - see UpstreamFlow.feed
        """See :meth:`Flow.feed`."""
        self._start_feed(now)
        pos = self._continue_large(view, size) if self._left else 0
        decide = None if self.reader is None else self.reader.message
        longest = self.message_max_bytes
        messages = total = 0
        fresh = not self._opcode
        while size - pos >= 2 and self.event is None:
            first, length = buffer[pos], buffer[pos + 1] - 0x80
            stop = 0
            if fresh and (first == _TEXT or first == _BINARY):  # noqa: PLR1714, SIM109 - a tuple costs more
                if 0 < length < 126:
                    start = pos + 6
                    stop = start + length
                elif length == 126 and size - pos >= 8:
                    length = buffer[pos + 2] << 8 | buffer[pos + 3]
                    if length >= 126:
                        start = pos + 8
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
            if first == _TEXT or decide is not None:
                payload = apply_mask(buffer[start:stop], buffer[start - 4 : start])
                if first == _TEXT and not payload.isascii() and not is_utf8(payload):
                    self._fail(Reason.BAD_UTF8, "a text message that is not UTF-8")
                    break
                if decide is not None:
                    action = decide(payload, now, text=first == _TEXT)
                    if action is not None:
                        self._set_out(view, pos, stop)
                        self._act(action, view[pos:stop], length)
                        pos = stop
                        continue
            messages += 1
            total += length
            pos = stop
        self.messages += messages
        self.bytes += total
        self._end_feed(view, pos)
        return pos

    def resume(self, action: Action | None) -> list[memoryview | bytes]:
        """The decision about the message that waited; returns the slices to send on."""
        assert isinstance(self.event, Waiting), "nothing waits"
        assert self._parked is not None, "a waiting message has its bytes"
        raw, self._parked = self._parked, None
        self.event = None
        self.out.clear()
        self.joint = -1
        self._drop_copies()
        if action is None:
            self.out.append(raw)
            self.messages += 1
            self.bytes += self._parked_length
        else:
            self._act(action, memoryview(raw), self._parked_length)
        return self.out

    def hand_over(self, taken: Taken) -> None:
        """The payload of ``taken``, this flow's event, is its task's from here on, to give back."""
        self._taken -= len(taken.payload)

    def close(self) -> None:
        """See :meth:`Flow.close`."""
        self._parked = self._watch = None
        super().close()

    def _act(self, action: Action, raw: memoryview, length: int) -> None:
        """Do with one whole message of ``length`` payload bytes what its reader wants."""
        self._aside += length
        match action:
            case Drop(reply):
                if len(self.answers) >= ANSWERS_MAX:
                    self._fail(Reason.POLICY, f"more than {ANSWERS_MAX} refused messages at once")
                elif reply is not None:
                    self.answers.append(reply)
            case Replace(payload):
                self.out.append(encode_frame(Opcode.TEXT, payload, masked=True))
                self.messages += 1
                self.bytes += len(payload)
            case Waiting():
                if not self.hold.take(len(raw)):
                    self.event = self.event or Violation.overload()
                    return
                self._taken += len(raw)
                self._parked, self._parked_length = bytes(raw), length
                self.event = action
            case Taken(payload):
                if not self.hold.take(len(payload)):
                    self.event = self.event or Violation.overload()
                    return
                self._taken += len(payload)
                self.messages += 1
                self.bytes += length
                self.event = action
            case Violation():
                self.event = action

    def _unmasked(self, buffer: bytearray, start: int, stop: int) -> bytes:
        return apply_mask(buffer[start:stop], buffer[start - 4 : start])

    def _unmasked_run(self, raw: memoryview) -> bytes:
        if self._opcode != Opcode.TEXT and self.reader is None:
            return bytes(raw)  # nothing will look at it; only its length counts
        piece = apply_mask(raw, self._mask)
        turn = len(raw) % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
        return piece

    def _begin_copies(self, opcode: int) -> None:
        if self.reader is not None:
            self._held, self._copy = bytearray(), bytearray()

    def _keep_head(self, raw: memoryview) -> bool:
        return self._held is None or self._keep(self._held, raw)

    def _keep_piece(self, piece: bytes, raw: memoryview) -> bool:
        if self._watch is not None:
            self.event = self._watch.feed(piece)
            return self.event is None
        if self._held is None or self._copy is None or self.reader is None:
            return True
        if not (self._keep(self._held, raw) and self._keep(self._copy, piece)):
            return False
        before = len(self._copy) - len(piece)
        if self._opcode != Opcode.TEXT or not before <= RELEASE_MIN_BYTES < len(self._copy):
            return True  # asked once: a type stands in the first 64 KiB or it proves nothing
        watch = self.reader.release(bytes(self._copy))
        if watch is None:
            return True
        self._watch = watch
        self.out.append(bytes(self._held))
        self._drop_copies()
        return True

    def _end_copies(self, *, text: bool) -> bool:
        self._watch = None
        if self._held is None or self._copy is None or self.reader is None:
            return True
        raw, payload = self._held, bytes(self._copy)
        self._drop_copies()
        action = self.reader.message(payload, self._now, text=text)
        if action is None:
            self.out.append(bytes(raw))
            return True
        self._act(action, memoryview(raw), len(payload))
        return False
