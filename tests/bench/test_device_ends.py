from __future__ import annotations

import contextlib
import os
import socket
import time
from functools import partial

from bench.board import Board, Counter, Phase
from bench.device_ends import Devices, Servers
from bench.workers import Worker

DEVICES = 3
PATIENCE_S = 20.0


def wait_for(board: Board, counter: Counter, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while board.total(counter) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)  # the board is memory of several processes, and tells nobody of a change


def test_devices_say_hello_and_hear_every_packet_again() -> None:
    cpus = frozenset(os.sched_getaffinity(0))
    board = Board(3, lifetime_s=PATIENCE_S)
    with contextlib.ExitStack() as stack:
        addresses = []
        for slot in range(2):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.settimeout(0)
            addresses.append(listener.getsockname())
            server = partial(Servers, listener, board=board, tally=board.tally(slot))
            stack.enter_context(Worker(server, cpus=cpus))
        tally = board.tally(2)
        devices = partial(
            Devices, tuple(addresses), "key", sessions=DEVICES, board=board, tally=tally
        )
        speaking = stack.enter_context(Worker(devices, cpus=cpus))
        wait_for(board, Counter.ESTABLISHED, DEVICES)
        board.advance(Phase.RECORD)
        wait_for(board, Counter.COMPLETED, 2 * DEVICES)
        board.advance(Phase.DRAIN)
        wait_for(board, Counter.COMPLETED, board.total(Counter.BEGUN))
        board.advance(Phase.END)
        report = speaking.report()

    assert report[0] == DEVICES
    assert len(report) > 1 + DEVICES
    assert all(0 < delay < PATIENCE_S * 1e9 for delay in report[1:])
    assert board.total(Counter.ACCEPTED) == DEVICES
