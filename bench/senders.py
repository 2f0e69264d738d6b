"""The two ways to send: as fast as the socket takes it, and by a timetable."""

from __future__ import annotations

import random
import time
from array import array
from typing import TYPE_CHECKING, Final, Protocol

from bench import frames
from bench.board import Board, Counter, Tally
from bench.loop import TICK_NS, TICK_S, WRITE, Loop, Peer, send

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH_FRAMES: Final = 64
"""Different frames in a batch: 64 KiB, what a busy relay receives in one call."""
PLAIN_SEND_BYTES: Final = 262144
TLS_SEND_BYTES: Final = 16384  # one record; a retry must present the same bytes again


class Sender(Protocol):
    """What drives a process's sessions while traffic runs."""

    def start(self, peers: Sequence[Peer]) -> None:
        """Begin on these established sessions."""

    def turn(self) -> None:
        """Send what is due, and wait at most a tick."""


class Flood:
    """Sends a batch of frames over and over on every session, as fast as its socket takes it."""

    def __init__(self, batch: bytes, *, send_bytes: int, loop: Loop, tally: Tally) -> None:
        rounds = send_bytes // len(batch) + 2
        self._stream = memoryview(batch * rounds)  # any offset in the batch has send_bytes after it
        self._batch_bytes = len(batch)
        self._send_bytes = send_bytes
        self._loop = loop
        self._tally = tally

    def start(self, peers: Sequence[Peer]) -> None:
        """Begin to fill the peers' sockets whenever they take something."""
        for peer in peers:
            peer.on_ready = self._fill
            self._loop.change(peer, WRITE)

    def turn(self) -> None:
        """Fill each socket that takes something."""
        self._loop.turn(TICK_S)

    def _fill(self, peer: Peer) -> None:
        offset = peer.offset
        sent = send(peer, self._stream[offset : offset + self._send_bytes])
        peer.offset = (offset + sent) % self._batch_bytes
        self._tally.add(Counter.SENT_BYTES, sent)


class Moments:
    """One moment per session and period, each session at its own; the first period begins now.

    They are drawn once, evenly over the period, from a fixed seed: sessions of real clients are
    not in step.
    """

    def __init__(self, peers: Sequence[Peer], *, rate_per_s: float) -> None:
        self._period_ns = round(1e9 / rate_per_s)
        draw = random.Random(len(peers))
        start_ns = time.monotonic_ns()
        self._peers = peers
        self._due_ns = sorted(start_ns + draw.randrange(self._period_ns) for _ in peers)
        self._next = 0

    def wait_ns(self, now_ns: int) -> int:
        """How long it is to the next moment; negative where it is over. A tick without peers."""
        return self._due_ns[self._next] - now_ns if self._due_ns else TICK_NS

    def take(self) -> tuple[Peer, int]:
        """Whose the next moment is, and when; the one after it is the next then."""
        peer, due_ns = self._peers[self._next], self._due_ns[self._next]
        self._due_ns[self._next] = due_ns + self._period_ns
        self._next = (self._next + 1) % len(self._peers)
        return peer, due_ns


class Timetable:
    """Sends one stamped frame per session and period, each session at its own moment in it.

    A moment that is missed is made up for at once, and its lateness kept, so that a generator that
    cannot hold the rate is seen.

    Args:
        stamped: The frame, and where in it its stamp belongs; a delta where nothing is said.
    """

    def __init__(
        self,
        *,
        rate_per_s: float,
        board: Board,
        loop: Loop,
        tally: Tally,
        stamped: tuple[bytearray, slice] | None = None,
    ) -> None:
        self._rate_per_s = rate_per_s
        self._board = board
        self._loop = loop
        self._tally = tally
        self._frame, self._stamp = stamped or frames.stamped_frame()
        self._moments = Moments((), rate_per_s=rate_per_s)
        self.lateness_ns = array("q")
        """How late each recorded frame left, in nanoseconds."""

    def start(self, peers: Sequence[Peer]) -> None:
        """Draw each session's moment; the first period begins now."""
        self._moments = Moments(peers, rate_per_s=self._rate_per_s)

    def turn(self) -> None:
        """Send what falls due within a tick, sleeping in between."""
        self._loop.turn(0)
        end_ns = time.monotonic_ns() + TICK_NS
        while (now_ns := time.monotonic_ns()) < end_ns:
            wait_ns = self._moments.wait_ns(now_ns)
            if wait_ns > 0:
                time.sleep(min(wait_ns, end_ns - now_ns) / 1e9)
            else:
                self._send_one(now_ns)

    def _send_one(self, now_ns: int) -> None:
        peer, due_ns = self._moments.take()
        if self._board.is_recording:
            self.lateness_ns.append(now_ns - due_ns)
        if peer.unsent:
            peer.unsent = peer.unsent[send(peer, peer.unsent) :]
        if peer.unsent:
            self._tally.add(Counter.BLOCKED)
            return
        self._frame[self._stamp] = b"%0*d" % (frames.STAMP_DIGITS, time.time_ns())
        sent = send(peer, self._frame)
        if sent < len(self._frame):
            peer.unsent = bytes(self._frame[sent:])
        self._tally.add(Counter.SENT_BYTES, len(self._frame))
