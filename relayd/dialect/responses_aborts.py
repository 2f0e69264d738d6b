"""Why a turn or a session of the responses dialect ends early, as data: one enum and one table.

The value of an :class:`Abort` is the word in logs, metrics and ledger. The table says what the
client is told, what becomes of the session and of the upstream socket, and who is to blame.

Statuses are chosen for what the best-known client does with them: 5xx where another attempt can
help, 400 with a code that it knows where it has to send its input in full, and others only where a
person must see them. 429 is fatal to it, so relayd's own limits answer 503.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from relayd.core.endings import Fault
from relayd.dialect.responses_errors import (
    CONNECTION_LIMIT_REACHED,
    INVALID_REQUEST,
    NO_PERMISSION,
    SERVER_ERROR,
    STREAM_LIMIT_REACHED,
    Words,
    error_event,
)


class Outcome(enum.StrEnum):
    """What is left of the session."""

    CONTINUE = "continue"  # the lane is idle again
    FAIL = "fail"  # the same, and the lane's chain is forgotten
    CLOSE = "close"  # the session ends


class Fate(enum.StrEnum):
    """What becomes of the upstream socket."""

    KEEP = "keep"  # none is held, or nothing happened to it
    RELEASE = "release"  # nothing runs on it: given back where it is clean
    BROKEN = "broken"  # closed; that of every running turn where the session closes
    ROTATE = "rotate"  # closed, and no failure
    ALL_BROKEN = "all_broken"  # every lane's, at once


@enum.unique
class Abort(enum.StrEnum):
    """Why a turn ended without its upstream's terminal event, or the session with it."""

    INVALID_MESSAGE = "invalid_message"
    TOO_MANY_MISTAKES = "too_many_mistakes"
    DUPLICATE_TYPE = "duplicate_type"
    FIRST_MESSAGE_TIMEOUT = "first_message_timeout"
    BINARY_FRAME = "binary_frame"
    MESSAGE_OVER_LIMIT = "message_over_limit"
    CREATE_TOO_BIG = "create_too_big"
    QUEUE_FULL = "queue_full"
    STREAM_LIMIT = "stream_limit"
    KEY_REVOKED = "key_revoked"
    QUOTA_EXHAUSTED = "quota_exhausted"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    GATEWAY_BUSY = "gateway_busy"
    MODEL_NOT_FOUND = "model_not_found"
    PREVIOUS_RESPONSE_NOT_FOUND = "previous_response_not_found"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_AUTH = "upstream_auth"
    UPSTREAM_LIMIT = "upstream_limit"
    UPSTREAM_RESTART = "upstream_restart"
    UPSTREAM_CLOSED = "upstream_closed"
    UPSTREAM_LOST = "upstream_lost"
    UPSTREAM_TOO_BIG = "upstream_too_big"
    UPSTREAM_PROTOCOL = "upstream_protocol"
    CONNECTION_LIMIT = "connection_limit"
    FIRST_EVENT_TIMEOUT = "first_event_timeout"
    READ_TIMEOUT = "read_timeout"
    PREEMPTED = "preempted"
    CLIENT_GONE = "client_gone"
    CLIENT_SLOW = "client_slow"
    CLIENT_IDLE = "client_idle"
    DRAIN = "drain"
    DRAINING = "draining"
    DRAIN_DEADLINE = "drain_deadline"
    KILLED = "killed"
    INTERNAL_LANE = "internal_lane"
    INTERNAL_SESSION = "internal_session"


@attrs.frozen
class Consequence:
    """What one :class:`Abort` means.

    Attributes:
        words: Of the error event that ends the client's turn; ``None`` where none is sent.
        close_code: The session is closed with it once the event has been sent.
        upstreams_words: The client gets what its upstream said; ``words`` stand in for it where
            that is not to be had.
        hidden_retry: Whether one more attempt may be made, unknown to a client that has been sent
            nothing of the turn.
    """

    outcome: Outcome
    fate: Fate
    fault: Fault
    words: Words | None = None
    close_code: int | None = attrs.field(default=None, kw_only=True)
    upstreams_words: bool = attrs.field(default=False, kw_only=True)
    hidden_retry: bool = attrs.field(default=False, kw_only=True)


_C, _F, _X = Outcome.CONTINUE, Outcome.FAIL, Outcome.CLOSE
_CLIENT, _UPSTREAM, _RELAY, _NONE = Fault.CLIENT, Fault.UPSTREAM, Fault.RELAY, Fault.NONE


def _invalid(code: str, message: str, param: str | None = None, *, status: int = 400) -> Words:
    return Words(status, INVALID_REQUEST, code, message, param)


def _server(status: int, code: str, message: str) -> Words:
    return Words(status, SERVER_ERROR, code, message)


_LOST: Final = "The upstream closed its connection before the response was complete."
_TOO_BIG: Final = (
    "The message is longer than the 15 MiB that can be sent over a WebSocket. Send the request by"
    " HTTP POST, or start a new conversation with a shorter input."
)
_TIMEOUT: Final = "The upstream sent nothing for too long. Try again."
_DRAINING: Final = "This gateway is restarting. Connect again and repeat the request."
_INTERNAL: Final = "An error inside the gateway ended this response. Try again."

CONSEQUENCES: Final[dict[Abort, Consequence]] = {
    # -- what the client did
    Abort.INVALID_MESSAGE: Consequence(
        _C, Fate.KEEP, _CLIENT, _invalid("invalid_value", "The message is no event of this API.")
    ),
    Abort.TOO_MANY_MISTAKES: Consequence(_X, Fate.BROKEN, _CLIENT, close_code=1008),
    Abort.DUPLICATE_TYPE: Consequence(
        _X,
        Fate.BROKEN,
        _CLIENT,
        _invalid("duplicate_type", "The message has two top-level types.", "type"),
        close_code=1008,
    ),
    Abort.FIRST_MESSAGE_TIMEOUT: Consequence(_X, Fate.KEEP, _CLIENT, close_code=1008),
    Abort.BINARY_FRAME: Consequence(_X, Fate.RELEASE, _CLIENT, close_code=1003),
    Abort.MESSAGE_OVER_LIMIT: Consequence(_X, Fate.RELEASE, _CLIENT, close_code=1009),
    Abort.CREATE_TOO_BIG: Consequence(
        _C, Fate.KEEP, _CLIENT, _invalid("message_too_big", _TOO_BIG)
    ),
    Abort.QUEUE_FULL: Consequence(
        _C,
        Fate.KEEP,
        _CLIENT,
        _server(
            503,
            "websocket_queue_full",
            "Too many requests wait on this connection. Wait for a response, or open another"
            " connection.",
        ),
    ),
    Abort.STREAM_LIMIT: Consequence(
        _C,
        Fate.KEEP,
        _CLIENT,
        _invalid("websocket_stream_limit_reached", STREAM_LIMIT_REACHED, "stream_id"),
    ),
    Abort.PREEMPTED: Consequence(
        _C,
        Fate.BROKEN,
        _CLIENT,
        _invalid("preempted", "A newer request on the same stream has taken this one's place."),
    ),
    Abort.CLIENT_GONE: Consequence(_X, Fate.ALL_BROKEN, _CLIENT),
    Abort.CLIENT_SLOW: Consequence(_X, Fate.BROKEN, _CLIENT, close_code=1013),
    Abort.CLIENT_IDLE: Consequence(_X, Fate.RELEASE, _CLIENT, close_code=1001),
    # -- what the client may not, or not now
    Abort.KEY_REVOKED: Consequence(
        _F,
        Fate.RELEASE,
        _CLIENT,
        _invalid("invalid_api_key", "This API key is no longer valid.", status=401),
        close_code=1008,
    ),
    Abort.QUOTA_EXHAUSTED: Consequence(
        _F,
        Fate.RELEASE,
        _CLIENT,
        Words(429, "insufficient_quota", "insufficient_quota", "This key's budget is spent."),
        close_code=1008,
    ),
    Abort.RATE_LIMITED: Consequence(
        _C,
        Fate.KEEP,
        _CLIENT,
        _server(503, "gateway_rate_limited", "This key's rate limit is reached. Try again later."),
    ),
    Abort.REFUSED: Consequence(
        _C,
        Fate.KEEP,
        _CLIENT,
        Words(403, NO_PERMISSION, "request_refused", "This key may not make this request."),
    ),
    Abort.GATEWAY_BUSY: Consequence(
        _C,
        Fate.KEEP,
        _RELAY,
        _server(503, "gateway_busy", "No upstream connection became free in time. Try again."),
    ),
    Abort.MODEL_NOT_FOUND: Consequence(
        _C,
        Fate.KEEP,
        _CLIENT,
        _invalid("model_not_found", "No account here serves this model.", "model"),
    ),
    Abort.PREVIOUS_RESPONSE_NOT_FOUND: Consequence(
        _C,
        Fate.KEEP,
        _NONE,
        _invalid(
            "previous_response_not_found",
            "Previous response not found. Send the whole input without previous_response_id.",
            "previous_response_id",
        ),
    ),
    # -- what the upstream did
    Abort.UPSTREAM_UNREACHABLE: Consequence(
        _C,
        Fate.KEEP,
        _UPSTREAM,
        _server(502, "upstream_unreachable", "The upstream cannot be reached. Try again."),
        hidden_retry=True,
    ),
    Abort.UPSTREAM_ERROR: Consequence(
        _C,
        Fate.BROKEN,
        _UPSTREAM,
        _server(502, "upstream_error", "The upstream reported an error. Try again."),
        upstreams_words=True,
        hidden_retry=True,
    ),
    Abort.UPSTREAM_AUTH: Consequence(
        _C,
        Fate.BROKEN,
        _UPSTREAM,
        _server(503, "upstream_unavailable", "This gateway's upstream account cannot be used now."),
        hidden_retry=True,
    ),
    Abort.UPSTREAM_LIMIT: Consequence(
        _C,
        Fate.BROKEN,
        _UPSTREAM,
        Words(
            429, "usage_limit_reached", "usage_limit_reached", "The upstream's limit is reached."
        ),
        upstreams_words=True,
        hidden_retry=True,
    ),
    Abort.UPSTREAM_RESTART: Consequence(
        _C,
        Fate.BROKEN,
        _UPSTREAM,
        _server(502, "upstream_restart", "The upstream is restarting. Try again."),
        hidden_retry=True,
    ),
    Abort.UPSTREAM_CLOSED: Consequence(
        _C, Fate.BROKEN, _UPSTREAM, _server(502, "upstream_closed", _LOST), hidden_retry=True
    ),
    Abort.UPSTREAM_LOST: Consequence(
        _F, Fate.BROKEN, _UPSTREAM, _server(502, "upstream_closed", _LOST)
    ),
    Abort.UPSTREAM_TOO_BIG: Consequence(
        _C, Fate.BROKEN, _CLIENT, _invalid("message_too_big", _TOO_BIG)
    ),
    Abort.UPSTREAM_PROTOCOL: Consequence(
        _F,
        Fate.BROKEN,
        _UPSTREAM,
        _server(502, "upstream_protocol_error", "The upstream broke the protocol. Try again."),
        hidden_retry=True,  # of an earlier turn's leftovers the next one's client hears nothing
    ),
    Abort.CONNECTION_LIMIT: Consequence(
        _C,
        Fate.ROTATE,
        _NONE,
        _invalid("websocket_connection_limit_reached", CONNECTION_LIMIT_REACHED),
        close_code=1000,
        hidden_retry=True,
    ),
    Abort.FIRST_EVENT_TIMEOUT: Consequence(
        _F, Fate.BROKEN, _UPSTREAM, _server(502, "upstream_timeout", _TIMEOUT)
    ),
    Abort.READ_TIMEOUT: Consequence(
        _F, Fate.BROKEN, _UPSTREAM, _server(502, "upstream_timeout", _TIMEOUT)
    ),
    # -- what relayd does
    Abort.DRAIN: Consequence(_X, Fate.RELEASE, _NONE, close_code=1012),
    Abort.DRAINING: Consequence(_C, Fate.KEEP, _NONE, _server(503, "gateway_draining", _DRAINING)),
    Abort.DRAIN_DEADLINE: Consequence(
        _X,
        Fate.ALL_BROKEN,
        _NONE,
        _server(503, "gateway_draining", _DRAINING),
        close_code=1012,
    ),
    Abort.KILLED: Consequence(
        _X,
        Fate.ALL_BROKEN,
        _NONE,
        Words(403, NO_PERMISSION, "session_killed", "An operator has ended this session."),
        close_code=1008,
    ),
    Abort.INTERNAL_LANE: Consequence(_F, Fate.BROKEN, _RELAY, _server(500, "internal", _INTERNAL)),
    Abort.INTERNAL_SESSION: Consequence(
        _X, Fate.ALL_BROKEN, _RELAY, _server(500, "internal", _INTERNAL), close_code=1011
    ),
}


def abort_event(
    abort: Abort,
    *,
    stream_id: str | None = None,
    response_id: str | None = None,
    message: str | None = None,
) -> bytes | None:
    """The error event that ``abort`` sends; ``None`` where it sends none.

    Args:
        message: Instead of the table's, where more can be said
            (:func:`~relayd.dialect.responses_errors.previous_response_text`).
    """
    words = CONSEQUENCES[abort].words
    if words is None:
        return None
    return error_event(
        words.status,
        words.type,
        words.code,
        message or words.message,
        param=words.param,
        stream_id=stream_id,
        response_id=response_id,
    )
