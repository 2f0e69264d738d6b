"""The sending side of one socket: its only writer.

A sink sends at once what it can. What does not fit into the socket it keeps, and says so; its
source is then stopped, so that what is kept stays within one pass. Control frames have one slot
each and go out where the bytes sent so far allow it, which is how a flood of pings costs no
memory and why no pong can land inside somebody's frame.

TLS commits: after OpenSSL wanted to write, the very same bytes must be offered again, so what is
kept is never changed and nothing is put before it.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Final

from relayd.core.hold import HoldBudget
from relayd.protocol.flow import Standing
from relayd.protocol.frames import HEAD_MAX_BYTES, Opcode, close_frame, encode_frame
from relayd.transport.records import RECORD_BYTES

NOTES_MAX_BYTES: Final = 65536
"""relayd's own messages that may wait for a message boundary."""

Slice = memoryview | bytes


class Sink:
    """What is sent to one peer, in order. Never blocks, never raises for a lost peer.

    Attributes:
        standing: Where the bytes accepted so far (sent or pending) leave the peer.
        broken: The socket takes nothing any more; what is written is dropped. Its reading side
            reports why, behind what it still has, and certainly ends.
        blocked_since: Since when the peer has taken no byte, while bytes are pending.
        last_sent: When the socket last took bytes.
        over_budget: ``limits.hold_max_bytes`` was exceeded by what had to be kept here.
        closing: A Close frame was sent or is pending; nothing is accepted behind it.
    """

    __slots__ = (
        "_close",
        "_hold",
        "_notes",
        "_notes_bytes",
        "_pending",
        "_ping",
        "_pong",
        "_slotted",
        "_sock",
        "_tls",
        "blocked_since",
        "broken",
        "closing",
        "last_sent",
        "masked",
        "over_budget",
        "standing",
    )

    def __init__(self, sock: socket.socket, *, masked: bool, hold: HoldBudget, now: float) -> None:
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._hold = hold
        self._pending: deque[memoryview] | None = None
        self._ping: bytes | None = None
        self._pong: bytes | None = None
        self._close: bytes | None = None
        self._notes: list[bytes] = []
        self._notes_bytes = 0
        self._slotted = False  # whether any slot or note waits
        self.masked = masked
        self.standing = Standing.BOUNDARY
        self.broken = False
        self.blocked_since = 0.0
        self.last_sent = now
        self.over_budget = False
        self.closing = False

    @property
    def blocked(self) -> bool:
        """Whether bytes are pending: the source has to wait."""
        return self._pending is not None

    @property
    def at_rest(self) -> bool:
        """Whether all is sent, up to a message boundary, and more could be."""
        if self.broken or self.closing or self._slotted or self._pending is not None:
            return False
        return self.standing is Standing.BOUNDARY

    # -- the relayed direction

    def write(self, slices: list[Slice], standing: Standing, now: float, joint: int = -1) -> bool:
        """Send ``slices``, or keep what the socket does not take.

        Args:
            slices: In order; good only during this call.
            standing: Where they leave the peer.
            now: The pass's time.
            joint: Index before which control frames may go in between; -1 for none.

        Returns:
            ``True`` when nothing is pending.
        """
        if self.broken or self.closing:
            return self._pending is None
        if self._slotted:
            slices = self._weave(slices, standing, joint)
        else:
            self.standing = standing
        return self._send(slices, now)

    def settle(self, standing: Standing, now: float) -> bool:
        """Note where an otherwise empty pass leaves the peer; send what may go there."""
        if not self.closing:
            self.standing = standing
        return self._send_slots(now) if self._slotted else self._pending is None

    def flush(self, now: float) -> bool:
        """The socket is writable again: send what is pending. ``True`` when nothing is left."""
        while self._pending is not None and not self.broken:
            data = self._pending[0]
            sent = self._transmit(data)
            if sent:
                self.blocked_since = self.last_sent = now
                self._hold.give(sent)
            if sent < len(data):
                self._pending[0] = data[sent:]
                break
            self._pending.popleft()
            if not self._pending:
                self._pending = None
        if self.broken:
            self.discard()
            return True
        if self._pending is None and self._slotted:
            return self._send_slots(now)
        return self._pending is None

    # -- relayd's own bytes

    def preface(self, data: bytes) -> None:
        """Put ``data``, the 101, before everything else: it goes out with what comes first.

        :meth:`settle` sends it where nothing comes.
        """
        assert not self._slotted, "a preface comes first"
        assert not self.blocked, "a preface comes first"
        self._notes.append(data)
        self._notes_bytes += len(data)
        self._hold.bytes_held += len(data)  # given back with the notes; too few to refuse
        self._slotted = True

    def pong(self, payloads: Sequence[bytes], now: float) -> bool:
        """Answer pings, one each and in order; while none can be sent only the newest waits."""
        if self._pending is None and self.standing is not Standing.FRAME:
            frames = [encode_frame(Opcode.PONG, p, masked=self.masked) for p in payloads]
            return self.write([b"".join(frames)], self.standing, now)
        self._pong = encode_frame(Opcode.PONG, payloads[-1], masked=self.masked)
        return self._slot(now)

    def ping(self, payload: bytes, now: float) -> bool:
        """Send a ping; one that still waits is replaced."""
        self._ping = encode_frame(Opcode.PING, payload, masked=self.masked)
        return self._slot(now)

    def note(self, text: bytes, now: float) -> bool:
        """Queue a text message of relayd's own for the next message boundary.

        Returns:
            ``False`` where it does not fit beside those that wait: the peer does not read. Behind
            a Close, and on a broken socket, it is dropped as everything is.
        """
        if self.broken or self.closing:
            return True
        frame = encode_frame(Opcode.TEXT, text, masked=self.masked)
        if self._notes_bytes + len(frame) > NOTES_MAX_BYTES or not self._hold.take(len(frame)):
            return False
        self._notes.append(frame)
        self._notes_bytes += len(frame)
        self._slot(now)
        return True

    def send_message(self, text: bytes, now: float) -> bool:
        """Send a whole text message behind what is pending: to a peer that nobody relays to.

        Returns:
            ``False``, and nothing was sent, where the process has no room to keep it. Behind a
            Close, and on a broken socket, it is dropped as everything is.
        """
        assert self.standing is Standing.BOUNDARY, "another writer is inside a message"
        if self.broken or self.closing:
            return True
        room = len(text) + HEAD_MAX_BYTES
        if not self._hold.take(room):
            return False
        self._hold.give(room)  # what the socket does not take is counted anew, and fits
        frame = encode_frame(Opcode.TEXT, text, masked=self.masked)
        self.write([frame], Standing.BOUNDARY, now)
        return True

    def close(self, code: int | None, reason: str, now: float) -> bool:
        """Send a Close behind everything accepted so far; nothing is accepted behind it.

        While the peer stands inside a frame, the Close waits for the rest of that frame. Only the
        first Close counts.

        Returns:
            ``True`` when nothing is pending, which includes a Close that waits like that.
        """
        if self._close is None:
            self._close = close_frame(code, reason, masked=self.masked)
        return self._slot(now)

    def discard(self) -> None:
        """Drop everything that waits and give its bytes back."""
        if self._pending is not None:
            self._hold.give(sum(map(len, self._pending)))
        self._pending = None
        self._ping = self._pong = self._close = None
        self._take_notes()
        self._slotted = False

    # -- inside

    def _take_notes(self) -> list[bytes]:
        notes, self._notes = self._notes, []
        self._hold.give(self._notes_bytes)
        self._notes_bytes = 0
        return notes

    def _slot(self, now: float) -> bool:
        """Something was put into a slot: send it if it may go; behind a Close it is dropped."""
        if self.broken or self.closing:
            self._ping = self._pong = self._close = None
            return self._pending is None
        self._slotted = True
        return self._send_slots(now)

    def _send_slots(self, now: float) -> bool:
        if self._pending is not None:
            return False
        frames = self._take_slots(self.standing)
        return self._send(frames, now) if frames else True

    def _take_slots(self, standing: Standing) -> list[Slice]:
        """The waiting frames that may go out where the peer stands, taken from their slots."""
        if standing is Standing.FRAME or self.closing:
            return []
        frames: list[Slice] = []
        if standing is Standing.BOUNDARY:
            frames += self._take_notes()
        frames += [frame for frame in (self._pong, self._ping, self._close) if frame]
        self.closing = self._close is not None
        self._ping = self._pong = self._close = None
        self._slotted = bool(self._notes)
        return frames

    def _weave(self, slices: list[Slice], standing: Standing, joint: int) -> list[Slice]:
        """``slices`` with the waiting frames put where they may stand; moves the standing.

        Where a Close is among those, what would come behind it is left out.
        """
        woven = self._take_slots(self.standing)
        if self.closing:
            return woven
        if self._slotted and joint >= 0:
            woven += slices[:joint]
            slices = slices[joint:]
            self.standing = Standing.MESSAGE  # at least: a large frame has just ended
            woven += self._take_slots(self.standing)
            if self.closing:
                return woven
        self.standing = standing
        woven += slices
        if self._slotted:
            woven += self._take_slots(standing)
        return woven

    def _send(self, slices: list[Slice], now: float) -> bool:
        """Send ``slices`` behind what is pending; ``True`` when nothing is."""
        if self._pending is not None:
            self._append(slices)
            return False
        data = slices[0] if len(slices) == 1 else b"".join(slices)
        sent = self._transmit(data)
        if sent:
            self.last_sent = now
        if sent == len(data) or self.broken:
            return True
        self._pending = deque()
        self._append([data[sent:]])
        self.blocked_since = now
        return False

    def _append(self, slices: list[Slice]) -> None:
        assert self._pending is not None
        for piece in slices:
            kept = memoryview(bytes(piece))
            if not self._hold.take(len(kept)):
                self._hold.bytes_held += len(kept)  # already consumed from the peer: it must stay
                self.over_budget = True
            self._pending.append(kept)

    def _transmit(self, data: Slice) -> int:
        """Give ``data`` to the socket; how much of it was taken, 0 where it would block."""
        if self._tls:
            return self._transmit_tls(data)
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._break()
            return 0

    def _transmit_tls(self, data: Slice) -> int:
        assert isinstance(self._sock, ssl.SSLSocket)
        rest, sent = memoryview(data), 0
        try:
            while sent < len(data):
                # Whole pieces of one record each, cut at fixed places: what is offered again
                # after a refusal is then byte for byte, and in length, what was refused.
                sent += self._sock.write(rest[sent : sent + RECORD_BYTES])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return sent
        except OSError:
            self._break()
        return sent

    def _break(self) -> None:
        self.broken = True
        try:
            # Whatever the error was, reading comes to an end now, behind what was received
            # before. SSLSocket's own method would throw the TLS state away, and that with it.
            socket.socket.shutdown(self._sock, socket.SHUT_RD)
        except OSError:
            pass  # not connected any more, so that reading ends anyhow
