"""The clients: open the row's sessions, and carry their half of its traffic."""

from __future__ import annotations

import errno
import os
import socket
from array import array
from typing import TYPE_CHECKING, Final

from bench import frames, openings
from bench.board import Board, Counter, Phase, Tally
from bench.conversations import Conversations
from bench.failures import SessionLost, UnexpectedAnswer
from bench.handshake import Dialect, first_line
from bench.loop import READ, TICK_S, WRITE, Loop, Peer, prepare, receive, send
from bench.pieces import Pieces
from bench.questions import Questions
from bench.receivers import Counting, Listening, Receiver, Stamps, note_arrivals
from bench.rows import Row, Traffic
from bench.senders import BATCH_FRAMES, PLAIN_SEND_BYTES, Flood

if TYPE_CHECKING:
    from bench.relays import Address

OPENING_MAX: Final = 32
"""Sessions under way to their first frame at once, over all processes; half of what relayd
permits one address."""


_TIMED: Final = (Stamps, Conversations, Pieces, Questions)
"""Receivers that keep delays."""


class Clients:
    """One process's share of the clients.

    Args:
        row: What is measured.
        address: Where the relay listens.
        secret: The key that the relay knows.
        sessions: How many of the row's sessions are this process's.
        opening_max: How many of them are opened at once.
    """

    def __init__(
        self,
        row: Row,
        address: Address,
        secret: str,
        *,
        sessions: int,
        opening_max: int,
        board: Board,
        tally: Tally,
    ) -> None:
        self._row = row
        self._address = address
        self._host = f"{address[0]}:{address[1]}"
        self._secret = secret
        self._sessions = sessions
        self._opening_max = opening_max
        self._board = board
        self._tally = tally
        self._loop = Loop()
        self._opening = 0
        self._peers: list[Peer] = []
        self._conversations = self._make_conversations()
        self._receiver = self._conversations or self._make_receiver()

    def run(self) -> array[int]:
        """Open the sessions and carry their traffic, until the board says that it is over.

        Returns:
            How long each recorded message or turn of a paced row was under way, in nanoseconds.

        Raises:
            RunFailed: The relay refused or lost a session.
        """
        while not self._board.has_reached(Phase.TRAFFIC):
            if self._row.traffic is not Traffic.CHURN:
                self._open_more(self._sessions - len(self._peers))
            self._loop.turn(TICK_S)
        self._carry()
        while not self._board.has_reached(Phase.END):
            with self._board.in_traffic():
                self._loop.turn(TICK_S)
        return self._receiver.delays_ns if isinstance(self._receiver, _TIMED) else array("q")

    def _make_receiver(self) -> Receiver:
        match self._row.traffic:
            case Traffic.PACED:
                return Stamps(self._board, self._tally, self._lose)
            case Traffic.BURST:
                return Counting(self._tally, self._lose)
            case Traffic.CHUNKS:
                timed = self._row.rate_per_s > 0
                return Pieces(self._board, self._tally, self._lose, timed=timed)
            case _:
                return Listening(self._loop.close, self._lose)

    def _make_conversations(self) -> Conversations | Questions | None:
        """Of a row whose sessions ask something: all the time, or once before they idle."""
        if self._row.traffic is Traffic.FIRST:
            return Questions(
                self._host,
                self._secret,
                board=self._board,
                loop=self._loop,
                tally=self._tally,
                lose=self._lose,
            )
        if self._row.dialect is not Dialect.RESPONSES:
            return None
        return Conversations(
            board=self._board,
            loop=self._loop,
            tally=self._tally,
            lose=self._lose,
            ended=self._come_to_rest if self._row.traffic is Traffic.IDLE else _go_on,
        )

    def _carry(self) -> None:
        if self._row.traffic in {Traffic.TURNS, Traffic.FIRST}:
            self._converse()
            return
        flood: Flood | None = None
        if self._row.traffic is Traffic.APPEND:
            flood = Flood(
                frames.append_batch(BATCH_FRAMES),
                send_bytes=PLAIN_SEND_BYTES,
                loop=self._loop,
                tally=self._tally,
            )
            flood.start(self._peers)
        with self._board.in_traffic():
            while not self._board.has_reached(Phase.DRAIN):
                if self._row.traffic is Traffic.CHURN:
                    self._open_more(self._sessions)
                self._loop.turn(TICK_S)
        if flood is not None:
            for peer in self._peers:
                peer.on_ready = self._receiver.on_ready
                self._loop.change(peer, READ)

    def _converse(self) -> None:
        assert self._conversations is not None, "the row has turns"
        with self._board.in_traffic():
            self._conversations.start(self._peers, rate_per_s=self._row.rate_per_s)
            while not self._board.has_reached(Phase.DRAIN):
                self._conversations.turn()

    def _open_more(self, wanted: int) -> None:
        for _ in range(min(wanted, self._opening_max) - self._opening):
            self._opening += 1
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            prepare(sock)
            if isinstance(self._receiver, _TIMED):
                note_arrivals(sock)
            self._loop.add(Peer(sock, self._ask), WRITE)
            if sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
                raise UnexpectedAnswer("no connection to the relay")

    def _ask(self, peer: Peer) -> None:
        error = peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise UnexpectedAnswer(f"no connection to the relay: {os.strerror(error)}")
        self._loop.change(peer, READ)
        if self._row.traffic is Traffic.FIRST:  # it asks by the timetable
            self._establish(peer)
            return
        send(peer, openings.request(self._host, self._secret, self._row.dialect))
        peer.on_ready = self._hear

    def _hear(self, peer: Peer) -> None:
        data = receive(peer)
        if data is None:
            return
        peer.received += data
        if openings.is_open(peer.received, self._row.dialect):
            self._establish(peer)
        elif not data:
            heard = first_line(peer.received) or "nothing"
            raise UnexpectedAnswer(f"the relay closed after: {heard}")

    def _establish(self, peer: Peer) -> None:
        peer.received.clear()
        if self._row.traffic is Traffic.CHURN:
            self._tally.add(Counter.ESTABLISHED)
            send(peer, frames.MASKED_CLOSE)
            peer.on_ready = self._see_off
            return
        peer.on_ready = self._receiver.on_ready
        if self._conversations is not None and self._row.traffic is Traffic.IDLE:
            self._conversations.begin(peer)
        else:
            self._come_to_rest(peer)

    def _come_to_rest(self, peer: Peer) -> None:
        self._tally.add(Counter.ESTABLISHED)
        self._opening -= 1
        self._peers.append(peer)
        self._open_more(self._sessions - len(self._peers))

    def _see_off(self, peer: Peer) -> None:
        """Wait for the relay's Close and the end of its connection; then open the next session."""
        if receive(peer) != b"":
            return
        self._tally.add(Counter.COMPLETED)
        self._opening -= 1
        self._loop.close(peer)
        if not self._board.has_reached(Phase.DRAIN):
            self._open_more(self._sessions)

    def _lose(self, peer: Peer) -> None:
        self._loop.close(peer)
        if not self._board.has_reached(Phase.DRAIN):
            raise SessionLost("the relay ended a client's session")


def _go_on(peer: Peer) -> None:
    """A turn has ended, and its session has the next one when its moment comes."""
