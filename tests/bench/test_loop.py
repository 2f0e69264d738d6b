from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bench import frames
from bench.board import Board, Counter
from bench.failures import SessionLost
from bench.loop import READ, Loop, Peer, receive, send
from bench.receivers import Listening
from bench.senders import Flood

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of one connection; the first is non-blocking."""
    near, far = socket.socketpair()
    near.settimeout(0)
    with near, far:
        yield near, far


def test_a_peer_that_was_closed_in_a_turn_is_not_called_in_it() -> None:
    loop, called = Loop(), []
    ends = [socket.socketpair() for _ in range(2)]
    peers: list[Peer] = []

    def close_both(peer: Peer) -> None:
        called.append(peer)
        for other in peers:
            loop.close(other)

    for near, far in ends:
        peers.append(Peer(near, close_both))
        loop.add(peers[-1], READ)
        far.send(b"ready")
    loop.turn(0)

    assert len(called) == 1
    for _, far in ends:
        far.close()


def test_receiving_tells_nothing_now_from_the_end(pair: Pair) -> None:
    near, far = pair
    peer = Peer(near, lambda _: None)

    assert receive(peer) is None
    far.close()
    assert receive(peer) == b""


def test_sending_to_a_lost_peer_fails_the_run(pair: Pair) -> None:
    near, far = pair
    far.close()

    with pytest.raises(SessionLost):
        send(Peer(near, lambda _: None), b"data")


def test_a_flood_is_whole_frames_whatever_the_socket_takes(pair: Pair) -> None:
    near, far = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    loop, board, batch = Loop(), Board(1, lifetime_s=3600), frames.delta_batch(3)
    tally = board.tally(0)
    peer = Peer(near, lambda _: None)
    loop.add(peer, 0)
    Flood(batch, send_bytes=5000, loop=loop, tally=tally).start([peer])
    received = b""
    while len(received) < 10 * len(batch):
        loop.turn(0)
        received += far.recv(len(batch) + 7)

    expected = batch * (len(received) // len(batch) + 1)
    assert received == expected[: len(received)]
    assert tally[Counter.SENT_BYTES] >= len(received)


def test_a_close_is_answered_and_ends_the_session(pair: Pair) -> None:
    near, far = pair
    finished: list[Peer] = []
    listening = Listening(finished.append, lambda _: pytest.fail("it said goodbye"))
    peer = Peer(near, listening.on_ready)
    far.send(frames.MASKED_CLOSE)

    peer.on_ready(peer)

    assert finished == [peer]
    assert far.recv(100) == frames.CLOSE


def test_an_end_without_a_close_is_a_loss(pair: Pair) -> None:
    near, far = pair
    lost: list[Peer] = []
    listening = Listening(lambda _: pytest.fail("it said nothing"), lost.append)
    peer = Peer(near, listening.on_ready)
    far.close()

    peer.on_ready(peer)

    assert lost == [peer]
