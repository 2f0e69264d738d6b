"""Clients that ask, with the test in the relay's place."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import attrs
import pytest

from bench import openings, questions, receivers
from bench.board import Board, Counter, Phase
from bench.failures import UnexpectedAnswer
from bench.handshake import Dialect
from bench.loop import READ, Loop, Peer
from bench.questions import Questions

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b'data: {"choices":[{"delta":{"content":"%020d."}}]}\n\n' % 0
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"
SOON_S = 5.0


def chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


ANSWER = (HEAD, chunk(PIECE), chunk(PIECE), chunk(DONE), END)


@attrs.define
class Stage:
    """A client's peer, the relay's end of its connection, and the client's clock."""

    peer: Peer
    relay: socket.socket
    loop: Loop
    board: Board
    clients: Questions
    lost: list[Peer]
    now_ns: int = 10**18

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def count(self, counter: Counter) -> int:
        return self.board.total(counter)

    def say(self, *parts: bytes) -> None:
        for part in parts:
            self.relay.sendall(part)
            self.loop.turn(0)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    near, far = socket.socketpair()
    for sock in (near, far):
        sock.settimeout(0)
    loop, board, lost = Loop(), Board(1, lifetime_s=60), list[Peer]()
    clients = Questions("h", "s", board=board, loop=loop, tally=board.tally(0), lose=lost.append)
    peer = Peer(near, clients.on_ready)
    loop.add(peer, READ)
    made = Stage(peer, far, loop, board, clients, lost)
    for module in (questions, receivers):
        monkeypatch.setattr(module, "time", made)
    with near, far:
        yield made


def test_the_time_to_the_first_piece_is_kept_and_the_answer_read_to_its_end(stage: Stage) -> None:
    stage.board.advance(Phase.RECORD)
    for took_ns in (5_000, 7_000):
        stage.clients.begin(stage.peer)
        stage.say(HEAD)
        stage.now_ns += took_ns
        stage.say(chunk(PIECE))
        stage.now_ns += 1_000_000
        stage.say(*ANSWER[2:])

    question = openings.request("h", "s", Dialect.CHAT)
    assert stage.relay.recv(65536) == 2 * question
    assert list(stage.clients.delays_ns) == [5_000, 7_000]
    assert stage.count(Counter.BEGUN) == stage.count(Counter.COMPLETED) == 2


def test_before_recording_no_time_is_kept(stage: Stage) -> None:
    stage.clients.begin(stage.peer)
    stage.say(b"".join(ANSWER))

    assert stage.count(Counter.COMPLETED) == 1
    assert len(stage.clients.delays_ns) == 0


def test_a_question_that_is_due_while_the_last_is_answered_is_counted_instead(
    stage: Stage,
) -> None:
    stage.board.advance(Phase.RECORD)
    stage.clients.begin(stage.peer)
    stage.say(*ANSWER[:4])
    stage.clients.begin(stage.peer)

    assert stage.count(Counter.BEGUN) == stage.count(Counter.BLOCKED) == 1


def test_questions_come_by_a_timetable(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "time", time)
    stage.clients.start([stage.peer], rate_per_s=1000.0)
    deadline = time.monotonic() + SOON_S
    while stage.count(Counter.COMPLETED) < 3:
        assert time.monotonic() < deadline
        stage.clients.turn()
        if stage.count(Counter.BEGUN) > stage.count(Counter.COMPLETED):
            stage.say(b"".join(ANSWER))


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ((b"HTTP/1.1 503 Service Unavailable\r\n\r\n{}",), "no 200 but HTTP/1.1 503"),
        ((HEAD, chunk(b'data: {"error":{"code":"overload"}}\n\n')), "overload"),
        ((HEAD, chunk(PIECE), END), r"without \[DONE\]"),
    ],
)
def test_another_answer_fails_the_run(stage: Stage, said: tuple[bytes, ...], match: str) -> None:
    stage.clients.begin(stage.peer)

    with pytest.raises(UnexpectedAnswer, match=match):
        stage.say(*said)


def test_an_answer_to_no_question_fails_the_run(stage: Stage) -> None:
    with pytest.raises(UnexpectedAnswer, match="no question"):
        stage.say(HEAD)


def test_a_connection_that_ends_is_lost(stage: Stage) -> None:
    stage.relay.close()
    stage.loop.turn(0)

    assert stage.lost == [stage.peer]
