"""The simulated upstream: accepts, answers the upgrade, and carries its half of a row."""

from __future__ import annotations

import socket
import ssl
from array import array
from functools import partial
from typing import Final

from bench import frames, handshake, spark_frames
from bench.answers import Answers
from bench.board import Board, Counter, Phase, Tally
from bench.failures import SessionLost, UnexpectedAnswer
from bench.later import Later
from bench.loop import READ, WOULD_BLOCK, Loop, Peer, prepare, receive, send
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
from bench.spark_answers import SparkAnswers

SPEECH_SEND_BYTES: Final = 32768
"""Of one stream of the chat dialect on its way, in the kernel: more of 500 fills no memory."""


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
        self._later = Later(self._loop)
        self._round_trip_s = row.round_trip_ms / 1000
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
                if isinstance(self._answers, Answers):
                    self._answers.turn()
                else:
                    self._later.turn()

    def _hand_over(self, receiver: Receiver) -> None:
        for peer in self._peers.values():
            peer.on_ready = receiver.on_ready
            self._loop.change(peer, READ)

    def _make_answers(self) -> Answers | SparkAnswers | None:
        match self._row.dialect:
            case handshake.Dialect.RESPONSES:
                return Answers(
                    gap_ms=self._row.gap_ms, loop=self._loop, finish=self._finish, lose=self._lose
                )
            case handshake.Dialect.CHAT:
                is_short = self._row.traffic is Traffic.FIRST
                return SparkAnswers(
                    spark_frames.whole_answer() if is_short else spark_frames.first_frame(),
                    delay_s=self._round_trip_s,
                    later=self._later,
                    loop=self._loop,
                    finish=self._finish,
                    lose=self._lose,
                )
            case _:
                return None

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
            case Traffic.CHUNKS:
                return self._make_speaker()
            case _:
                return None

    def _make_speaker(self) -> Sender:
        """What goes on with answers that have begun."""
        if self._row.rate_per_s:
            return Timetable(
                rate_per_s=self._row.rate_per_s,
                board=self._board,
                loop=self._loop,
                tally=self._tally,
                stamped=spark_frames.stamped_piece(),
            )
        return Flood(
            spark_frames.piece_batch(BATCH_FRAMES),
            send_bytes=SPEECH_SEND_BYTES,
            loop=self._loop,
            tally=self._tally,
        )

    def _accept(self, listener: Peer) -> None:
        while True:
            try:
                sock, _ = listener.sock.accept()
            except OSError:  # nothing more to accept, or its peer is gone again
                return
            prepare(sock)
            if isinstance(self._answers, Answers):
                note_arrivals(sock)
            if self._row.traffic is Traffic.CHUNKS:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SPEECH_SEND_BYTES)
            if self._tls is None:
                peer = Peer(sock, self._answer)
            else:
                secured = self._tls.wrap_socket(
                    sock, server_side=True, do_handshake_on_connect=False
                )
                peer = Peer(secured, self._shake_hands)
            # The kernel has connected it at once; TCP's round trip and that of TLS come to two.
            self._later.after(2 * self._round_trip_s, partial(self._loop.add, peer, READ))

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
        peer.on_ready = self._listening.on_ready
        self._peers[peer.fd] = peer
        self._tally.add(Counter.ACCEPTED)
        self._later.after(self._round_trip_s, partial(self._greet, peer, answer))

    def _greet(self, peer: Peer, answer: bytes) -> None:
        if self._loop.has(peer):  # else the relay has not waited
            send(peer, answer + self._greeting)  # an empty buffer takes 2 KiB

    def _finish(self, peer: Peer) -> None:
        del self._peers[peer.fd]
        self._loop.close(peer)

    def _lose(self, peer: Peer) -> None:
        self._finish(peer)
        if self._row.traffic is not Traffic.CHURN and not self._board.has_reached(Phase.DRAIN):
            raise SessionLost("the relay ended an upstream's session")
