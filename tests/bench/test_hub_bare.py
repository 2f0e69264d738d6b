from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from bench import hub_frames
from bench.frames import frame_end
from bench.hub_bare import Broadcaster
from bench.hub_frames import NUMBER_FROM, NUMBER_TO, Publishing

HOST = "127.0.0.1"
SOON_S = 5.0


class Stage:
    """A broadcaster and who talks to it, served by hand."""

    def __init__(self, listener: socket.socket) -> None:
        self.broadcaster = Broadcaster(listener)
        self.address = listener.getsockname()
        self.socks: list[socket.socket] = []

    def connect(self) -> socket.socket:
        sock = socket.create_connection(self.address, timeout=SOON_S)
        self.socks.append(sock)
        self.broadcaster.turn(SOON_S)
        return sock

    def subscribe(self, topic: str) -> socket.socket:
        sock = self.connect()
        sock.sendall(hub_frames.upgrade(HOST, "s", [topic]))
        self.broadcaster.turn(SOON_S)
        answer = sock.recv(65536)
        assert hub_frames.welcome_end(answer) == len(answer)
        return sock

    def publish(self, *topics: str, number: int) -> None:
        sock = self.connect()
        sock.sendall(Publishing(HOST, "s", topics).request(number, 1))
        self.broadcaster.turn(SOON_S)
        answer = sock.recv(65536)
        assert hub_frames.answer_end(answer) == len(answer)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(0)
        stage = Stage(listener)
        yield stage
        stage.broadcaster.close()
        for sock in stage.socks:
            sock.close()


def test_an_event_is_sent_to_all_who_follow_its_topic_and_to_nobody_else(stage: Stage) -> None:
    followers = [stage.subscribe("workflow:a") for _ in range(2)]
    other = stage.subscribe("workflow:b")

    stage.publish("workflow:a", number=5)
    stage.publish("workflow:b", "workflow:c", number=6)

    for sock, topic, number in (
        *((each, "workflow:a", 5) for each in followers),
        (other, "workflow:b", 6),
    ):
        frame = sock.recv(65536)
        assert frame_end(frame, 0) == len(frame)
        assert json.loads(frame[4:])["topic"] == topic
        assert int(frame[NUMBER_FROM:NUMBER_TO]) == number


def test_who_has_left_or_says_something_disturbs_nobody(stage: Stage) -> None:
    gone, talking = stage.subscribe("workflow:a"), stage.subscribe("workflow:a")
    gone.close()
    talking.sendall(b"\x8a\x80\x00\x00\x00\x00")
    stage.broadcaster.turn(SOON_S)

    stage.publish("workflow:a", number=1)

    assert talking.recv(65536)[0] == 0x81


def test_who_does_not_read_is_closed_and_the_others_get_on(stage: Stage) -> None:
    stopped = stage.subscribe("workflow:a")
    publisher = stage.connect()
    request = Publishing(HOST, "s", ["workflow:a"], "x" * 60_000).request(1, 1)
    for _ in range(1000):
        publisher.sendall(request)
        stage.broadcaster.turn(SOON_S)
        while not (answer := publisher.recv(65536)):
            pass
        assert answer.startswith(b"HTTP/1.1 200 ")
        if not stage.broadcaster.subscribers("workflow:a"):
            break
    else:
        pytest.fail("it is still there")
    while stopped.recv(1 << 20):
        pass
