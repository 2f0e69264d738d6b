"""Publishers and a relay whose every answer the test gives."""

from __future__ import annotations

import contextlib
import json
import socket
from array import array
from collections.abc import Iterator

import attrs
import pytest

from bench import hub_publishers
from bench.board import Board, Counter, Phase
from bench.failures import RunFailed, SessionLost
from bench.hub_publishers import Publishers
from bench.loop import Loop
from bench.rows import ROWS, Row

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
SOON_S = 5.0


@attrs.define
class Stage:
    listener: socket.socket
    board: Board
    loops: list[Loop] = attrs.field(factory=list)

    def publishers(self, row: Row) -> Publishers:
        made = Publishers(
            row, self.listener.getsockname(), "s", board=self.board, tally=self.board.tally(0)
        )
        self.loops.append(made.loop)
        made.start()
        return made

    def accept(self) -> socket.socket:
        sock, _ = self.listener.accept()
        sock.settimeout(SOON_S)
        return sock

    def count(self, counter: Counter) -> int:
        return self.board.total(counter)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SOON_S)
        stage = Stage(listener, Board(1, lifetime_s=60))
        yield stage
        for loop in stage.loops:
            loop.end()


def row(*, topics: int = 1, publishers: int = 1, stops: bool = False) -> Row:
    return attrs.evolve(
        ROWS["hub-fan-50"],
        rate_per_s=1000.0,
        topics=topics,
        publishers=publishers,
        stops=stops,
    )


def until_begun(publishers: Publishers, stage: Stage, events: int) -> None:
    while stage.count(Counter.BEGUN) < events:
        publishers.turn()


def go_on(publishers: Publishers) -> None:
    while True:
        publishers.turn()


def test_topics_are_shared_out_and_each_publishers_go_in_one_request(stage: Stage) -> None:
    publishers = stage.publishers(row(topics=5, publishers=2))
    with stage.accept() as first, stage.accept() as second:
        until_begun(publishers, stage, 5)
        bodies = [sock.recv(65536).partition(b"\r\n\r\n")[2] for sock in (first, second)]

    topics = [sorted(each["topic"][-1] for each in json.loads(body)["events"]) for body in bodies]
    assert sorted(topics) == [["0", "2", "4"], ["1", "3"]]


def test_what_falls_due_before_the_answer_is_sent_behind_it_with_its_own_time(
    stage: Stage,
) -> None:
    publishers = stage.publishers(row())
    stage.board.advance(Phase.RECORD)
    with stage.accept() as sock:
        until_begun(publishers, stage, 1)
        first = sock.recv(65536)
        while not stage.count(Counter.BLOCKED):
            publishers.turn()
        assert stage.count(Counter.BEGUN) == 1

        sock.sendall(ANSWER)
        until_begun(publishers, stage, 2)
        second = sock.recv(65536)

    numbers, stamps = zip(*(numbers_of(each) for each in (first, second)), strict=True)
    assert numbers == (0, 1)
    (delay_ns,) = publishers.delays_ns
    assert stamps[1] < stamps[0] + delay_ns  # it was due before the answer came
    assert len(publishers.lateness_ns) >= 2


def numbers_of(request: bytes) -> tuple[int, int]:
    data = json.loads(request.partition(b"\r\n\r\n")[2])["data"]
    return int(data["n"]), int(data["sent"])


def test_once_a_subscriber_has_stopped_delays_are_kept_apart(stage: Stage) -> None:
    publishers = stage.publishers(row(stops=True))
    stage.board.advance(Phase.STALL)
    with stage.accept() as sock, stage.accept() as filler:
        until_begun(publishers, stage, 1)
        sock.recv(65536)
        sock.sendall(ANSWER)
        while not publishers.later_delays_ns:
            publishers.turn()
        filler.settimeout(0)
        filled = b""
        while not filled.endswith(b"}}"):
            publishers.turn()
            with contextlib.suppress(BlockingIOError):
                filled += filler.recv(1 << 20)
        begun = stage.count(Counter.BEGUN)
        filler.sendall(ANSWER)
        publishers.loop.turn(SOON_S)

    assert len(publishers.later_delays_ns) == 1  # of what fills none is kept, and none counted
    assert begun <= 2
    assert publishers.delays_ns == array("q")


def test_a_refusal_fails_the_run_with_its_words(stage: Stage) -> None:
    publishers = stage.publishers(row())
    with stage.accept() as sock:
        until_begun(publishers, stage, 1)
        sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnono")

        with pytest.raises(RunFailed, match="403 Forbidden: nono"):
            go_on(publishers)


def test_a_relay_that_never_answers_fails_the_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_publishers, "WAITING_MAX", 2)
    publishers = stage.publishers(row())
    with pytest.raises(SessionLost, match="does not answer"):
        go_on(publishers)


def test_a_relay_that_leaves_fails_the_run(stage: Stage) -> None:
    publishers = stage.publishers(row())
    stage.accept().close()

    with pytest.raises(SessionLost, match=r"ended a publisher|does not read"):
        go_on(publishers)


def test_nobody_who_listens_fails_the_run(stage: Stage) -> None:
    stage.listener.close()
    gone = Publishers(row(), ("127.0.0.1", 1), "s", board=stage.board, tally=stage.board.tally(0))

    with pytest.raises(RunFailed, match="a publisher's connection"):
        gone.start()
