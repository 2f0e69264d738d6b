from __future__ import annotations

import socket
from array import array
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.board import Board, Counter, Phase
from bench.failures import UnexpectedAnswer
from bench.loop import Peer
from bench.pieces import PieceReader, Pieces
from relayd.dialect.behind import Fault, FinishReason, Text
from relayd.dialect.chat_reply import DONE, Reply, sse

STAMPS = st.integers(0, 10**20 - 1)


def stream_of(stamps: list[int]) -> bytes:
    """A stream as relayd sends it, each event a chunk."""
    reply = Reply(model="bench", id="chatcmpl-1", created=1)
    events = [
        sse(reply.opening()),
        *(sse(reply.content(Text(f"{stamp:020d} some words"))) for stamp in stamps),
        sse(reply.last(FinishReason.STOP)) + DONE,
    ]
    return b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)


@given(st.lists(STAMPS, max_size=5), st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_each_piece_is_found_once_however_the_bytes_arrive(
    stamps: list[int], cuts: list[int]
) -> None:
    wire, start, found = stream_of(stamps), 0, list[int]()
    reader = PieceReader()
    while start < len(wire):
        size = cuts[start % len(cuts)]
        found += reader.read(wire[start : start + size])
        start += size

    assert found == stamps


def test_an_error_in_the_stream_is_shown() -> None:
    fault = Fault(status=502, type="server_error", code="upstream_truncated", message="gone")

    with pytest.raises(UnexpectedAnswer, match="upstream_truncated"):
        PieceReader().read(sse(fault.body()))


@pytest.fixture
def near_and_far() -> Iterator[tuple[Peer, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(0)
        yield Peer(near, lambda peer: None), far


@pytest.mark.parametrize("timed", [True, False])
def test_pieces_are_counted_and_while_recording_timed(
    near_and_far: tuple[Peer, socket.socket], *, timed: bool
) -> None:
    peer, far = near_and_far
    board = Board(1, lifetime_s=60)
    pieces = Pieces(board, board.tally(0), lambda peer: None, timed=timed)

    pieces.on_ready(peer)
    far.sendall(stream_of([1, 2]))
    pieces.on_ready(peer)
    assert pieces.delays_ns == array("q")
    board.advance(Phase.RECORD)
    far.sendall(stream_of([3]))
    pieces.on_ready(peer)

    assert board.total(Counter.COMPLETED) == 3
    assert len(pieces.delays_ns) == timed


def test_a_stream_that_ends_is_lost(near_and_far: tuple[Peer, socket.socket]) -> None:
    peer, far = near_and_far
    board, lost = Board(1, lifetime_s=60), list[Peer]()
    far.close()

    Pieces(board, board.tally(0), lost.append, timed=False).on_ready(peer)

    assert lost == [peer]
