"""The clients' half of turns: ask by a timetable, and read each answer to its end."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from bench.board import Board, Counter, Tally
from bench.failures import SessionLost
from bench.loop import TICK_S, Loop, Peer, send
from bench.receivers import receive_noted
from bench.senders import Moments
from bench.turn_frames import AnswerReader, Request

_FIRST: Final = Request(goes_on=False)
_NEXT: Final = Request(goes_on=True)


@attrs.define
class _Conversation:
    """One session's.

    Attributes:
        running: Whether an answer is under way.
        previous: The number of the last response, in digits.
    """

    reader: AnswerReader = attrs.field(factory=AnswerReader)
    running: bool = False
    previous: bytes | None = None


class Conversations:
    """Turns of many sessions, each going on from the session's turn before.

    Args:
        lose: Closes a peer whose session has ended.
        ended: Told of each peer whose turn has ended.
    """

    def __init__(
        self,
        *,
        board: Board,
        loop: Loop,
        tally: Tally,
        lose: Callable[[Peer], None],
        ended: Callable[[Peer], None] = lambda peer: None,
    ) -> None:
        self._board = board
        self._loop = loop
        self._tally = tally
        self._lose = lose
        self._ended = ended
        self._moments: Moments | None = None
        self._by_fd: dict[int, _Conversation] = {}
        self.delays_ns = array("q")
        """How long a recorded turn's request and last event were under way, in nanoseconds."""

    def start(self, peers: Sequence[Peer], *, rate_per_s: float) -> None:
        """Begin a turn on every session now, and then one per session and period.

        The first turns run side by side, so a relay that pools upstreams opens as many as there
        are sessions: every later turn finds a warm one.
        """
        for peer in peers:
            self.begin(peer)
        self._moments = Moments(peers, rate_per_s=rate_per_s)

    def turn(self) -> None:
        """Begin what is due, and receive, waiting at most a tick for either."""
        assert self._moments is not None, "started"
        while (wait_ns := self._moments.wait_ns(time.monotonic_ns())) <= 0:
            peer, _ = self._moments.take()
            self.begin(peer)
        self._loop.turn(min(wait_ns / 1e9, TICK_S))

    def begin(self, peer: Peer) -> None:
        """Ask; but not while the answer before is under way, which is counted instead."""
        conversation = self._by_fd.setdefault(peer.fd, _Conversation())
        if conversation.running:
            if self._board.is_recording:
                self._tally.add(Counter.BLOCKED)
            return
        request = _FIRST if conversation.previous is None else _NEXT
        frame = request.sent_at(time.time_ns(), conversation.previous)
        if send(peer, frame) < len(frame):
            raise SessionLost("the relay does not read what its client asks")
        conversation.running = True
        self._tally.add(Counter.BEGUN)

    def on_ready(self, peer: Peer) -> None:
        """Read what has arrived."""
        received = receive_noted(peer)
        if received is None:
            return
        data, arrived_ns = received
        if not data:
            self._lose(peer)
            return
        conversation = self._by_fd.setdefault(peer.fd, _Conversation())
        answer = conversation.reader.read(data)
        if answer is None:
            return
        conversation.previous, stamp_ns = answer
        conversation.running = False
        self._tally.add(Counter.COMPLETED)
        if self._board.is_recording:
            self.delays_ns.append(arrived_ns - stamp_ns)
        self._ended(peer)
