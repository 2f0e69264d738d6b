"""Why a session ended, as data: one enum and one table.

The value of a :class:`Reason` is the word used in logs, metrics, ledger and in the text of
``trio.Cancelled``. The table says what each side is told and who is to blame; nothing else in
relayd decides a close code for an ending that relayd itself chose.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs


class Fault(enum.StrEnum):
    """Who caused an ending.

    The breaker is fed by failures to connect and by error events, not by endings: a client that
    can provoke its upstream must not be able to close an account to others.
    """

    NONE = "none"
    CLIENT = "client"
    UPSTREAM = "upstream"
    RELAY = "relay"


class Side(enum.StrEnum):
    """One of the two peers of a session."""

    CLIENT = "client"
    UPSTREAM = "upstream"


class Reason(enum.StrEnum):
    """Why an accepted session ended. Exactly one per session; the first one wins."""

    CLIENT_CLOSED = "client_closed"
    UPSTREAM_CLOSED = "upstream_closed"
    CLIENT_GONE = "client_gone"
    UPSTREAM_LOST = "upstream_lost"
    UPSTREAM_LOST_MID_FRAME = "upstream_lost_mid_frame"
    UPSTREAM_REFUSED = "upstream_refused"
    FIRST_FRAME_TIMEOUT = "first_frame_timeout"
    UPSTREAM_SILENT = "upstream_silent"
    TURN_TIMEOUT = "turn_timeout"
    CLIENT_STALLED = "client_stalled"
    UPSTREAM_STALLED = "upstream_stalled"
    CLIENT_SLOW = "client_slow"
    CLIENT_SILENT = "client_silent"
    UPSTREAM_KEEPALIVE_TIMEOUT = "upstream_keepalive_timeout"
    PROTOCOL_ERROR_CLIENT = "protocol_error_client"
    PROTOCOL_ERROR_UPSTREAM = "protocol_error_upstream"
    BAD_UTF8 = "bad_utf8"
    TOO_BIG = "too_big"
    CONTROL_FLOOD = "control_flood"
    POLICY = "policy"
    DUPLICATE_TYPE = "duplicate_type"
    UNSUPPORTED_DATA = "unsupported_data"
    FIRST_MESSAGE_TIMEOUT = "first_message_timeout"
    BUDGET_EXHAUSTED = "budget_exhausted"
    KEY_EXPIRED = "key_expired"
    KEY_REMOVED = "key_removed"
    TOKEN_REFUSED = "token_refused"
    SESSIONS_EXCEEDED = "sessions_exceeded"
    TOPICS_EXCEEDED = "topics_exceeded"
    DEVICE_REPLACED = "device_replaced"
    RECONNECTS_EXHAUSTED = "reconnects_exhausted"
    SESSION_MAX_AGE = "session_max_age"
    DRAIN = "drain"
    ACCOUNT_REMOVED = "account_removed"
    KILLED = "killed"
    OVERLOAD = "overload"
    INTERNAL_ERROR = "internal_error"


@attrs.frozen
class Ending:
    """What one :class:`Reason` means for the two sides.

    Attributes:
        fault: Who is to blame.
        client_code: The close code the client is sent. ``None``: the other side's own code
            travels on (a normal close), or nothing can be sent any more.
        upstream_code: Likewise towards the upstream.
        abort_client: The client's TCP connection is reset instead of closed, because it takes no
            byte. (A side that stands inside a cut-through frame is reset whatever the reason.)
        abort_upstream: Likewise for the upstream's.
        error_type: The ``error.type`` of the error event, in the dialect's own shape, that goes to
            the client before Close; that of a refusal for the same cause. ``None``: none goes.
    """

    fault: Fault
    client_code: int | None
    upstream_code: int | None
    abort_client: bool = False
    abort_upstream: bool = False
    error_type: str | None = None

    @property
    def error_event(self) -> bool:
        """Whether the client is told by an error event, before its Close."""
        return self.error_type is not None


_C, _U, _N, _R = Fault.CLIENT, Fault.UPSTREAM, Fault.NONE, Fault.RELAY

ENDINGS: Final[dict[Reason, Ending]] = {
    Reason.CLIENT_CLOSED: Ending(_N, None, None),
    Reason.UPSTREAM_CLOSED: Ending(_N, None, None),
    Reason.CLIENT_GONE: Ending(_C, None, 1001),
    Reason.UPSTREAM_LOST: Ending(_U, 1011, None),
    Reason.UPSTREAM_LOST_MID_FRAME: Ending(_U, 1011, None),
    Reason.UPSTREAM_REFUSED: Ending(_U, 1011, 1001, error_type="server_error"),
    Reason.FIRST_FRAME_TIMEOUT: Ending(_U, 1011, 1001, error_type="server_error"),
    Reason.UPSTREAM_SILENT: Ending(_U, 1011, 1001, error_type="server_error"),
    Reason.TURN_TIMEOUT: Ending(_U, 1011, 1001, error_type="server_error"),
    Reason.CLIENT_STALLED: Ending(_C, None, 1001, abort_client=True),
    Reason.UPSTREAM_STALLED: Ending(_U, 1011, None, abort_upstream=True),
    Reason.CLIENT_SLOW: Ending(_C, 1008, 1001),
    Reason.CLIENT_SILENT: Ending(_C, 1001, 1001),
    Reason.UPSTREAM_KEEPALIVE_TIMEOUT: Ending(_U, 1011, None),
    Reason.PROTOCOL_ERROR_CLIENT: Ending(_C, 1002, 1001),
    Reason.PROTOCOL_ERROR_UPSTREAM: Ending(_U, 1011, 1002),
    Reason.BAD_UTF8: Ending(_C, 1007, 1001),
    Reason.TOO_BIG: Ending(_C, 1009, 1001),
    Reason.CONTROL_FLOOD: Ending(_C, 1008, 1001),
    Reason.POLICY: Ending(_C, 1008, 1001),
    Reason.DUPLICATE_TYPE: Ending(_C, 1008, 1001),
    Reason.UNSUPPORTED_DATA: Ending(_C, 1003, 1001),
    Reason.FIRST_MESSAGE_TIMEOUT: Ending(_C, 1008, 1001),
    Reason.BUDGET_EXHAUSTED: Ending(_C, 1008, 1001, error_type="insufficient_quota"),
    Reason.KEY_EXPIRED: Ending(_C, 1008, 1001, error_type="permission_error"),
    Reason.KEY_REMOVED: Ending(_C, 1008, 1001, error_type="authentication_error"),
    Reason.TOKEN_REFUSED: Ending(_C, 1008, 1001),
    Reason.SESSIONS_EXCEEDED: Ending(_C, 1008, 1001),
    Reason.TOPICS_EXCEEDED: Ending(_C, 1008, 1001),
    Reason.DEVICE_REPLACED: Ending(_C, 1001, 1001),
    Reason.RECONNECTS_EXHAUSTED: Ending(_U, 1011, 1001),
    Reason.SESSION_MAX_AGE: Ending(_N, 1001, 1000),
    Reason.DRAIN: Ending(_N, 1012, 1000),
    Reason.ACCOUNT_REMOVED: Ending(_N, 1012, 1000),
    Reason.KILLED: Ending(_N, 1008, 1001),
    Reason.OVERLOAD: Ending(_R, 1013, 1001),
    Reason.INTERNAL_ERROR: Ending(_R, 1011, 1011),
}

# The same words when the upstream is the one that sent it: fault and codes follow the sender.
ENDINGS_BY_UPSTREAM: Final[dict[Reason, Ending]] = {
    Reason.BAD_UTF8: Ending(_U, 1011, 1007),
    Reason.TOO_BIG: Ending(_U, 1011, 1009),
    Reason.CONTROL_FLOOD: Ending(_U, 1011, 1008),
}


def ending_of(reason: Reason, sender: Side | None = None) -> Ending:
    """What ``reason`` means, given who sent the offending bytes where that matters."""
    if sender is Side.UPSTREAM and reason in ENDINGS_BY_UPSTREAM:
        return ENDINGS_BY_UPSTREAM[reason]
    return ENDINGS[reason]
