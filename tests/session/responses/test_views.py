"""A session as its clock and the admin API see it."""

from __future__ import annotations

from relayd.dialect.responses_lanes import Lanes
from relayd.session.responses.views import Downstream, Turns
from tests.dialect.responses import create


def test_a_session_is_busy_while_a_turn_runs_or_waits() -> None:
    lanes = Lanes()
    turns = Turns(lanes)
    assert (turns.busy, turns.busy_since, turns.closed_to_turns) == (False, None, None)
    lanes.add(create("a"))
    lanes.add(create("a"))
    assert turns.busy
    lanes.ended("a")
    assert turns.busy
    lanes.ended("a")
    assert not turns.busy


def test_what_relayd_said_itself_counts_as_sent() -> None:
    down = Downstream()
    down.said[0] += 2
    down.said[1] += 30

    assert (down.flow.messages, down.flow.bytes) == (2, 30)
