"""The clients' half of short answers: ask by a timetable, and wait for the first piece of each."""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING

import attrs

from bench import openings
from bench.board import Board, Counter, Tally
from bench.failures import SessionLost, UnexpectedAnswer
from bench.handshake import Dialect
from bench.loop import TICK_S, Loop, Peer, send
from bench.pieces import DONE, LAST_CHUNK, PieceReader
from bench.receivers import receive_noted
from bench.senders import Moments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@attrs.define
class _Question:
    """One that is under way.

    Attributes:
        heard: Whether its first piece has come.
        received: All of the answer so far.
    """

    asked_ns: int
    heard: bool = False
    reader: PieceReader = attrs.field(factory=PieceReader)
    received: bytearray = attrs.field(factory=bytearray)


class Questions:
    """One question after the other on each of many connections.

    Args:
        host: For the requests' Host.
        secret: The key that the relay knows.
        lose: Closes a peer whose connection has ended.
    """

    def __init__(
        self,
        host: str,
        secret: str,
        *,
        board: Board,
        loop: Loop,
        tally: Tally,
        lose: Callable[[Peer], None],
    ) -> None:
        self._request = openings.request(host, secret, Dialect.CHAT)
        self._board = board
        self._loop = loop
        self._tally = tally
        self._lose = lose
        self._moments: Moments | None = None
        self._by_fd: dict[int, _Question] = {}
        self.delays_ns = array("q")
        """From each recorded question to the first piece of its answer, in nanoseconds."""

    def start(self, peers: Sequence[Peer], *, rate_per_s: float) -> None:
        """Ask on every connection once per period, from now on."""
        self._moments = Moments(peers, rate_per_s=rate_per_s)

    def turn(self) -> None:
        """Ask what is due, and receive, waiting at most a tick for either."""
        assert self._moments is not None, "started"
        while (wait_ns := self._moments.wait_ns(time.monotonic_ns())) <= 0:
            peer, _ = self._moments.take()
            self.begin(peer)
        self._loop.turn(min(wait_ns / 1e9, TICK_S))

    def begin(self, peer: Peer) -> None:
        """Ask; but not while the answer before is under way, which is counted instead."""
        if peer.fd in self._by_fd:
            if self._board.is_recording:
                self._tally.add(Counter.BLOCKED)
            return
        self._by_fd[peer.fd] = _Question(time.time_ns())
        if send(peer, self._request) < len(self._request):
            raise SessionLost("the relay does not read what its client asks")
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
        question = self._by_fd.get(peer.fd)
        if question is None:
            raise UnexpectedAnswer(f"an answer to no question: {data[:200]!r}")
        question.received += data
        if question.reader.read(data) and not question.heard:
            question.heard = True
            if self._board.is_recording:
                self.delays_ns.append(arrived_ns - question.asked_ns)
        if question.heard and question.received.endswith(LAST_CHUNK):
            self._end(peer, question)
        elif not question.heard:
            openings.is_open(question.received, Dialect.CHAT)

    def _end(self, peer: Peer, question: _Question) -> None:
        del self._by_fd[peer.fd]
        if DONE not in question.received:
            raise UnexpectedAnswer("an answer that ends without [DONE]")
        self._tally.add(Counter.COMPLETED)
