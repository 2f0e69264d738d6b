"""The errors of the Responses API in WebSocket mode, in the service's own words.

Source: the WebSocket mode guide for the documented codes and their texts; for the quota of a
ChatGPT plan, what its client is tested with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

JsonObject = dict[str, object]

_INVALID: Final = "invalid_request_error"


@attrs.frozen
class ServiceError:
    """An error that is told in band.

    Attributes:
        status: The HTTP status that ``POST`` would have answered with.
        kind: ``error.type``.
        code: ``error.code``; ``None`` is null.
        message: One sentence for a person.
        param: The field at fault, as a path.
        details: Further members of ``error``.
        headers: Members of a ``headers`` object beside ``error``; none: no such object.
    """

    status: int
    kind: str
    code: str | None
    message: str
    param: str | None = None
    details: Mapping[str, object] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def event(self) -> JsonObject:
        """As an ``error`` event, without lane and number."""
        error: JsonObject = {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            **self.details,
        }
        event: JsonObject = {"type": "error", "status": self.status, "error": error}
        return event | {"headers": dict(self.headers)} if self.headers else event


class Rejected(Exception):
    """A client event that is answered with an ``error`` event; the connection goes on.

    Attributes:
        error: The answer.
        lane: The lane it is for, where it is known and not the default one.
    """

    def __init__(self, error: ServiceError, lane: str | None = None) -> None:
        super().__init__(error.code, error.message)
        self.error = error
        self.lane = lane


def invalid(code: str | None, message: str, param: str | None) -> ServiceError:
    """A 400: the client's own mistake."""
    return ServiceError(400, _INVALID, code, message, param)


def previous_response_not_found(response_id: str) -> ServiceError:
    """The response to go on from is neither in the connection's memory nor stored."""
    message = f"Previous response with id '{response_id}' not found."
    return invalid("previous_response_not_found", message, "previous_response_id")


def usage_limit_reached(resets_at: int) -> ServiceError:
    """The quota of a plan is used up until ``resets_at``, in Unix seconds."""
    return ServiceError(
        429,
        "usage_limit_reached",
        None,
        "The usage limit has been reached",
        details={"plan_type": "pro", "resets_at": resets_at},
        headers={
            "x-codex-primary-used-percent": "100.0",
            "x-codex-primary-window-minutes": "300",
            "x-codex-primary-reset-at": str(resets_at),
        },
    )


UNKNOWN_STREAM_ID: Final = invalid(
    "unknown_parameter", "Unknown parameter: 'stream_id'.", "stream_id"
)
"""What an upstream from before the lanes says to one."""

STREAM_LIMIT: Final = invalid(
    "websocket_stream_limit_reached",
    "This WebSocket connection has reached its maximum number of distinct stream IDs (32). Reuse "
    "an existing stream_id or open a new WebSocket connection.",
    "stream_id",
)
CONNECTION_LIMIT: Final = invalid(
    "websocket_connection_limit_reached",
    "Responses websocket connection limit reached (60 minutes). Create a new websocket connection "
    "to continue.",
    None,
)
BINARY: Final = invalid("invalid_value", "Binary messages are not supported.", None)
INVALID_API_KEY: Final = ServiceError(
    401, _INVALID, "invalid_api_key", "Incorrect API key provided."
)
FORBIDDEN: Final = ServiceError(
    403,
    _INVALID,
    "unsupported_country_region_territory",
    "Country, region, or territory not supported.",
)
RATE_LIMITED: Final = ServiceError(
    429,
    "rate_limit_error",
    "rate_limit_exceeded",
    "Rate limit reached for requests. Please try again in 1s.",
    details={"headers": {"retry-after": "1", "x-ratelimit-remaining-requests": "0"}},
)
OVERLOADED: Final = ServiceError(
    503,
    "service_unavailable_error",
    "server_is_overloaded",
    "Our servers are currently overloaded. Please try again later.",
)
SERVER_ERROR: Final = ServiceError(
    500,
    "server_error",
    "server_error",
    "The server had an error while processing your request. Sorry about that!",
)

WITHOUT_STATUS: Final[JsonObject] = {
    "type": "error",
    "error": {
        "type": SERVER_ERROR.kind,
        "code": SERVER_ERROR.code,
        "message": SERVER_ERROR.message,
        "param": None,
    },
}
"""An ``error`` event that the best-known client ignores."""
TOP_LEVEL: Final[JsonObject] = {
    "type": "error",
    "code": SERVER_ERROR.code,
    "message": SERVER_ERROR.message,
    "param": None,
}
"""An ``error`` event as some backends write it."""
