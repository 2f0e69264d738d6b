"""Both ends of devices' talks: devices, and servers that say every packet back."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from array import array
from typing import TYPE_CHECKING, Final

from bench import device_frames, frames, handshake
from bench.board import Board, Counter, Phase, Tally
from bench.device_frames import BINARY, CLOSE, TEXT
from bench.failures import SessionLost, UnexpectedAnswer
from bench.loop import READ, TICK_NS, TICK_S, WRITE, Loop, Peer, prepare, receive, send
from bench.receivers import note_arrivals, receive_noted
from bench.senders import Moments

if TYPE_CHECKING:
    from bench.relays import Address

OPENINGS_PER_S: Final = 100.0
"""Devices that wake up in a second, spread over it."""

_HEAD_END: Final = b"\r\n\r\n"


class Servers:
    """One server's process.

    Args:
        listener: Where it is reached.
    """

    def __init__(self, listener: socket.socket, *, board: Board, tally: Tally) -> None:
        self._board = board
        self._tally = tally
        self._loop = Loop()
        self._loop.add(Peer(listener, self._accept), READ)

    def run(self) -> array[int]:
        """Answer until the board says that it is over; there is nothing to report."""
        with self._board.in_traffic():
            while not self._board.has_reached(Phase.END):
                self._loop.turn(TICK_S)
        return array("q")

    def _accept(self, listener: Peer) -> None:
        with contextlib.suppress(OSError):  # nothing more to accept, or its peer is gone again
            while True:
                sock, _ = listener.sock.accept()
                prepare(sock)
                self._loop.add(Peer(sock, self._shake_hands), READ)

    def _shake_hands(self, peer: Peer) -> None:
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
        del peer.received[: peer.received.index(_HEAD_END) + len(_HEAD_END)]
        self._tally.add(Counter.ACCEPTED)
        send(peer, answer)
        peer.on_ready = self._hear
        self._take(peer)

    def _hear(self, peer: Peer) -> None:
        data = receive(peer)
        if data is None:
            return
        if not data:
            self._loop.close(peer)
            return
        peer.received += data
        self._take(peer)

    def _take(self, peer: Peer) -> None:
        """Answer what has come whole, in one go."""
        said = bytearray(peer.unsent)
        for opcode, payload in device_frames.taken(peer.received):
            if opcode == BINARY:
                said += device_frames.echoed(payload)
            elif opcode == TEXT and b'"hello"' in payload:
                said += device_frames.WELCOME
            elif opcode == CLOSE:
                send(peer, frames.CLOSE)
                self._loop.close(peer)
                return
        if said:
            peer.unsent = bytes(said[send(peer, said) :])


class Devices:
    """The devices' process.

    Args:
        addresses: Where they connect, by turns: the relay, or both servers.
        secret: The key that the relay knows.
        sessions: How many there are.
    """

    def __init__(
        self,
        addresses: tuple[Address, ...],
        secret: str,
        *,
        sessions: int,
        board: Board,
        tally: Tally,
    ) -> None:
        self._addresses = addresses
        self._secret = secret
        self._sessions = sessions
        self._board = board
        self._tally = tally
        self._loop = Loop()
        self._standing: list[Peer] = []
        self._began_ns: dict[int, int] = {}
        self._hellos_ns = array("q")
        self._delays_ns = array("q")

    def run(self) -> array[int]:
        """Connect all, then speak, until the board says that it is over.

        Returns:
            How many hellos there were; how long each took from the connecting on; how long each
            recorded packet was on its way to the server and back, all in nanoseconds.
        """
        self._open_all()
        self._until(Phase.TRAFFIC)
        for peer in self._standing:
            self._say(peer, device_frames.LISTEN)
        moments = Moments(self._standing, rate_per_s=device_frames.FRAMES_PER_S)
        while not self._board.has_reached(Phase.DRAIN):
            self._speak(moments)
        with self._board.in_traffic():
            self._until(Phase.END)
        return array("q", [len(self._hellos_ns), *self._hellos_ns, *self._delays_ns])

    def _until(self, phase: Phase) -> None:
        while not self._board.has_reached(phase):
            self._loop.turn(TICK_S)

    def _speak(self, moments: Moments) -> None:
        """Say what falls due within a tick, and hear in between."""
        while (wait_ns := moments.wait_ns(time.monotonic_ns())) <= 0:
            peer, _ = moments.take()
            self._say(peer, device_frames.spoken(time.time_ns()))
            self._tally.add(Counter.BEGUN)
        self._loop.turn(min(wait_ns, TICK_NS) / 1e9)

    def _say(self, peer: Peer, frame: bytes) -> None:
        if send(peer, frame) < len(frame):
            raise SessionLost("the relay does not read what a device says")

    def _open_all(self) -> None:
        began, opened = time.monotonic(), 0
        while len(self._standing) < self._sessions and not self._board.has_reached(Phase.END):
            due = int((time.monotonic() - began) * OPENINGS_PER_S) + 1
            while opened < min(due, self._sessions):
                self._open(opened)
                opened += 1
            self._loop.turn(1 / OPENINGS_PER_S)

    def _open(self, number: int) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        prepare(sock)
        note_arrivals(sock)
        address = self._addresses[number % len(self._addresses)]
        peer = Peer(sock, lambda peer: self._ask(peer, address, number))
        self._loop.add(peer, WRITE)
        self._began_ns[peer.fd] = time.time_ns()
        if sock.connect_ex(address) not in (0, errno.EINPROGRESS):
            raise UnexpectedAnswer("no connection to the relay")

    def _ask(self, peer: Peer, address: Address, number: int) -> None:
        error = peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise UnexpectedAnswer(f"no connection to the relay: {os.strerror(error)}")
        self._loop.change(peer, READ)
        host = f"{address[0]}:{address[1]}"
        send(peer, device_frames.request(host, self._secret, number))
        peer.on_ready = self._shake_hands

    def _shake_hands(self, peer: Peer) -> None:
        data = receive(peer)
        if data is None:
            return
        peer.received += data
        end = peer.received.find(_HEAD_END)
        if not data or (end >= 0 and not peer.received.startswith(b"HTTP/1.1 101 ")):
            heard = handshake.first_line(peer.received) or "nothing"
            raise UnexpectedAnswer(f"the relay let a device in with: {heard}")
        if end >= 0:
            del peer.received[: end + len(_HEAD_END)]
            self._say(peer, device_frames.HELLO)
            peer.on_ready = self._hear

    def _hear(self, peer: Peer) -> None:
        received = receive_noted(peer)
        if received is None:
            return
        data, arrived_ns = received
        if not data:
            self._lose(peer, "ended")
            return
        peer.received += data
        for opcode, payload in device_frames.taken(peer.received):
            if opcode == BINARY:
                self._tally.add(Counter.COMPLETED)
                if self._board.is_recording:
                    self._delays_ns.append(arrived_ns - device_frames.stamp_of(payload))
            elif opcode == TEXT and b'"hello"' in payload:
                self._hellos_ns.append(arrived_ns - self._began_ns.pop(peer.fd))
                self._standing.append(peer)
                self._tally.add(Counter.ESTABLISHED)
            elif opcode == CLOSE:
                self._lose(peer, f"closed with {payload[2:].decode(errors='replace')}")
                return

    def _lose(self, peer: Peer, how: str) -> None:
        self._loop.close(peer)
        if not self._board.has_reached(Phase.DRAIN):
            raise SessionLost(f"the relay {how} a device's session")
