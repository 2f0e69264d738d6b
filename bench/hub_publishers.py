"""The publishers of the hub's rows: programs that tell events by HTTP, each on one connection.

A publisher waits for the answer to its last request, as a program does. An event that falls due
meanwhile is sent as soon as the answer is there, with the time at which it was due: what a relay
keeps its publishers waiting counts as the event's delay, and as the publisher's.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from array import array
from collections import deque
from typing import TYPE_CHECKING, Final

from bench import hub_frames
from bench.board import Board, Counter, Phase, Tally
from bench.failures import RunFailed, SessionLost
from bench.hub_frames import FILLER_BYTES, FILLER_TOPIC, Publishing
from bench.hub_series import pack
from bench.loop import READ, TICK_S, Loop, Peer, prepare, send
from bench.receivers import note_arrivals, receive_noted
from bench.senders import Moments

if TYPE_CHECKING:
    from bench.relays import Address
    from bench.rows import Row

CONNECT_S: Final = 10.0
WAITING_MAX: Final = 1000
"""Requests that one publisher has to put off; a relay that far behind does not answer any more."""
FILLS_EVERY: Final = 5
"""Moments from one event that is there to fill to the next."""
_POLL_NS: Final = 2_000_000
"""epoll waits whole milliseconds: nearer to a moment than this, the process sleeps instead."""


class Publisher(Peer):
    """One connection.

    Attributes:
        publishing: Its request.
        events: In each request; 0 where nobody counts them.
        number: Of the next request.
        asked_ns: The stamp of the request whose answer is awaited.
        waiting_ns: Stamps of those that fell due meanwhile.
        every: Which of its moments it uses.
        moments: How many it had.
    """

    __slots__ = ("asked_ns", "events", "every", "moments", "number", "publishing", "waiting_ns")

    def __init__(self, sock: socket.socket, publishing: Publishing, events: int) -> None:
        super().__init__(sock, _early)
        self.every = 1 if events else FILLS_EVERY
        self.moments = 0
        self.publishing = publishing
        self.events = events
        self.number = 0
        self.asked_ns: int | None = None
        self.waiting_ns: deque[int] = deque()


class Publishers:
    """All publishers of a row, in one process.

    Args:
        row: What is measured.
        address: Where the relay listens.
        secret: The key that the relay knows.
    """

    def __init__(
        self, row: Row, address: Address, secret: str, *, board: Board, tally: Tally
    ) -> None:
        self._row = row
        self._address = address
        self._secret = secret
        self._board = board
        self._tally = tally
        self.loop = Loop()
        self._moments = Moments((), rate_per_s=row.rate_per_s)
        self.lateness_ns = array("q")
        self.delays_ns = array("q")
        """From the moment at which a recorded request was due to its answer's arrival."""
        self.later_delays_ns = array("q")
        """The same once a subscriber has stopped."""

    def run(self) -> array[int]:
        """Publish by the timetable from the beginning of the traffic to its end.

        Returns:
            Three series: how late requests left, and how long answers took, before and after a
            subscriber stopped; all in nanoseconds.

        Raises:
            RunFailed: The relay refused an event, or ended a connection.
        """
        with contextlib.suppress(PermissionError):  # the timetable slips more without it
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while not self._board.has_reached(Phase.TRAFFIC):
            self.loop.turn(TICK_S)
        self.start()
        while not self._board.has_reached(Phase.DRAIN):
            self.turn()
        while not self._board.has_reached(Phase.END):
            self.loop.turn(TICK_S)
        self.loop.end()
        return pack(self.lateness_ns, self.delays_ns, self.later_delays_ns)

    def start(self) -> None:
        """Connect all publishers; each one's moments begin now."""
        names = [hub_frames.topic(number) for number in range(self._row.topics)]
        shares = [names[each :: self._row.publishers] for each in range(self._row.publishers)]
        host = f"{self._address[0]}:{self._address[1]}"
        peers = [
            self._connect(Publishing(host, self._secret, share), len(share)) for share in shares
        ]
        if self._row.stops:
            filler = Publishing(host, self._secret, [FILLER_TOPIC], "x" * FILLER_BYTES)
            peers.append(self._connect(filler, 0))
        self._moments = Moments(peers, rate_per_s=self._row.rate_per_s)

    def turn(self) -> None:
        """Hear answers, and publish what is due within a tick."""
        now_ns = time.monotonic_ns()
        wait_ns = self._moments.wait_ns(now_ns)
        if wait_ns > _POLL_NS:
            self.loop.turn(min(wait_ns / 1e9 - 0.001, TICK_S))
            return
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        self.loop.turn(0)
        while (wait_ns := self._moments.wait_ns(time.monotonic_ns())) <= 0:
            peer, _ = self._moments.take()
            assert isinstance(peer, Publisher)
            peer.moments += 1
            if peer.moments % peer.every:
                continue
            if self._board.is_recording and peer.events:
                self.lateness_ns.append(-wait_ns)
            self._publish(peer, time.time_ns())

    def _connect(self, publishing: Publishing, events: int) -> Publisher:
        try:
            sock = socket.create_connection(self._address, timeout=CONNECT_S)
        except OSError as error:
            raise RunFailed(f"a publisher's connection: {error}") from error
        prepare(sock)
        note_arrivals(sock)
        peer = Publisher(sock, publishing, events)
        peer.on_ready = self._hear
        self.loop.add(peer, READ)
        return peer

    def _publish(self, peer: Publisher, due_ns: int) -> None:
        if peer.asked_ns is None:
            self._ask(peer, due_ns)
            return
        self._tally.add(Counter.BLOCKED)
        if len(peer.waiting_ns) >= WAITING_MAX:
            raise SessionLost("the relay does not answer its publishers")
        peer.waiting_ns.append(due_ns)

    def _ask(self, peer: Publisher, due_ns: int) -> None:
        request = peer.publishing.request(peer.number, due_ns)
        if send(peer, request) < len(request):
            raise SessionLost("the relay does not read its publishers")
        peer.asked_ns = due_ns
        peer.number += 1
        self._tally.add(Counter.BEGUN, peer.events)

    def _hear(self, peer: Peer) -> None:
        assert isinstance(peer, Publisher)
        received = receive_noted(peer)
        if received is None:
            return
        data, arrived_ns = received
        if not data:
            raise SessionLost("the relay ended a publisher's connection")
        peer.received += data
        end = hub_frames.answer_end(peer.received)
        if end is None:
            return
        del peer.received[:end]
        self._answered(peer, arrived_ns)

    def _answered(self, peer: Publisher, arrived_ns: int) -> None:
        assert peer.asked_ns is not None, "an answer to nothing"
        if peer.events and self._board.has_reached(Phase.RECORD):
            later = self._row.stops and self._board.has_reached(Phase.STALL)
            (self.later_delays_ns if later else self.delays_ns).append(arrived_ns - peer.asked_ns)
        peer.asked_ns = None
        if peer.waiting_ns and not self._board.has_reached(Phase.DRAIN):
            self._ask(peer, peer.waiting_ns.popleft())


def _early(peer: Peer) -> None:
    raise AssertionError("a publisher that nobody listens to yet")
