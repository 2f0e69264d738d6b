"""A client's messages that concern a running turn: they go where it runs, as they are."""

from __future__ import annotations

from typing import Final

from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_client import Mistake, Other, Steer
from relayd.dialect.responses_errors import INVALID_REQUEST
from relayd.session.responses.farewell import mistake_of
from relayd.session.responses.holders import Holders

UNKNOWN_EVENT: Final = "unknown_event"
"""The code of an event that relayd does not know, and no turn runs that would."""

_STEERED: Final = "previous_response_id"


def forward(holders: Holders, message: Steer | Other, now: float) -> Mistake | None:
    """Send on more input for a response, or an event that relayd does not know.

    Returns:
        What the client is told where that is not possible.
    """
    stream_id = message.stream_id if isinstance(message, Other) else None
    if isinstance(message, Steer):
        holder = holders.of_response(message.previous_response_id)
    else:
        holder = holders.in_lane(stream_id)
    if holder is None:
        return _nowhere(message)
    if holder.send(message.payload, now):
        return None
    return mistake_of(Abort.GATEWAY_BUSY, stream_id)


def _nowhere(message: Steer | Other) -> Mistake:
    if isinstance(message, Steer):
        text = "The response to steer does not run on this connection."
        return Mistake(400, INVALID_REQUEST, "response_not_running", text, _STEERED)
    text = f"No response runs that {message.kind} could concern."
    return Mistake(400, INVALID_REQUEST, UNKNOWN_EVENT, text, "type", message.stream_id)
