"""What a turn writes on its events, and what it leaves to be counted."""

from __future__ import annotations

import pytest

from relayd.sim.responses.response import Response
from relayd.sim.responses.tally import Ending
from relayd.sim.responses.turn import Turn, stamped
from relayd.sim.responses.usage import NO_USAGE
from tests.sim.responses.stage import Event, create, response


def begun() -> tuple[Turn, Response]:
    turn = Turn(create(), "a")
    turn.response = response()
    return turn, turn.response


def test_events_are_numbered_and_carry_the_lane() -> None:
    turn, running = begun()

    wire = [turn.stamped(event) for event in running]

    assert [event["sequence_number"] for event in wire] == list(range(len(wire)))
    assert {event["stream_id"] for event in wire} == {"a"}
    assert {next(iter(event)) for event in wire} == {"type"}


def test_what_is_of_the_backend_alone_has_no_number() -> None:
    turn = Turn(create(), None)

    assert turn.stamped({"type": "codex.rate_limits"}) == {"type": "codex.rate_limits"}
    assert turn.stamped({"type": "error"})["sequence_number"] == 0


def test_an_event_that_names_its_lane_keeps_it() -> None:
    assert stamped({"type": "x", "stream_id": "other"}, "a", None)["stream_id"] == "other"


def test_the_terminal_is_counted_once_with_what_it_told() -> None:
    turn, running = begun()
    records = [turn.ended_by(event, "key") for event in running]
    *before, record = records

    assert set(before) == {None}
    assert record is not None
    assert (record.ending, record.response_id, record.lane) == (Ending.COMPLETED, "resp_1", "a")
    assert record.told == record.used == running.usage
    assert turn.ended_by({"type": "error"}, "key") is None


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 1}])
def test_usage_that_is_not_true_was_not_told(usage: object) -> None:
    turn, running = begun()
    turn.ended_by(next(running), "key")

    event: Event = {"type": "response.completed", "response": {"usage": usage}}
    record = turn.ended_by(event, "key")

    assert record is not None
    assert record.told is None
    assert record.used == running.usage


def test_an_error_in_place_of_a_response_has_used_nothing() -> None:
    turn, _ = begun()

    record = turn.ended_by({"type": "error", "error": {"code": "server_error"}}, "key")

    assert record is not None
    assert (record.ending, record.code, record.response_id) == (Ending.ERROR, "server_error", None)
    assert record.used == NO_USAGE


def test_an_error_at_the_top_level_has_its_code_too() -> None:
    turn, _ = begun()

    record = turn.ended_by({"type": "error", "code": "server_error"}, "key")

    assert record is not None
    assert record.code == "server_error"
