"""One connection: lanes, chains, warm-ups, tools, and what is counted."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.responses.lanes import ACTIVE_MAX, NAMED_MAX, WAITING_MAX
from relayd.sim.responses.memory import Storage
from relayd.sim.responses.quota import Quota
from relayd.sim.responses.response import TERMINALS
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.steps import CloseWith
from relayd.sim.responses.tally import Ending, Tally
from tests.sim.responses.stage import (
    MAX_AGE_S,
    SHELL,
    Event,
    Line,
    asked,
    decoded,
    output,
    played,
    spoken,
)


def test_a_turn_is_answered_and_counted() -> None:
    line = Line()

    done = line.turn("hello there")

    assert spoken(done) == "Answer 1. You said: hello there"
    (record,) = line.book.turns()
    assert (record.response_id, record.ending) == (done["response"]["id"], Ending.COMPLETED)
    assert record.told is not None
    assert record.told.wire() == done["response"]["usage"]
    assert line.book.total == Tally(completed=1, usage=record.told)


def test_the_default_lane_is_not_named_in_its_events() -> None:
    line = Line()
    line.send(asked())
    line.send(asked(stream_id="a"))

    lanes = [event.get("stream_id") for event in line.rest()]

    assert set(lanes) == {None, "a"}


def test_lanes_move_in_turn_and_a_lane_runs_one_turn_at_a_time() -> None:
    line = Line()
    for lane in ("a", "b", "a"):
        line.send(asked(stream_id=lane))

    events = line.rest()

    assert [event["stream_id"] for event in events[:4]] == ["a", "b", "a", "b"]
    kinds = [event["type"] for event in events if event["stream_id"] == "a"]
    second = kinds.index("response.created", 1)
    assert kinds[second - 1] == "response.completed"
    assert {kinds.count("response.created"), kinds.count("response.completed")} == {2}


def test_sixteen_turns_are_active_and_more_wait() -> None:
    line = Line()
    for number in range(ACTIVE_MAX + 1):
        line.send(asked(stream_id=f"lane{number}"))

    before = [line.next()["stream_id"] for _ in range(ACTIVE_MAX * 5)]

    assert len(set(before)) == ACTIVE_MAX
    events = line.rest()
    assert sum(event["type"] == "response.completed" for event in events) == ACTIVE_MAX + 1


def test_a_thirty_third_lane_is_refused_on_its_own_lane() -> None:
    line = Line()
    for number in range(NAMED_MAX):
        line.turn(stream_id=f"lane{number}")

    refused = line.turn(stream_id="one-more")

    assert refused["error"]["code"] == "websocket_stream_limit_reached"
    assert (refused["status"], refused["stream_id"]) == (400, "one-more")
    assert spoken(line.turn(stream_id="lane0"))
    assert spoken(line.turn())


def test_no_more_is_taken_in_than_may_wait() -> None:
    line = Line()
    for _ in range(WAITING_MAX):
        assert line.machine.has_room
        line.send(asked())

    assert not line.machine.has_room
    line.next()
    assert line.machine.has_room


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\x00", "invalid_value"),
        ("no json", "invalid_json"),
        ({"type": "response.append"}, "invalid_value"),
        (asked(stream_id=""), "invalid_stream_id"),
    ],
)
def test_a_mistake_is_answered_at_once_and_the_connection_goes_on(
    message: dict[str, object] | str | bytes, code: str
) -> None:
    line = Line()

    (error,) = line.send(message)

    assert (error["type"], error["status"], error["error"]["code"]) == ("error", 400, code)
    assert "stream_id" not in error
    assert spoken(line.turn())


def test_a_mistake_on_a_lane_is_told_there() -> None:
    (error,) = Line().send({"type": "response.create", "stream_id": "a"})

    assert error["stream_id"] == "a"


def test_a_chain_goes_on_in_the_memory_of_its_connection() -> None:
    line = Line()
    first = line.turn("one", store=False)["response"]

    second = line.turn("two", store=False, previous_response_id=first["id"])

    assert spoken(second) == "Answer 2. You said: two"
    usage = second["response"]["usage"]
    read_before = first["usage"]["total_tokens"]
    assert usage["input_tokens_details"]["cached_tokens"] == read_before
    assert usage["input_tokens"] == read_before + 1


def test_what_is_not_stored_is_gone_with_its_connection() -> None:
    storage = Storage()
    first = Line(storage).turn(store=False)["response"]["id"]

    error = Line(storage, name="other").turn(previous_response_id=first)

    assert (error["status"], error["error"]["code"]) == (400, "previous_response_not_found")
    assert error["error"]["message"] == f"Previous response with id '{first}' not found."


def test_what_is_stored_can_be_gone_on_from_anywhere_with_the_same_key() -> None:
    storage = Storage()
    first = Line(storage).turn("one")["response"]["id"]

    done = Line(storage, name="other").turn("two", previous_response_id=first)
    error = Line(storage, name="third", key="other").turn(previous_response_id=first)

    assert spoken(done) == "Answer 2. You said: two"
    assert error["error"]["code"] == "previous_response_not_found"


def test_a_warm_up_can_be_gone_on_from() -> None:
    line = Line()
    warm = line.turn("instructions", generate=False, store=False)["response"]

    done = line.turn("hi", store=False, previous_response_id=warm["id"])

    assert warm["output"] == []
    assert spoken(done) == "Answer 1. You said: hi"
    assert done["response"]["usage"]["input_tokens_details"]["cached_tokens"] == 1
    assert (line.book.total.completed, line.book.total.warm_ups) == (2, 1)


def test_a_tool_is_called_and_its_output_said_back() -> None:
    line = Line()
    call = line.turn("run ls and tell me", tools=[SHELL], store=False)["response"]
    (item,) = call["output"]

    done = line.turn(
        [output(item, "a.txt")], tools=[SHELL], store=False, previous_response_id=call["id"]
    )

    assert (item["name"], item["arguments"]) == ("shell", '{"command":"ls"}')
    assert spoken(done) == "Answer 2. The tool said: a.txt"


def test_a_call_that_is_not_answered_is_asked_for_and_its_response_evicted() -> None:
    line = Line()
    call = line.turn("run ls", tools=[SHELL], store=False)["response"]

    errors = [line.turn("never mind", previous_response_id=call["id"]) for _ in range(2)]

    call_id = call["output"][0]["call_id"]
    assert errors[0]["error"]["message"] == f"No tool output found for function call {call_id}."
    assert errors[1]["error"]["code"] == "previous_response_not_found"


@pytest.mark.parametrize(
    "scenario", [Scenario.FAILED, Scenario.SERVER_ERROR, Scenario.RATE_LIMITED]
)
def test_a_failed_turn_evicts_its_parent_on_the_same_lane_only(scenario: Scenario) -> None:
    line = Line()
    parent = line.turn(store=False, stream_id="a")["response"]["id"]
    about = {"previous_response_id": parent, "store": False}

    line.turn(**about, **played(scenario), stream_id="fork")
    assert spoken(line.turn(**about, stream_id="a"))
    line.turn(**about, **played(scenario), stream_id="a")

    error = line.turn(**about, stream_id="a")
    assert error["error"]["code"] == "previous_response_not_found"
    assert error["stream_id"] == "a"


def test_an_incomplete_response_can_be_gone_on_from_and_a_failed_one_cannot() -> None:
    line = Line()
    cut = line.turn(max_output_tokens=1, store=False)["response"]
    failed = line.turn(**played(Scenario.FAILED))["response"]

    assert spoken(line.turn(previous_response_id=cut["id"])).startswith("Answer 2.")
    error = line.turn(previous_response_id=failed["id"])
    assert error["error"]["code"] == "previous_response_not_found"


def test_a_create_may_wait_for_the_response_that_it_goes_on_from() -> None:
    line = Line()
    line.send(asked("one", store=False))
    first = line.next()["response"]["id"]

    line.send(asked("two", store=False, previous_response_id=first))

    assert spoken(line.until_end()) == "Answer 1. You said: one"
    assert spoken(line.until_end()) == "Answer 2. You said: two"


def test_an_upstream_without_lanes_knows_no_stream_id_and_no_steering() -> None:
    line = Line(has_lanes=False)

    error = line.turn(stream_id="a")

    assert (error["status"], error["error"]["code"]) == (400, "unknown_parameter")
    assert error["error"]["param"] == "stream_id"
    assert "stream_id" not in error
    steer = {"type": "response.steer", "previous_response_id": "r", "input": "x"}
    (refused,) = line.send(steer)
    assert refused["error"]["param"] == "type"
    assert spoken(line.turn())


def test_a_quota_is_used_up_and_comes_again() -> None:
    line = Line(quota=Quota(turns=1, window_s=100.0))
    line.turn()

    error = line.turn()
    line.now = 100.0

    assert error["error"]["type"] == "usage_limit_reached"
    assert error["error"]["resets_at"] == 1_700_000_100
    assert error["headers"]["x-codex-primary-used-percent"] == "100.0"
    assert spoken(line.turn())


def test_at_its_age_a_connection_lets_turns_end_and_begins_none() -> None:
    line = Line()
    line.send(asked(stream_id="a"))
    line.next()
    line.now = MAX_AGE_S
    line.send(asked(stream_id="a"))

    assert spoken(line.until_end())
    error = line.until_end()

    assert error["error"]["code"] == "websocket_connection_limit_reached"
    assert error["stream_id"] == "a"
    assert line.exit() == CloseWith(1000)


def test_an_idle_connection_is_told_its_age_and_closed() -> None:
    line = Line()
    assert line.machine.due_at == MAX_AGE_S
    line.now = MAX_AGE_S

    assert line.next()["error"]["code"] == "websocket_connection_limit_reached"
    assert line.exit() == CloseWith(1000)


def test_a_turn_that_never_ends_does_not_keep_an_old_connection() -> None:
    line = Line()
    line.send(asked(**played(Scenario.SILENT_AFTER_CREATED)))
    line.next()
    line.now = MAX_AGE_S
    assert line.rest() == []

    line.now = line.machine.due_at

    assert line.exit() == CloseWith(1000)


def test_what_runs_at_the_end_is_cut_and_what_waits_was_never_begun() -> None:
    line = Line()
    line.send(asked())
    line.send(asked())
    for _ in range(6):
        line.next()

    line.machine.end()

    (record,) = line.book.turns()
    assert (record.ending, record.told, record.used.output_tokens) == (Ending.CUT, None, 2)
    assert line.book.total.untold_usage == record.used


def test_a_terminal_that_was_not_taken_was_not_told() -> None:
    line = Line()
    line.send(asked(generate=False))
    line.next()
    line.next()
    line.machine.advance(0.0)

    line.machine.end()

    assert line.book.total.cut == 1
    assert line.book.total.completed == 0


LANES = st.sampled_from([None, "a", "b", "c"])
ACTIONS = st.lists(
    st.tuples(st.just("create"), LANES, st.sampled_from(["hello", "run ls"]), st.booleans())
    | st.tuples(st.just("steer"), st.integers(0, 5))
    | st.tuples(st.just("advance"), st.integers(1, 30)),
    max_size=30,
)


@given(ACTIONS)
def test_whatever_is_asked_when_each_response_begins_and_ends_once_and_in_order(
    actions: list[tuple[str, *tuple[object, ...]]],
) -> None:
    line = Line()
    events: list[Event] = []
    for action in actions:
        match action:
            case ("create", lane, str(text), bool(is_warm_up)):
                fields = {} if lane is None else {"stream_id": lane}
                line.send(asked(text, tools=[SHELL], generate=not is_warm_up, **fields))
            case ("steer", int(number)):
                target = f"resp_sim_{number}"
                events += line.send(
                    {"type": "response.steer", "previous_response_id": target, "input": "more"}
                )
            case ("advance", int(count)):
                while count and isinstance(frame := line.machine.advance(0.0), bytes):
                    line.machine.delivered()
                    events.append(decoded(frame))
                    count -= 1
    events += line.rest()

    begun = [e["response"]["id"] for e in events if e["type"] == "response.created"]
    ended = [e["response"]["id"] for e in events if e["type"] in TERMINALS]
    assert sorted(begun) == sorted(ended) == sorted(set(begun))
    assert line.book.total.turns == line.book.total.delivered == len(begun)
    assert line.machine.has_room
    for lane in (None, "a", "b", "c"):
        of_lane = [e for e in events if e.get("stream_id") == lane and _is_of_a_response(e)]
        numbers = [event["sequence_number"] for event in of_lane]
        starts = [index for index, event in enumerate(of_lane) if event["sequence_number"] == 0]
        for start, end in itertools.pairwise([*starts, len(numbers)]):
            assert numbers[start:end] == list(range(end - start))
            assert of_lane[start]["type"] == "response.created"


def _is_of_a_response(event: Event) -> bool:
    """Whether it is numbered with a response: a refused steer may have found none."""
    return not (event["type"] == "response.steer.failed" and event["sequence_number"] == 0)
