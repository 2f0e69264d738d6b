"""The turns of a lease: which run, which are to come, what is known of each."""

from __future__ import annotations

import pytest

from relayd.dialect.responses_turns import (
    NO_PROOF,
    STEERS_MAX,
    TOOL_CALLS_MAX,
    LeaseTurns,
    Running,
    Terminal,
)


def end_of(turn: Running, *, successor_expected: bool = False) -> Terminal:
    return Terminal(
        running=turn,
        kind="response.incomplete",
        status="incomplete",
        at=1.0,
        successor_expected=successor_expected,
    )


def test_tool_calls_are_those_that_the_client_is_to_answer() -> None:
    turn = Running()
    for kind, call_id in [
        ("function_call", "call_1"),
        ("custom_tool_call", "call_2"),
        ("function_call", "call_1"),
        ("shell_call", "call_3"),
        ("shell_call_output", "call_3"),
        ("message", "call_4"),
        ("tool_search_output", "call_5"),
    ]:
        turn.item(kind, call_id)

    assert turn.tool_calls == ["call_1", "call_2"]


def test_what_is_known_of_a_turn_is_bounded() -> None:
    turn = Running()
    for number in range(max(TOOL_CALLS_MAX, STEERS_MAX) + 5):
        turn.item("function_call", f"call_{number}")
        turn.steer_accepted(f"steer_{number}")

    assert len(turn.tool_calls) == TOOL_CALLS_MAX
    assert len(turn.steers) == STEERS_MAX


def test_a_lane_has_one_turn_at_a_time() -> None:
    turns = LeaseTurns()
    first = Running()
    turns.begin("a", first)

    with pytest.raises(ValueError, match="already"):
        turns.begin("a", Running())
    turns.begin("b", Running())
    turns.begin(None, Running())
    assert turns.running["a"] is first
    assert first.lane == "a"


def test_an_upstream_without_lanes_has_one_turn_at_a_time() -> None:
    turns = LeaseTurns(lanes=False)
    first = Running()
    turns.begin("a", first)

    with pytest.raises(ValueError, match="already"):
        turns.begin("b", Running())
    turns.end(end_of(first))
    turns.begin("b", Running())


def test_a_lane_that_waits_for_a_successor_is_busy_until_it_came_or_will_not() -> None:
    turns = LeaseTurns()
    turn = Running()
    turns.begin("a", turn)
    turns.end(end_of(turn, successor_expected=True))

    assert turns.busy
    with pytest.raises(ValueError, match="already"):
        turns.begin("a", Running())
    turns.succeed("a")
    [successor] = turns.began
    assert turns.running == {"a": successor}
    assert successor.lane == "a"
    turns.end(end_of(successor, successor_expected=True))
    turns.lapse("a")
    assert not turns.busy
    assert turns.lapsed == ["a"]


def test_events_pass_unread_only_once_all_that_runs_has_had_output() -> None:
    turns = LeaseTurns()
    first, second = Running(), Running()
    turns.begin("a", first)
    assert not turns.settled
    first.first_output_at = 1.0
    turns.settle()
    assert turns.settled

    turns.proof = b"x"
    turns.begin("b", second)
    assert (turns.settled, turns.proof) == (False, NO_PROOF)
    turns.end(end_of(second))
    assert turns.settled
    turns.end(end_of(first))
    assert not turns.settled


@pytest.mark.parametrize(
    ("busy", "named", "meant"),
    [
        ([], None, []),
        (["a", None], None, [None]),
        (["a"], None, ["a"]),
        (["a", "b"], None, ["a", "b"]),
        (["a", "b", None], "b", ["b"]),
        (["a"], "b", []),
    ],
)
def test_an_error_means_the_lane_it_names_else_as_few_as_can_be(
    busy: list[str | None], named: str | None, meant: list[str | None]
) -> None:
    turns = LeaseTurns()
    for lane in busy:
        turns.begin(lane, Running())

    assert turns.lanes_meant(named) == meant


def test_the_only_lane_is_told() -> None:
    turns = LeaseTurns()
    assert turns.only is None
    turns.begin("a", Running())
    assert turns.only == "a"
    turns.begin("b", Running())
    assert turns.only is None
