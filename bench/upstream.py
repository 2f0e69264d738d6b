"""The simulated upstream: accepts, answers the upgrade, and carries its half of a row."""

from __future__ import annotations

import ssl
from array import array
from typing import TYPE_CHECKING

from bench import frames, handshake
from bench.answers import Answers
from bench.board import Board, Counter, Phase, Tally
from bench.failures import SessionLost, UnexpectedAnswer
from bench.loop import READ, TICK_S, WOULD_BLOCK, Loop, Peer, prepare, receive, send
from bench.receivers import Counting, Listening, Receiver, note_arrivals
from bench.rows import Row, Traffic
from bench.senders import (
    BATCH_FRAMES,
    PLAIN_SEND_BYTES,
    TLS_SEND_BYTES,
    Flood,
    Sender,
    Timetable,
)

if TYPE_CHECKING:
    import socket


class Upstream:
    """One process's share of the upstream.

    Args:
        row: What is measured.
        listener: Listens already; other processes may accept from it as well.
        tls: The server's context where the row has TLS.
    """

    def __init__(
        self,
        row: Row,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        *,
        board: Board,
        tally: Tally,
    ) -> None:
        self._row = row
        self._tls = tls
        self._board = board
        self._tally = tally
        self._loop = Loop()
        self._peers: dict[int, Peer] = {}
        self._greeting = frames.session_created() if row.dialect.greets else b""
        self._answers = self._make_answers()
        self._listening = self._answers or Listening(self._finish, self._lose)
        self._sender = self._make_sender()
        self._loop.add(Peer(listener, self._accept), READ)

    def run(self) -> array[int]:
        """Serve until the board says that it is over.

        Returns:
            How late each recorded frame of a timetable left, in nanoseconds.

        Raises:
            RunFailed: The relay asked something else, or lost a session.
        """
        self._serve_until(Phase.TRAFFIC)
        if self._row.traffic is Traffic.APPEND:
            self._hand_over(Counting(self._tally, self._lose))
        if self._sender is not None:
            self._sender.start(list(self._peers.values()))
            with self._board.in_traffic():
                while not self._board.has_reached(Phase.DRAIN):
                    self._sender.turn()
            self._hand_over(self._listening)
        self._serve_until(Phase.END)
        return self._sender.lateness_ns if isinstance(self._sender, Timetable) else array("q")

    def _serve_until(self, phase: Phase) -> None:
        while not self._board.has_reached(phase):
            with self._board.in_traffic():
                if self._answers is not None:
                    self._answers.turn()
                else:
                    self._loop.turn(TICK_S)

    def _hand_over(self, receiver: Receiver) -> None:
        for peer in self._peers.values():
            peer.on_ready = receiver.on_ready
            self._loop.change(peer, READ)

    def _make_answers(self) -> Answers | None:
        if self._row.dialect is not handshake.Dialect.RESPONSES:
            return None
        return Answers(
            gap_ms=self._row.gap_ms, loop=self._loop, finish=self._finish, lose=self._lose
        )

    def _make_sender(self) -> Sender | None:
        match self._row.traffic:
            case Traffic.PACED:
                return Timetable(
                    rate_per_s=self._row.rate_per_s,
                    board=self._board,
                    loop=self._loop,
                    tally=self._tally,
                )
            case Traffic.BURST:
                return Flood(
                    frames.delta_batch(BATCH_FRAMES),
                    send_bytes=TLS_SEND_BYTES if self._tls else PLAIN_SEND_BYTES,
                    loop=self._loop,
                    tally=self._tally,
                )
            case _:
                return None

    def _accept(self, listener: Peer) -> None:
        while True:
            try:
                sock, _ = listener.sock.accept()
            except OSError:  # nothing more to accept, or its peer is gone again
                return
            prepare(sock)
            if self._answers is not None:
                note_arrivals(sock)
            if self._tls is None:
                self._loop.add(Peer(sock, self._answer), READ)
                continue
            secured = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._loop.add(Peer(secured, self._shake_hands), READ)

    def _shake_hands(self, peer: Peer) -> None:
        assert isinstance(peer.sock, ssl.SSLSocket)
        try:
            peer.sock.do_handshake()
        except WOULD_BLOCK:
            return  # the server's flights fit any socket's buffer: it only ever waits to read
        except OSError as error:
            raise UnexpectedAnswer(f"TLS handshake with the relay: {error}") from error
        peer.on_ready = self._answer
        self._answer(peer)

    def _answer(self, peer: Peer) -> None:
        data = receive(peer)
        if data is None:
            return
        if not data:
            self._loop.close(peer)  # a relay may look whether we are there
            return
        peer.received += data
        answer = handshake.upgrade_answer(peer.received)
        if answer is None:
            return
        peer.received.clear()
        send(peer, answer + self._greeting)  # an empty buffer takes 2 KiB
        peer.on_ready = self._listening.on_ready
        self._peers[peer.fd] = peer
        self._tally.add(Counter.ACCEPTED)

    def _finish(self, peer: Peer) -> None:
        del self._peers[peer.fd]
        self._loop.close(peer)

    def _lose(self, peer: Peer) -> None:
        self._finish(peer)
        if self._row.traffic is not Traffic.CHURN and not self._board.has_reached(Phase.DRAIN):
            raise SessionLost("the relay ended an upstream's session")
