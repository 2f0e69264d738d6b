"""The subscribers of the hub's rows: one topic each, every event counted, some of them timed.

What a subscriber receives is one event most of the time: its frame's head says so, its number is
compared with the one before, and nothing else is read. One receive in :data:`SAMPLE_EVERY` also
asks the kernel when the event arrived.
"""

from __future__ import annotations

import errno
import socket
from array import array
from typing import TYPE_CHECKING, Final

from bench import hub_frames
from bench.board import Board, Counter, Phase, Tally
from bench.failures import SessionLost, UnexpectedAnswer
from bench.frames import frame_end
from bench.handshake import first_line
from bench.hub_frames import NUMBER_FROM, NUMBER_TO, STAMP_FROM
from bench.hub_series import pack
from bench.hub_stopper import Stopper
from bench.loop import READ, TICK_S, WRITE, Loop, Peer, prepare, receive, send
from bench.receivers import note_arrivals, receive_noted

if TYPE_CHECKING:
    from bench.relays import Address
    from bench.rows import Row

OPENING_MAX: Final = 32
"""Upgrades under way at once, over all processes; half of what relayd permits one address."""
SAMPLE_EVERY: Final = 11
"""No divisor of how many subscribers a row has, so that all of them are sampled by turns."""
SLOW: Final = 4008
RECEIVE_BYTES: Final = 65536

_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
_LONG: Final = 126  # RFC 6455 section 5.2: two bytes of length follow
_LONG_HEAD_BYTES: Final = 4
_STAMP_TO: Final = -3


class Subscriber(Peer):
    """One connection.

    Attributes:
        topic: What it follows.
        expected: The number of the next event; ``received`` holds the beginning of a frame.
    """

    __slots__ = ("expected", "topic")

    def __init__(self, sock: socket.socket, topic: str) -> None:
        super().__init__(sock, _early)
        self.topic = topic
        self.expected = 0


class Subscribers:
    """One process's share of the subscribers.

    Args:
        row: What is measured.
        address: Where the relay listens.
        secret: The key that the relay knows.
        numbers: Which of the row's subscribers are this process's. The first of all is the one
            that stops, where one does.
        opening_max: How many of them are opened at once.
    """

    def __init__(
        self,
        row: Row,
        address: Address,
        secret: str,
        *,
        numbers: range,
        opening_max: int,
        board: Board,
        tally: Tally,
    ) -> None:
        self._row = row
        self._address = address
        self._host = f"{address[0]}:{address[1]}"
        self._secret = secret
        self._opening_max = opening_max
        self._board = board
        self._tally = tally
        self.loop = Loop()
        self._opening = 0
        stops = row.stops and 0 in numbers
        self._topics = [
            hub_frames.topic(number % row.topics) for number in numbers[1 if stops else 0 :]
        ]
        self._stopper = (
            Stopper(address, secret, board=board, loop=self.loop, tally=tally) if stops else None
        )
        self._buffer = bytearray(RECEIVE_BYTES)
        self._receives = 0
        self.delays_ns = array("q")
        """How long recorded events were under way."""
        self.later_delays_ns = array("q")
        """The same once a subscriber has stopped."""

    def run(self) -> array[int]:
        """Subscribe, and receive until the board says that it is over.

        Returns:
            Two series: how long events were under way, in nanoseconds, before and after a
            subscriber stopped.

        Raises:
            RunFailed: The relay refused or lost a subscriber.
        """
        if self._stopper is not None:
            self._stopper.open()
        while not self._board.has_reached(Phase.END):
            self._open_more()
            if self._stopper is not None:
                self._stopper.look()
            with self._board.in_traffic():
                self.loop.turn(TICK_S)
        self.loop.end()
        return pack(self.delays_ns, self.later_delays_ns)

    # -- opening

    def _open_more(self) -> None:
        while self._topics and self._opening < self._opening_max:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            prepare(sock)
            note_arrivals(sock)
            peer = Subscriber(sock, self._topics.pop())
            peer.on_ready = self._ask
            self._opening += 1
            self.loop.add(peer, WRITE)
            if sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
                raise UnexpectedAnswer("no connection to the relay")

    def _ask(self, peer: Peer) -> None:
        assert isinstance(peer, Subscriber)
        self.loop.change(peer, READ)
        peer.on_ready = self._hear
        send(peer, hub_frames.upgrade(self._host, self._secret, [peer.topic]))

    def _hear(self, peer: Peer) -> None:
        data = receive(peer)
        if data is None:
            return
        peer.received += data
        end = hub_frames.welcome_end(peer.received)
        if end is not None:
            del peer.received[:end]
            peer.on_ready = self.on_ready
            self._opening -= 1
            self._tally.add(Counter.ESTABLISHED)
            self._open_more()
        elif not data:
            heard = first_line(peer.received) or "nothing"
            raise UnexpectedAnswer(f"the relay closed after: {heard}")

    # -- receiving

    def on_ready(self, peer: Peer) -> None:
        """Receive once, and count what it brings."""
        assert isinstance(peer, Subscriber)
        self._receives += 1
        if self._receives % SAMPLE_EVERY == 0 and self._board.has_reached(Phase.RECORD):
            self._sample(peer)
            return
        buffer = self._buffer
        try:
            size = peer.sock.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if (
            size > _LONG_HEAD_BYTES
            and not peer.received
            and buffer[0] == _TEXT
            and buffer[1] == _LONG
            and size == _LONG_HEAD_BYTES + (buffer[2] << 8 | buffer[3])
        ):
            number = int(buffer[size + NUMBER_FROM : size + NUMBER_TO])
            if number != peer.expected:
                self._tally.add(Counter.DISORDERED)
            peer.expected = number + 1
            self._tally.add(Counter.COMPLETED)
            return
        self._read(peer, bytes(buffer[:size]))

    def _sample(self, peer: Subscriber) -> None:
        """The same, and note for how long each event that came was under way.

        Of several, all have arrived when the last one had: no delay is told too short.
        """
        received = receive_noted(peer)
        if received is None:
            return
        data, arrived_ns = received
        later = self._row.stops and self._board.has_reached(Phase.STALL)
        delays_ns = self.later_delays_ns if later else self.delays_ns
        delays_ns.extend(arrived_ns - stamp_ns for stamp_ns in self._read(peer, data))

    def _read(self, peer: Subscriber, data: bytes) -> list[int]:
        """Count the frames that ``data`` completes; the stamps of the events among them."""
        stamps_ns: list[int] = []
        if not data:
            self._lose(peer)
            return stamps_ns
        received = peer.received
        received += data
        start = 0
        while (end := frame_end(received, start)) is not None and end <= len(received):
            opcode = received[start]
            if opcode == _TEXT:
                number = int(received[end + NUMBER_FROM : end + NUMBER_TO])
                stamps_ns.append(int(received[end + STAMP_FROM : end + _STAMP_TO]))
                if number != peer.expected:
                    self._tally.add(Counter.DISORDERED)
                peer.expected = number + 1
                self._tally.add(Counter.COMPLETED)
            elif opcode == _PING:
                send(peer, hub_frames.pong(received[start:end]))
            elif opcode == _CLOSE:
                self._closed(peer, bytes(received[start + 2 : start + 4]))
                return stamps_ns
            start = end
        del received[:start]
        return stamps_ns

    def _closed(self, peer: Subscriber, code: bytes) -> None:
        self.loop.close(peer)
        if int.from_bytes(code, "big") == SLOW:  # this process is, or the relay
            self._tally.add(Counter.EVICTED)
        elif not self._board.has_reached(Phase.DRAIN):
            raise SessionLost(f"the relay closed a subscriber with {code.hex()}")

    def _lose(self, peer: Subscriber) -> None:
        self.loop.close(peer)
        if not self._board.has_reached(Phase.DRAIN):
            raise SessionLost("the relay ended a subscriber's connection")


def _early(peer: Peer) -> None:
    raise AssertionError("a subscriber that nobody listens to yet")
