"""One answer, event by event, read as a typed client reads it."""

from __future__ import annotations

import json

import pytest
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter

from relayd.sim.responses.memory import Steered
from relayd.sim.responses.response import PIECE_LENGTH, Response, Status
from relayd.sim.responses.turn import stamped
from tests.sim.responses.stage import SHELL, Event, response, spoken

TYPED: TypeAdapter[ResponsesServerEvent] = TypeAdapter(ResponsesServerEvent)
SAID = Steered("steer_1", ({"role": "user", "content": "stop"},))
FREE = {"type": "custom", "name": "exec", "description": "runs"}
ASKS: list[dict[str, object]] = [
    {},
    {"text": "run ls", "tools": [SHELL]},
    {"text": "run ls", "tools": [FREE]},
    {"generate": False},
    {"max_output_tokens": 2},
    {
        "instructions": "be kind",
        "reasoning": {"effort": "low"},
        "text": "hi",
        "temperature": 0.5,
        "parallel_tool_calls": False,
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "truncation": "auto",
        "tool_choice": "none",
    },
]


def events(**fields: object) -> list[Event]:
    text = str(fields.pop("text", "hello"))
    return events_of(response(text, **fields))


def events_of(running: Response) -> list[Event]:
    """Those that are still to come."""
    return list(running)


@pytest.mark.parametrize("fields", ASKS)
def test_every_event_is_one_that_the_sdk_knows(fields: dict[str, object]) -> None:
    for number, event in enumerate(events(**fields)):
        wire = json.dumps(stamped(event, "lane", number))

        typed = TYPED.validate_json(wire)

        assert typed.type == event["type"]
        assert typed.stream_id == "lane"
        assert typed.sequence_number == number


def test_words_come_in_the_documented_order() -> None:
    played = events(text="hi")

    assert [event["type"] for event in played] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 5,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    said = "".join(event["delta"] for event in played if "delta" in event)
    assert said == played[9]["text"] == spoken(played[-1]) == "Answer 1. You said: hi"
    assert played[0]["response"]["status"] == "in_progress"
    assert played[0]["response"]["usage"] is None


@pytest.mark.parametrize(
    ("tool", "given"), [(SHELL, "arguments"), (FREE, "input")], ids=["function", "custom"]
)
def test_a_call_comes_in_the_documented_order(tool: dict[str, object], given: str) -> None:
    played = events(text="run ls -l /etc/passwd", tools=[tool])

    kind = "function_call_arguments" if given == "arguments" else "custom_tool_call_input"
    assert [event["type"] for event in played[2:]] == [
        "response.output_item.added",
        *[f"response.{kind}.delta"] * (len(played) - 6),
        f"response.{kind}.done",
        "response.output_item.done",
        "response.completed",
    ]
    (item,) = played[-1]["response"]["output"]
    asked_for = "".join(event["delta"] for event in played if "delta" in event)
    assert asked_for == played[-3][given] == item[given]
    assert "ls -l /etc/passwd" in asked_for
    assert max(len(event.get("delta", "")) for event in played) == PIECE_LENGTH
    assert played[-1]["response"]["usage"]["output_tokens"] == len(played) - 6


def test_a_warm_up_completes_with_usage_and_without_output() -> None:
    played = events(generate=False)

    assert [event["type"] for event in played] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert played[-1]["response"]["output"] == []
    assert played[-1]["response"]["usage"]["output_tokens"] == 0
    assert played[-1]["response"]["usage"]["input_tokens"] == 1


def test_a_limit_of_tokens_is_kept() -> None:
    (*_, last) = events(max_output_tokens=3, reasoning={"effort": "minimal"})
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["usage"]["output_tokens"] == 4, "it thought, and could say nothing"

    (*_, last) = events(max_output_tokens=2)
    assert last["response"]["status"] == "incomplete"
    assert spoken(last) == "Answer 1."


def test_thought_is_counted_among_what_was_written() -> None:
    usage = events(text="hi", reasoning={"effort": "low"})[-1]["response"]["usage"]

    assert usage["output_tokens_details"]["reasoning_tokens"] == 8
    assert usage["output_tokens"] == 8 + 5


def test_an_interruption_closes_what_is_open() -> None:
    running = response()
    for _ in range(6):
        next(running)

    running.interrupt("content_filter")
    rest = events_of(running)

    assert [event["type"] for event in rest] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert rest[-1]["response"]["incomplete_details"] == {"reason": "content_filter"}
    assert spoken(rest[-1]) == "Answer 1."
    assert running.status is Status.INCOMPLETE


def test_a_failure_says_why_and_cannot_be_gone_on_from() -> None:
    running = response()
    next(running)

    running.fail("server_error", "It broke.")
    (last,) = events_of(running)

    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "It broke."}
    assert running.past() is None


def test_what_has_begun_to_end_ends_anew() -> None:
    running = response("run ls", tools=[SHELL])
    while next(running)["type"] != "response.completed":
        pass
    assert not running.is_steerable

    running.interrupt("content_filter")

    assert [event["type"] for event in running] == [
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    past = running.past()
    assert past is not None
    assert past.calls == {}, "a call that was not completed waits for nothing"


def test_what_can_be_gone_on_from_knows_what_it_waits_for() -> None:
    running = response("run ls", tools=[SHELL])
    assert running.past() is None
    list(running)

    past = running.past()

    assert past is not None
    assert past.calls == {"call_1": "function_call"}
    assert past.tokens == running.plan.context_tokens + running.usage.output_tokens


def test_words_stop_when_steered_and_have_a_successor() -> None:
    running = response()
    for _ in range(6):
        next(running)

    running.steer(SAID)
    *_, last = events_of(running)

    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "steered"}
    assert running.has_successor


def test_a_call_is_finished_and_what_was_said_waits_with_it() -> None:
    running = response("run ls", tools=[SHELL])
    for _ in range(3):
        next(running)

    running.steer(SAID)
    (*_, completed, pending) = running

    assert completed["type"] == "response.completed"
    assert pending["type"] == "response.steer.pending"
    assert not running.has_successor
    past = running.past()
    assert past is not None
    assert past.steers == (SAID,)


def test_what_was_said_to_one_that_fails_is_given_back() -> None:
    running = response("run ls", tools=[SHELL])
    next(running)
    running.steer(SAID)

    running.fail("server_error", "It broke.")
    failed, lost = running

    assert failed["type"] == "response.failed"
    assert lost["type"] == "response.steer.failed"
    assert not running.has_successor
