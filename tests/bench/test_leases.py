from __future__ import annotations

import socket
import threading
from array import array
from collections.abc import Iterator

import pytest

from bench.board import Board, Counter, Phase
from bench.leases import RUN_LENGTH, Asker, Bookkeeper, Holder, pool_settings

SLOTS = 20


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(0)
        yield sock


@pytest.mark.parametrize("kind", [Bookkeeper, Asker])
def test_leases_are_counted_and_timed(
    kind: type[Bookkeeper | Asker], listener: socket.socket
) -> None:
    board = Board(1, lifetime_s=60)
    holder = threading.Thread(target=Holder(listener, board=board).run)
    reports: list[array[int]] = []
    asker = kind(SLOTS, listener.getsockname(), board=board, tally=board.tally(0))
    asking = threading.Thread(target=lambda: reports.append(asker.run()))
    holder.start()
    asking.start()
    wait_for(board, Counter.ESTABLISHED, SLOTS)
    board.advance(Phase.RECORD)
    wait_for(board, Counter.COMPLETED, 2 * RUN_LENGTH)
    board.advance(Phase.END)
    asking.join()
    holder.join()

    (delays_ns,) = reports
    assert len(delays_ns) >= 2 * RUN_LENGTH - RUN_LENGTH
    assert board.total(Counter.COMPLETED) % RUN_LENGTH == 0
    assert min(delays_ns) > 0


def test_every_slot_is_kept_and_none_is_pinged_meanwhile() -> None:
    settings = pool_settings(SLOTS)

    assert settings.slots_max == settings.idle_max == SLOTS
    assert settings.ping_after_s > 600


def wait_for(board: Board, counter: Counter, count: int) -> None:
    while board.total(counter) < count:
        assert not board.has_reached(Phase.END), "the board's time is over"
        threading.Event().wait(0.001)
