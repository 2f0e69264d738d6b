"""The one place where an error event of the responses dialect is built.

The best-known client drops an error without ``status`` and then waits for minutes, so none can be
built without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

STATUSES: Final = range(400, 600)
"""RFC 9110 section 15: what an error event's status may be."""

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
NO_PERMISSION: Final = "permission_error"

# -- texts of the upstream's own, which clients compare

INVALID_STREAM_ID: Final = (
    "The 'stream_id' field must be a non-empty string with at most 256 characters and may only"
    " contain letters, numbers, underscores, hyphens, and periods."
)
STREAM_LIMIT_REACHED: Final = (
    "This WebSocket connection has reached its maximum number of distinct stream IDs (32)."
    " Reuse an existing stream_id or open a new WebSocket connection."
)
CONNECTION_LIMIT_REACHED: Final = (
    "Responses websocket connection limit reached (60 minutes)."
    " Create a new websocket connection to continue."
)


def previous_response_text(response_id: str) -> str:
    """What a client is told whose chain is not known, or no longer."""
    return f"Previous response with id '{response_id}' not found."


@attrs.frozen
class Words:
    """What an error event says: ``status``, ``error.type``, ``.code``, ``.message``, ``.param``."""

    status: int
    type: str
    code: str
    message: str
    param: str | None = None


def error_event(
    status: int,
    kind: str,
    code: str,
    message: str,
    *,
    param: str | None = None,
    stream_id: str | None = None,
    response_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """An ``error`` event, as clients of every kind read one.

    It has no ``sequence_number``: the upstream numbers its events, and none may be missed.

    Args:
        status: HTTP's word for it; without one the best-known client does not see the event.
        kind: ``error.type``.
        stream_id: The lane; ``None`` for the default one, or where it is not known.
        response_id: Of the response that it ends, named behind the message.
        headers: As of an HTTP response. One client reads them beside the error, one inside it.

    Raises:
        ValueError: A part that every client needs is missing.
    """
    if status not in STATUSES:
        raise ValueError(f"an error event needs a status of 400 to 599, not {status}")
    if not (kind and code and message):
        raise ValueError("an error event needs a type, a code and a message")
    if response_id is not None:
        message = f"{message} (response {response_id})"
    error: dict[str, object] = {"type": kind, "code": code, "message": message, "param": param}
    event: dict[str, object] = {"type": "error", "status": status}
    if stream_id is not None:
        event["stream_id"] = stream_id
    event["error"] = error
    if headers:
        event["headers"] = error["headers"] = dict(headers)
    return msgspec.json.encode(event)


def incomplete_event(response_id: str, reason: str, stream_id: str | None = None) -> bytes:
    """A ``response.incomplete`` of relayd's own: the end of a turn that was preempted.

    Only for a response whose ``response.created`` the client has seen; another turn gets its
    error event.
    """
    event: dict[str, object] = {"type": "response.incomplete"}
    if stream_id is not None:
        event["stream_id"] = stream_id
    event["response"] = {
        "id": response_id,
        "object": "response",
        "status": "incomplete",
        "incomplete_details": {"reason": reason},
        "output": [],
    }
    return msgspec.json.encode(event)
