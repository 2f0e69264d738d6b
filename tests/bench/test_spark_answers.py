"""The upstream of the chat rows, with the test in the relay's place."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import attrs
import pytest

from bench import frames, later
from bench.failures import SessionLost
from bench.later import Later
from bench.loop import READ, Loop, Peer
from bench.spark_answers import SparkAnswers

QUESTION = frames.masked_text_frame(b'{"question":1}', b"\x01\x02\x03\x04")
ANSWER = b"\x81\x04said"


@attrs.define
class StoodClock:
    """Takes the place of the time module; stands until it is set."""

    now_s: float = 100.0

    def monotonic(self) -> float:
        return self.now_s


@attrs.define
class Stage:
    """The relay's end, and what becomes of the upstream's."""

    relay: socket.socket
    peer: Peer
    later: Later
    finished: list[Peer]
    lost: list[Peer]

    def heard(self) -> bytes:
        try:
            return self.relay.recv(65536)
        except BlockingIOError:
            return b""


def stage_with(answer: bytes, delay_s: float) -> Iterator[Stage]:
    near, far = socket.socketpair()
    loop, finished, lost = Loop(), list[Peer](), list[Peer]()
    put_off = Later(loop)
    answers = SparkAnswers(
        answer,
        delay_s=delay_s,
        later=put_off,
        loop=loop,
        finish=finished.append,
        lose=lost.append,
    )
    with near, far:
        for sock in (near, far):
            sock.settimeout(0)
        peer = Peer(far, answers.on_ready)
        loop.add(peer, READ)
        yield Stage(near, peer, put_off, finished, lost)


@pytest.fixture
def stage() -> Iterator[Stage]:
    yield from stage_with(ANSWER, 0.0)


def test_each_question_is_answered_however_its_bytes_come(stage: Stage) -> None:
    for at in range(len(QUESTION)):
        assert stage.heard() == b""
        stage.relay.send(QUESTION[at : at + 1])
        stage.later.turn()
    assert stage.heard() == ANSWER

    stage.relay.send(QUESTION * 2)
    stage.later.turn()

    assert stage.heard() == 2 * ANSWER


def test_a_close_is_answered_with_a_close(stage: Stage) -> None:
    stage.relay.send(frames.MASKED_CLOSE)
    stage.relay.shutdown(socket.SHUT_WR)

    stage.later.turn()

    assert stage.heard() == frames.CLOSE
    assert (stage.finished, stage.lost) == ([stage.peer], [])


def test_a_socket_that_ends_without_a_close_is_lost(stage: Stage) -> None:
    stage.relay.close()

    stage.later.turn()

    assert (stage.finished, stage.lost) == ([], [stage.peer])


def test_an_answer_takes_as_long_as_it_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StoodClock()
    monkeypatch.setattr(later, "time", clock)
    for stage in stage_with(ANSWER, 0.25):
        stage.relay.send(QUESTION)
        stage.later.turn()
        clock.now_s += 0.2
        stage.later.turn()
        assert stage.heard() == b""
        clock.now_s += 0.05
        stage.later.turn()
        assert stage.heard() == ANSWER


def test_nobody_is_answered_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StoodClock()
    monkeypatch.setattr(later, "time", clock)
    for stage in stage_with(ANSWER, 0.25):
        stage.relay.send(QUESTION)
        stage.later.turn()
        stage.later._loop.close(stage.peer)
        clock.now_s += 1.0
        stage.later.turn()
        assert stage.heard() == b""


def test_a_relay_that_reads_nothing_fails_the_run() -> None:
    for stage in stage_with(bytes(1 << 24), 0.0):
        stage.relay.send(QUESTION)
        with pytest.raises(SessionLost, match="does not read"):
            stage.later.turn()
