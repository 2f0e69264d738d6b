from __future__ import annotations

import pytest

from bench.board import Board, Counter, Phase
from bench.failures import SessionLost


def board(*, lifetime_s: float = 3600.0) -> Board:
    return Board(3, lifetime_s=lifetime_s)


def test_counters_of_several_processes_add_up_and_do_not_mix() -> None:
    shared = board()
    for slot in range(3):
        shared.tally(slot).add(Counter.RECEIVED_BYTES, 10**slot)
    shared.tally(1).add(Counter.ESTABLISHED)

    assert shared.total(Counter.RECEIVED_BYTES) == 111
    assert shared.total(Counter.ESTABLISHED) == 1
    assert shared.tally(1)[Counter.RECEIVED_BYTES] == 10
    assert not shared.has_reached(Phase.TRAFFIC)


def test_phases_are_reached_in_order() -> None:
    shared = board()
    shared.advance(Phase.RECORD)

    assert [phase for phase in Phase if shared.has_reached(phase)] == [
        Phase.CONNECT,
        Phase.TRAFFIC,
        Phase.RECORD,
    ]
    assert shared.is_recording


def test_a_run_out_of_time_is_beyond_every_phase() -> None:
    assert board(lifetime_s=0.0).has_reached(Phase.END)


def test_a_session_lost_in_traffic_fails_the_run() -> None:
    shared = board()
    shared.advance(Phase.TRAFFIC)

    with pytest.raises(SessionLost), shared.in_traffic():
        raise SessionLost("gone")


def test_a_session_lost_after_the_traffic_is_forgiven() -> None:
    shared = board()
    shared.advance(Phase.DRAIN)

    with shared.in_traffic():
        raise SessionLost("gone")

    assert shared.has_reached(Phase.DRAIN)
