"""A subscriber of the hub's rows, and a relay that the test plays."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

import attrs
import pytest

from bench import frames, hub_subscribers
from bench.board import Board, Counter, Phase
from bench.failures import SessionLost
from bench.hub_frames import Publishing
from bench.hub_subscribers import Subscriber, Subscribers
from bench.loop import READ, Peer
from bench.rows import ROWS

PING = b"\x89\x02hi"
SLOW = b"\x88\x06\x0f\xa8slow"


def event(number: int, sent_ns: int = 0) -> bytes:
    request = Publishing("h", "s", ["workflow:w"]).request(number, sent_ns)
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    envelope = {"id": f"e:{number + 1}", "topic": body["topic"], "data": body["data"]}
    return frames.text_frame(json.dumps(envelope, separators=(",", ":")).encode())


@attrs.define
class Stage:
    subscribers: Subscribers
    peer: Peer
    relay: socket.socket
    board: Board

    def receive(self, data: bytes) -> None:
        """Have the relay send, and the subscriber receive it."""
        self.relay.sendall(data)
        self.subscribers.on_ready(self.peer)

    def count(self, counter: Counter) -> int:
        return self.board.total(counter)


@pytest.fixture
def stage() -> Iterator[Stage]:
    board = Board(1, lifetime_s=60)
    subscribers = Subscribers(
        ROWS["hub-fan-10"],
        ("127.0.0.1", 1),
        "s",
        numbers=range(0),
        opening_max=1,
        board=board,
        tally=board.tally(0),
    )
    near, far = socket.socketpair()
    near.settimeout(0)
    far.settimeout(5)
    peer = Subscriber(near, "workflow:w")
    subscribers.loop.add(peer, READ)
    with near, far:
        yield Stage(subscribers, peer, far, board)


@pytest.fixture(params=[1, 10**9], ids=["each timed", "none timed"])
def sampled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the way of a receive that is timed is taken, or that of one that is not."""
    monkeypatch.setattr(hub_subscribers, "SAMPLE_EVERY", request.param)
    return bool(request.param == 1)


@pytest.mark.usefixtures("sampled")
def test_events_are_counted_however_their_bytes_arrive(stage: Stage) -> None:
    stage.board.advance(Phase.RECORD)
    stage.receive(event(0))
    stage.receive(event(1) + event(2) + event(3)[:30])
    stage.receive(event(3)[30:])

    assert stage.count(Counter.COMPLETED) == 4
    assert stage.count(Counter.DISORDERED) == 0


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize(
    ("numbers", "disordered"), [([0, 2, 3], 1), ([0, 0, 1], 1), ([1, 0], 2), ([0, 1, 2], 0)]
)
def test_what_is_missing_twice_or_out_of_order_is_seen(
    stage: Stage, numbers: list[int], disordered: int
) -> None:
    stage.board.advance(Phase.RECORD)
    for number in numbers:
        stage.receive(event(number))

    assert stage.count(Counter.DISORDERED) == disordered


def test_each_event_of_a_timed_receive_gives_a_delay(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_subscribers, "SAMPLE_EVERY", 2)
    noted = event(2, sent_ns=400) + event(3, sent_ns=1000) + event(4)[:9]
    monkeypatch.setattr(hub_subscribers, "receive_noted", lambda _: (noted, 1700))
    for number in range(2):  # before recording none is timed
        stage.receive(event(number, sent_ns=5))
    stage.board.advance(Phase.RECORD)
    stage.subscribers.on_ready(stage.peer)  # nothing there, and not its turn to be timed
    stage.subscribers.on_ready(stage.peer)

    assert list(stage.subscribers.delays_ns) == [1300, 700]


def test_pings_are_answered(stage: Stage) -> None:
    stage.receive(PING + event(0))

    assert stage.relay.recv(100) == b"\x8a\x82\x00\x00\x00\x00hi"
    assert stage.count(Counter.COMPLETED) == 1


def test_who_is_cut_as_too_slow_is_counted(stage: Stage) -> None:
    stage.receive(event(0) + SLOW)

    assert stage.count(Counter.EVICTED) == 1
    assert stage.peer.sock.fileno() == -1


@pytest.mark.parametrize(
    "leave", [lambda relay: relay.sendall(frames.CLOSE), lambda relay: relay.close()]
)
def test_who_is_lost_otherwise_fails_the_run_until_the_traffic_is_over(
    stage: Stage, leave: Callable[[socket.socket], None]
) -> None:
    leave(stage.relay)
    with pytest.raises(SessionLost):
        stage.subscribers.on_ready(stage.peer)
