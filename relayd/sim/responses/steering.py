"""The server's answers to ``response.steer``, without lane and number.

Source: openai-python, types/responses/response_steer_*.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from relayd.sim.responses.client_events import Steer
from relayd.sim.responses.errors import JsonObject
from relayd.sim.responses.memory import Steered

STEERS_MAX: Final = 8
"""What may be said to one response before it has taken in any of it."""


def accepted(steered: Steered, response_id: str) -> JsonObject:
    """The input is the server's now, though not applied yet."""
    return {"type": "response.steer.accepted", "steer": _about(steered, response_id)}


def pending(steered: Steered, response_id: str, calls: Mapping[str, str], name: str) -> JsonObject:
    """The input waits, as the response does, for the outputs of ``calls``.

    Args:
        steered: What waits.
        response_id: The response it was said to.
        calls: ``call_id`` to the type of the call.
        name: The tool that is called.
    """
    stubs: list[JsonObject] = []
    for call_id, kind in calls.items():
        named = {"name": name} if kind == "function_call" else {}
        stubs.append({"type": f"{kind}_output", "call_id": call_id, **named})
    return {
        "type": "response.steer.pending",
        "steer": _about(steered, response_id),
        "reason": "waiting_for_required_input",
        "required_input": stubs,
    }


def lost(steered: Steered, response_id: str) -> JsonObject:
    """The input was accepted, but the response failed: the client has it back."""
    message = "The successor response could not be created."
    about = _about(steered, response_id) | {"input": list(steered.items)}
    return _failed("successor_creation_failed", message, about)


def refused(steer: Steer, code: str, message: str) -> JsonObject:
    """The input was not accepted."""
    about: JsonObject = {"previous_response_id": steer.previous_response_id, "input": steer.input}
    return _failed(code, message, about)


def _about(steered: Steered, response_id: str) -> JsonObject:
    return {"id": steered.id, "previous_response_id": response_id}


def _failed(code: str, message: str, steer: JsonObject) -> JsonObject:
    error = {"type": "invalid_request_error", "code": code, "message": message}
    return {"type": "response.steer.failed", "error": error, "steer": steer}
