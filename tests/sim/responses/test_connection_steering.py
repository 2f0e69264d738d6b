"""What is said to a response that is running."""

from __future__ import annotations

import pytest

from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.steering import STEERS_MAX
from tests.sim.responses.stage import SHELL, Event, Line, asked, output, played, spoken


def steer(target: str, text: str = "and now this") -> Event:
    return {"type": "response.steer", "previous_response_id": target, "input": text}


def begun(line: Line, text: str = "hello", events: int = 6, **fields: object) -> str:
    """A turn that has told ``events`` of its events; its response's id."""
    line.send(asked(text, **fields))
    seen = [line.next() for _ in range(events)]
    response_id: str = seen[0]["response"]["id"]
    return response_id


def test_words_stop_and_a_successor_goes_on_with_what_was_said() -> None:
    line = Line()
    target = begun(line, stream_id="a", instructions="be kind")

    (accepted,) = line.send(steer(target))
    steered = line.until_end()
    created = line.next()
    done = line.until_end()

    assert (accepted["type"], accepted["stream_id"]) == ("response.steer.accepted", "a")
    assert accepted["sequence_number"] == 6
    assert steered["response"]["incomplete_details"] == {"reason": "steered"}
    assert (created["type"], created["stream_id"]) == ("response.created", "a")
    assert created["sequence_number"] == 0
    assert created["response"]["previous_response_id"] == target
    assert created["response"]["instructions"] == "be kind"
    assert spoken(done) == "Answer 2. You said: and now this"
    assert (line.book.total.incomplete, line.book.total.completed) == (1, 1)


def test_the_successor_comes_before_a_create_that_waits() -> None:
    line = Line()
    target = begun(line)
    line.send(asked("later"))

    line.send(steer(target))
    ends = [line.until_end() for _ in range(3)]

    assert [spoken(end) for end in ends] == [
        "Answer 1.",
        "Answer 2. You said: and now this",
        "Answer 1. You said: later",
    ]


def test_all_that_was_said_before_the_stop_is_taken_together() -> None:
    line = Line()
    target = begun(line, "run ls", events=3, tools=[SHELL])
    for text in ("first", "second"):
        (event,) = line.send(steer(target, text))
        assert event["type"] == "response.steer.accepted"

    call = line.until_end()
    pending = line.rest()

    assert call["type"] == "response.completed"
    assert [event["type"] for event in pending] == ["response.steer.pending"] * 2
    (item,) = call["response"]["output"]
    assert pending[0]["required_input"] == [
        {"type": "function_call_output", "call_id": item["call_id"], "name": "shell"}
    ]
    done = line.turn([output(item, "a.txt")], previous_response_id=target)
    assert spoken(done) == "Answer 2. The tool said: a.txt"
    assert done["response"]["usage"]["input_tokens"] == 2 + 2 + 2 + 1


@pytest.mark.parametrize(
    ("fields", "events", "code"),
    [
        ({"generate": False}, 1, "steering_not_supported"),
        ({}, 11, "response_not_active"),
    ],
)
def test_not_every_response_can_be_steered(fields: Event, events: int, code: str) -> None:
    line = Line()
    target = begun(line, events=events, stream_id="a", **fields)

    (failed,) = line.send(steer(target))

    assert (failed["type"], failed["error"]["code"]) == ("response.steer.failed", code)
    assert failed["steer"] == {"previous_response_id": target, "input": "and now this"}
    assert failed["stream_id"] == "a"
    assert line.until_end()["type"] == "response.completed"


def test_what_has_ended_or_was_never_there_cannot_be_steered() -> None:
    line = Line()
    target = line.turn()["response"]["id"]

    codes = [line.send(steer(name))[0]["error"]["code"] for name in (target, "resp_unknown")]

    assert codes == ["response_already_completed", "response_not_found"]


def test_only_the_user_may_steer() -> None:
    line = Line()
    target = begun(line)
    system = [{"role": "system", "content": "obey"}]

    (failed,) = line.send(steer(target) | {"input": system})

    assert failed["error"]["code"] == "invalid_input"
    assert failed["steer"]["input"] == system


def test_so_much_may_be_said_and_no_more() -> None:
    line = Line()
    target = begun(line, "run ls", events=3, tools=[SHELL])
    answers = [line.send(steer(target))[0] for _ in range(STEERS_MAX + 1)]

    assert [answer["type"] for answer in answers[:-1]] == ["response.steer.accepted"] * STEERS_MAX
    assert answers[-1]["error"]["code"] == "too_many_pending_steers"


def test_what_was_said_to_a_silent_turn_is_taken_up_when_it_goes_on() -> None:
    line = Line()
    line.send(asked(**played(Scenario.SILENT_TURN, sim_s="5")))
    target = line.next()["response"]["id"]
    (accepted,) = line.send(steer(target))
    assert accepted["type"] == "response.steer.accepted"
    assert line.rest() == []

    line.now = 5.0
    steered = line.until_end()

    assert steered["response"]["incomplete_details"] == {"reason": "steered"}
    assert spoken(line.until_end()) == "Answer 2. You said: and now this"
