"""The subscriber that stops, against a relay in a thread that the test plays."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from bench import frames, hub_frames
from bench.board import Board, Counter, Phase
from bench.failures import SessionLost, UnexpectedAnswer
from bench.hub_stopper import Stopper
from bench.loop import Loop

SOON_S = 5.0
TOPIC = hub_frames.topic(0)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


def event(number: int, topic: str = TOPIC) -> bytes:
    envelope = {"id": f"e:{number + 1}", "topic": topic, "data": {"n": f"{number:010d}"}}
    return frames.text_frame(json.dumps(envelope).encode())


class Relay:
    """Answers one upgrade after the other, each with what is told."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.asked: list[bytes] = []
        self.socks: list[socket.socket] = []
        self.loop = Loop()

    def welcome(self, *, recovered: bool | None, behind: bytes = b"") -> threading.Thread:
        """In a thread of its own, since who subscribes waits for it."""
        welcome = json.dumps({"type": "welcome", "recovered": recovered}, separators=(",", ":"))
        switched = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"

        def answer() -> None:
            sock, _ = self.listener.accept()
            self.socks.append(sock)
            self.asked.append(sock.recv(65536).partition(b" HTTP")[0])
            sock.sendall(switched + frames.text_frame(welcome.encode()) + behind)

        thread = threading.Thread(target=answer)
        thread.start()
        return thread


@pytest.fixture
def relay() -> Iterator[Relay]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SOON_S)
        relay = Relay(listener)
        yield relay
        relay.loop.end()
        for sock in relay.socks:
            sock.close()


def stopper_of(relay: Relay, board: Board, loop: Loop) -> Stopper:
    return Stopper(relay.listener.getsockname(), "s", board=board, loop=loop, tally=board.tally(0))


def stopped(relay: Relay, board: Board, loop: Loop) -> Stopper:
    """It has read one event, and stopped."""
    stopper = stopper_of(relay, board, loop)
    opening = relay.welcome(recovered=None, behind=event(0))
    stopper.open()
    opening.join()
    board.advance(Phase.STALL)
    stopper.look()
    return stopper


def go_on(loop: Loop) -> None:
    while True:
        loop.turn(SOON_S)


def test_it_reads_nothing_until_it_is_cut_then_goes_on_from_the_last_that_it_has(
    relay: Relay,
) -> None:
    board, loop = Board(1, lifetime_s=60), relay.loop
    stopper = stopped(relay, board, loop)
    relay.socks[0].sendall(event(1) + event(2) + event(0, hub_frames.FILLER_TOPIC))
    loop.turn(0)
    assert board.total(Counter.COMPLETED) == 1

    opening = relay.welcome(recovered=True, behind=event(3) + event(4))
    relay.socks[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    relay.socks[0].close()
    while board.total(Counter.COMPLETED) < 5:
        loop.turn(SOON_S)
    opening.join()

    assert stopper.has_returned
    assert board.total(Counter.RETURNED) == 1
    assert board.total(Counter.DISORDERED) == 0
    first, again = relay.asked
    assert first.endswith(f"topics={TOPIC},{hub_frames.FILLER_TOPIC}".encode())
    assert again.endswith(f"topics={TOPIC}&since=e:3".encode())


def test_an_end_that_is_no_reset_is_heard_when_it_reads_again(relay: Relay) -> None:
    board, loop = Board(1, lifetime_s=60), relay.loop
    stopper = stopped(relay, board, loop)
    relay.socks[0].sendall(event(1) + b"\x88\x02\x0f\xa8")
    relay.socks[0].shutdown(socket.SHUT_WR)
    loop.turn(0)
    assert board.total(Counter.COMPLETED) == 1

    opening = relay.welcome(recovered=True)
    board.advance(Phase.RESUME)
    stopper.look()
    while not stopper.has_returned:
        loop.turn(SOON_S)
    opening.join()

    assert relay.asked[1].endswith(b"&since=e:2")
    assert board.total(Counter.DISORDERED) == 0


def test_a_gap_is_seen_and_missing_for_good_fails_the_run(relay: Relay) -> None:
    board, loop = Board(1, lifetime_s=60), relay.loop
    stopped(relay, board, loop)
    opening = relay.welcome(recovered=False)
    relay.socks[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    relay.socks[0].close()

    with pytest.raises(UnexpectedAnswer, match="missed events"):
        go_on(loop)
    opening.join()


def test_an_end_before_it_has_stopped_fails_the_run(relay: Relay) -> None:
    board, loop = Board(1, lifetime_s=60), relay.loop
    stopper = stopper_of(relay, board, loop)
    opening = relay.welcome(recovered=None, behind=event(0) + event(2))
    stopper.open()
    opening.join()
    while board.total(Counter.COMPLETED) < 2:
        loop.turn(SOON_S)
    assert board.total(Counter.DISORDERED) == 1
    relay.socks[0].close()

    with pytest.raises(SessionLost, match="too early"):
        go_on(loop)
