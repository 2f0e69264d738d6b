"""Audio in the pass: binary messages go on, translated where versions differ; texts wake a task.

Both flows leave their sink between messages, always: relayd sends texts of its own to either side,
and the server behind a device may change. So a message of several frames, or of one over 64 KiB,
is assembled, up to ``message_max_bytes``.

A text message stops its flow, unsent: the session's task takes it, asks the state machine, sends
what comes of it and arms the endpoint again. So nothing overtakes a text. Of the device it is the
event, a :class:`~relayd.protocol.outcomes.Taken`; of the server the event is :data:`TEXT`, and
:meth:`ServerFlow.take` has it. An audio packet wakes nobody.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_buffer import AudioBuffer, HeldPacket
from relayd.dialect.xiaozhi_frames import (
    HEADER_BYTES,
    Kind,
    kind_of,
    timestamp_of,
    translate,
)
from relayd.dialect.xiaozhi_usage import AudioTally
from relayd.protocol.directions import ClientFlow
from relayd.protocol.flow import Flow
from relayd.protocol.frames import Opcode, encode_frame, is_utf8
from relayd.protocol.outcomes import Action, Drop, Notice, Replace, Taken, Violation, Watch

TEXT: Final = Notice("text")
"""The server has sent a text message."""

_DROP: Final = Drop()
_TEXT: Final = 0x80 | Opcode.TEXT
_WHOLE: Final = frozenset({0x80 | Opcode.BINARY, _TEXT})
_OPUS: Final = int(Kind.OPUS)
_HEAD_BYTES: Final = 2
_LENGTH_16: Final = 126
_HEAD_16_BYTES: Final = 4
"""RFC 6455 section 5.2: a header, the length that says that 16 bits follow, and that header."""


class Route(enum.Enum):
    """What becomes of audio. Changed by assignment between two feeds."""

    DROP = enum.auto()  # there is nobody to hear it, and nobody is waited for
    HOLD = enum.auto()  # kept for the server that is to come
    PASS = enum.auto()


@attrs.define(kw_only=True)
class Lane:
    """How audio of one direction goes.

    Where it comes without a timestamp and goes on with one, that is the milliseconds of audio
    before it, of the whole session, so that echoes can be cancelled by it.

    Attributes:
        tally: Counts it.
        source: The framing that it comes in: 1, 2 or 3.
        target: The framing that it goes on in.
        route: ``PASS`` only while the endpoint has a peer.
        buffer: Where it is held. A direction without one drops it instead.
    """

    tally: AudioTally
    source: int = 1
    target: int = 1
    route: Route = Route.DROP
    buffer: AudioBuffer | None = None

    def pass_on(self, message: bytes | bytearray, now: float) -> bytes | bytearray | None:
        """Check and count one binary message that carries Opus.

        Returns:
            What goes on, ``message`` itself where nothing is to be changed; ``None`` where it
            goes no further, now or ever.
        """
        if self.route is Route.DROP:
            return None
        start, tally = HEADER_BYTES[self.source], self.tally
        duration_us = tally.duration_us(message[start : start + 2])
        if self.route is Route.HOLD:
            if self.buffer is not None:
                stamp = timestamp_of(message, self.source)
                self.buffer.put(HeldPacket(bytes(message[start:]), duration_us, stamp))
            return None
        sent: bytes | bytearray | None = message
        if self.source != self.target:
            elapsed_ms = tally.microseconds // 1000
            sent = translate(message, self.source, self.target, timestamp_ms=elapsed_ms)
            if sent is None:
                tally.dropped += 1
                return None
        tally.count(len(message) - start, duration_us, now)
        return sent


class DeviceReader:
    """Reads a device's messages; see :class:`~relayd.protocol.outcomes.ClientReader`.

    A :class:`~relayd.protocol.outcomes.Replace` of this reader is audio: texts are taken.
    """

    __slots__ = ("lane",)

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
        """Decide about one whole message. JSON in a binary frame is a text: nothing hides there."""
        if text:
            return Taken(payload)
        lane = self.lane
        kind = kind_of(payload, lane.source)
        if kind == Kind.JSON:
            return Taken(payload[HEADER_BYTES[lane.source] :])
        if kind != _OPUS:
            lane.tally.dropped += 1
            return _DROP
        sent = lane.pass_on(payload, now)
        if sent is None:
            return _DROP
        return None if sent is payload else Replace(bytes(sent))

    def release(self, head: bytes) -> Watch | None:
        """Nothing is let go before its end."""
        return None


class DeviceFlow(ClientFlow):
    """From a device to its server; see the module's text.

    While the endpoint has no peer, the reader's lane must not pass.
    """

    __slots__ = ()

    def _act(self, action: Action, raw: memoryview, length: int) -> None:
        if not isinstance(action, Replace):
            super()._act(action, raw, length)
            return
        self._aside += length
        self.out.append(encode_frame(Opcode.BINARY, action.payload, masked=True))
        self.messages += 1
        self.bytes += len(action.payload)


class ServerFlow(Flow):
    """From a server to its device; see the module's text.

    Args:
        message_max_bytes: As for every flow.
        hold: As for every flow; what is assembled, and a text that waits, is counted in it.
        lane: How audio goes. While the endpoint has no peer it must not pass.
    """

    __slots__ = ("_text", "lane")

    broken_rule = Reason.PROTOCOL_ERROR_UPSTREAM
    masked = False

    def __init__(self, *, message_max_bytes: int, hold: HoldBudget, lane: Lane) -> None:
        super().__init__(message_max_bytes=message_max_bytes, hold=hold)
        self.lane = lane
        self._text: bytes | None = None

    @property
    def progress(self) -> int:
        """See :attr:`Flow.progress`; what was not sent on moves it too."""
        return super().progress + self._aside

    def take(self) -> bytes:
        """The text that :data:`TEXT` is about, once; the flow may be armed again after it."""
        text, self._text = self._text, None
        assert text is not None, "no text waits"
        self.hold.give(len(text))
        self._taken -= len(text)
        return text

    def feed(self, view: memoryview, buffer: bytearray, size: int, now: float) -> int:
        """See :meth:`Flow.feed`."""
        self._start_feed(now)
        pos = self._continue_large(view, size) if self._left else 0
        longest = self.message_max_bytes
        while size - pos >= _HEAD_BYTES and self.event is None:
            first, length = buffer[pos], buffer[pos + 1]
            stop = 0
            if not self._opcode and first in _WHOLE:
                if 0 < length < _LENGTH_16:
                    start = pos + _HEAD_BYTES
                    stop = start + length
                elif length == _LENGTH_16 and size - pos >= _HEAD_16_BYTES:
                    length = buffer[pos + 2] << 8 | buffer[pos + 3]
                    if length >= _LENGTH_16:
                        start = pos + _HEAD_16_BYTES
                        stop = start + length
            if not stop or length > longest:
                after = self._walk_one(view, buffer, pos, size, now)
                if after == pos:
                    break
                pos = after
                continue
            if stop > size:
                break
            payload = buffer[start:stop]
            if first == _TEXT and not payload.isascii() and not is_utf8(payload):
                self._fail(Reason.BAD_UTF8, "a text message that is not UTF-8")
                break
            sent = self._read(payload, text=first == _TEXT)
            if sent is payload:
                self.messages += 1
                self.bytes += length
            else:
                self._set_out(view, pos, stop)
                self._put(sent, length)
            pos = stop
        self._end_feed(view, pos)
        return pos

    def close(self) -> None:
        """See :meth:`Flow.close`."""
        self._text = None
        super().close()

    # -- whole messages

    def _read(self, payload: bytearray, *, text: bool) -> bytes | bytearray | None:
        """What is sent on for a whole message, ``payload`` itself where that is as it came."""
        lane = self.lane
        if text:
            self._stop_at(bytes(payload))
            return None
        kind = kind_of(payload, lane.source)
        if kind == _OPUS:
            return lane.pass_on(payload, self._now)
        if kind == Kind.JSON:
            self._stop_at(bytes(payload[HEADER_BYTES[lane.source] :]))
        else:
            lane.tally.dropped += 1
        return None

    def _stop_at(self, text: bytes) -> None:
        if not self.hold.take(len(text)):
            self.event = self.event or Violation.overload()
            return
        self._taken += len(text)
        self._text = text
        self.event = TEXT

    def _put(self, sent: bytes | bytearray | None, length: int) -> None:
        """Put out ``sent`` for a message of ``length`` bytes that does not go on as it came."""
        self._aside += length
        if sent is not None:
            self.out.append(encode_frame(Opcode.BINARY, bytes(sent), masked=False))
            self.messages += 1
            self.bytes += len(sent)

    # -- messages in more than one piece: assembled

    def _unmasked(self, buffer: bytearray, start: int, stop: int) -> bytes:
        return bytes(buffer[start:stop])

    def _unmasked_run(self, raw: memoryview) -> bytes:
        return bytes(raw)

    def _begin_copies(self, opcode: int) -> None:
        self._held = bytearray()  # stays empty: the frames do not go on as they came
        self._copy = bytearray()

    def _keep_piece(self, piece: bytes, raw: memoryview) -> bool:
        assert self._copy is not None, "every message of several pieces is assembled"
        return self._keep(self._copy, piece)

    def _end_copies(self, *, text: bool) -> bool:
        payload = self._copy
        assert payload is not None, "every message of several pieces is assembled"
        self._drop_copies()
        self._put(self._read(payload, text=text), len(payload))
        return False
