"""How long a pass goes on, and when it waits for more."""

from __future__ import annotations

import pytest

from relayd.transport.pace import BUSY_S, EVENTS_MAX, LINGER_S, PASS_MAX_S, Pace


def dense_pace(now: float = 100.0) -> Pace:
    """A pace whose last pass has only just ended, at ``now``."""
    pace = Pace()
    pace.begin(now)
    pace.next_wait_s(1, now)
    pace.begin(now + LINGER_S / 2)
    return pace


def test_a_pass_waits_for_more_where_traffic_is_dense() -> None:
    assert dense_pace(100.0).next_wait_s(1, 100.0 + LINGER_S) == LINGER_S


def test_a_pass_does_not_wait_where_traffic_is_sparse() -> None:
    pace = Pace()
    pace.begin(100.0)
    pace.next_wait_s(1, 100.0)
    pace.begin(100.0 + 2 * LINGER_S)

    assert pace.next_wait_s(1, 100.0 + 2 * LINGER_S) == 0.0


def test_a_pass_that_woke_a_task_does_not_keep_it_waiting() -> None:
    pace = dense_pace()
    pace.woke()

    assert pace.next_wait_s(1, 100.0 + LINGER_S) == 0.0


def test_no_pass_waits_while_connections_come_and_go() -> None:
    pace = dense_pace(100.0)
    pace.came_or_went()

    assert pace.next_wait_s(1, 100.0 + LINGER_S) == 0.0
    for at, wait_s in ((0.0, 0.0), (BUSY_S / 2, 0.0), (BUSY_S, LINGER_S)):
        pace.next_wait_s(1, 101.0 + at)  # traffic is dense all the time
        pace.begin(101.0 + at)
        assert pace.next_wait_s(1, 101.0 + at) == wait_s


@pytest.mark.parametrize(
    ("served", "lasted", "over"),
    [
        (EVENTS_MAX, 0.0, True),
        (EVENTS_MAX - 1, 0.0, False),
        (1, PASS_MAX_S * 1.01, True),
        (1, PASS_MAX_S * 0.99, False),
    ],
)
def test_a_pass_ends_after_so_many_events_or_so_long(
    served: int, lasted: float, over: bool
) -> None:
    pace = Pace()
    pace.begin(100.0)

    assert (pace.next_wait_s(served, 100.0 + lasted) is None) is over
