"""Clients and upstream of the turn rows, joined by a socket pair instead of a relay."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import attrs
import pytest

from bench import answers, conversations, frames, receivers
from bench.answers import Answers
from bench.board import Board, Counter, Phase
from bench.conversations import Conversations
from bench.failures import SessionLost
from bench.loop import READ, Loop, Peer
from bench.turn_frames import EVENTS

SOON_S = 5.0
PING = b"\x89\x82\x00\x00\x00\x00hi"


@attrs.define
class Joined:
    """A client's peer and an upstream's, each in a loop of its own.

    Attributes:
        ended: Peers whose turn has ended.
        parts: In how many an answer is sent.
    """

    client: Peer
    upstream: Peer
    conversations: Conversations
    answers: Answers
    board: Board
    near: Loop
    far: Loop
    ended: list[Peer]
    parts: int

    def run_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SOON_S
        while not condition():
            assert time.monotonic() < deadline
            self.near.turn(0)
            self.answers.turn()

    def have_turn(self) -> None:
        turns = self.count(Counter.COMPLETED) + 1
        self.conversations.begin(self.client)
        self.run_until(lambda: self.count(Counter.COMPLETED) == turns)

    def count(self, counter: Counter) -> int:
        return self.board.total(counter)


@pytest.fixture(params=[0.0, 0.001], ids=["at once", "one by one"])
def joined(request: pytest.FixtureRequest) -> Iterator[Joined]:
    near_sock, far_sock = socket.socketpair()
    for sock in (near_sock, far_sock):
        sock.settimeout(0)
    near, far = Loop(), Loop()
    parts = EVENTS if request.param else 1
    board = Board(1, lifetime_s=60)
    ended: list[Peer] = []
    clients = Conversations(
        board=board, loop=near, tally=board.tally(0), lose=near.close, ended=ended.append
    )
    upstreams = Answers(gap_ms=request.param, loop=far, finish=far.close, lose=far.close)
    client, upstream = Peer(near_sock, clients.on_ready), Peer(far_sock, upstreams.on_ready)
    near.add(client, READ)
    far.add(upstream, READ)
    with near_sock, far_sock:
        yield Joined(client, upstream, clients, upstreams, board, near, far, ended, parts)


def test_a_turn_is_answered_and_the_next_goes_on_from_it(joined: Joined) -> None:
    joined.board.advance(Phase.RECORD)
    joined.have_turn()
    joined.have_turn()

    assert joined.count(Counter.BEGUN) == joined.count(Counter.COMPLETED) == 2
    assert joined.ended == [joined.client, joined.client]


@attrs.define
class StoodClock:
    """Takes the place of the time module; stands until it is set."""

    now_ns: int = 10**18

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


def test_a_delay_is_the_way_of_the_request_and_of_the_last_event_and_nothing_between(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StoodClock()
    for module in (answers, conversations, receivers):
        monkeypatch.setattr(module, "time", clock)
    joined.board.advance(Phase.RECORD)
    joined.conversations.begin(joined.client)
    clock.now_ns += 5_000
    for _ in range(joined.parts):  # the first is sent when the request has come
        joined.answers.turn()
        last_sent_ns, clock.now_ns = clock.now_ns, clock.now_ns + 1_000_000
    clock.now_ns = last_sent_ns + 3_000
    joined.near.turn(0)

    assert list(joined.conversations.delays_ns) == [8_000]


def test_before_recording_nothing_is_kept(joined: Joined) -> None:
    joined.have_turn()

    assert len(joined.conversations.delays_ns) == 0


def test_a_turn_that_is_due_while_the_last_one_runs_is_counted_instead(joined: Joined) -> None:
    joined.board.advance(Phase.RECORD)
    joined.conversations.begin(joined.client)
    joined.conversations.begin(joined.client)

    assert joined.count(Counter.BEGUN) == joined.count(Counter.BLOCKED) == 1


def test_a_timetable_begins_with_a_turn_on_every_session(joined: Joined) -> None:
    joined.conversations.start([joined.client], rate_per_s=1000.0)

    assert joined.count(Counter.BEGUN) == 1
    joined.run_until(lambda: joined.count(Counter.COMPLETED) == 1)
    deadline = time.monotonic() + SOON_S
    while joined.count(Counter.BEGUN) < 2:
        assert time.monotonic() < deadline
        joined.conversations.turn()


def test_a_ping_is_answered_with_its_payload_and_a_close_with_a_close(joined: Joined) -> None:
    heard = bytearray()
    joined.client.on_ready = lambda peer: heard.extend(peer.sock.recv(100))
    joined.client.sock.send(PING + frames.MASKED_CLOSE)

    joined.run_until(lambda: len(heard) == 8)

    assert heard == b"\x8a\x02hi" + frames.CLOSE
    assert joined.upstream.sock.fileno() == -1


def test_a_relay_that_reads_nothing_fails_the_run(joined: Joined) -> None:
    while True:
        try:
            joined.client.sock.send(bytes(65536))
        except BlockingIOError:
            break

    with pytest.raises(SessionLost, match="does not read"):
        joined.conversations.begin(joined.client)


def test_the_rest_of_an_answer_is_dropped_with_its_peer(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StoodClock()
    monkeypatch.setattr(answers, "time", clock)
    joined.conversations.begin(joined.client)
    joined.answers.turn()
    joined.answers.turn()  # the request arrives, and is answered in so far as nothing waits
    sent = joined.client.sock.recv(65536)
    joined.far.close(joined.upstream)

    for _ in range(joined.parts):
        joined.answers.turn()
        clock.now_ns += 1_000_000  # now the next event would be due

    assert sent
    assert joined.client.sock.recv(1) == b"", "nothing came behind it"
