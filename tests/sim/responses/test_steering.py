"""What the server says about steering, read as a typed client reads it."""

from __future__ import annotations

from openai.types.responses import (
    ResponseSteerAcceptedEvent,
    ResponseSteerFailedEvent,
    ResponseSteerPendingEvent,
)

from relayd.sim.responses import steering
from relayd.sim.responses.client_events import Steer
from relayd.sim.responses.memory import Steered
from relayd.sim.responses.turn import stamped

SAID = Steered("steer_1", ({"type": "message", "role": "user", "content": "stop"},))


def test_accepted() -> None:
    event = ResponseSteerAcceptedEvent.model_validate(
        stamped(steering.accepted(SAID, "resp_1"), "a", 4), strict=True
    )

    assert (event.steer.id, event.steer.previous_response_id) == ("steer_1", "resp_1")
    assert (event.stream_id, event.sequence_number) == ("a", 4)


def test_pending_names_what_is_waited_for() -> None:
    calls = {"c1": "function_call", "c2": "custom_tool_call"}
    event = ResponseSteerPendingEvent.model_validate(
        stamped(steering.pending(SAID, "resp_1", calls, "shell"), None, 0), strict=True
    )

    assert event.reason == "waiting_for_required_input"
    assert [stub.model_dump() for stub in event.required_input] == [
        {"call_id": "c1", "name": "shell", "type": "function_call_output"},
        {"call_id": "c2", "type": "custom_tool_call_output"},
    ]


def test_what_was_lost_is_given_back_with_its_id() -> None:
    event = ResponseSteerFailedEvent.model_validate(stamped(steering.lost(SAID, "resp_1"), None, 0))

    assert event.error.code == "successor_creation_failed"
    assert event.steer.id == "steer_1"
    assert event.steer.model_dump()["input"]


def test_what_was_refused_is_given_back_without_one() -> None:
    refused = steering.refused(
        Steer(previous_response_id="resp_1", input="stop"), "response_not_found", "Not found."
    )
    event = ResponseSteerFailedEvent.model_validate(stamped(refused, None, 0), strict=True)

    assert (event.steer.id, event.steer.input) == (None, "stop")
    assert event.error.code == "response_not_found"
