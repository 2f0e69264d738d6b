"""What a simulated Responses upstream can be asked to play.

A scenario of the connection is played to whoever connects while it is set. A scenario of the turn
is played in every turn while it is set, or in the one whose ``response.create`` names it.
"""

from __future__ import annotations

import enum
from typing import Final

from relayd.sim.realtime.scenario import HttpRefusal

SCENARIO_KEY: Final = "sim"
"""In a create's ``metadata``: the scenario of its turn."""


class Scenario(enum.Enum):
    """A named way to behave; ``summary`` says what it does."""

    summary: str

    def __new__(cls, word: str, summary: str = "") -> Scenario:
        """A member whose value is ``word``, the name on the command line."""
        member = object.__new__(cls)
        member._value_ = word
        member.summary = summary
        return member

    NORMAL = "normal", "serves every turn as documented"

    # Of the connection.
    REFUSE_HTTP_401 = "refuse_http_401", "answers the upgrade with 401 invalid_api_key"
    REFUSE_HTTP_403 = "refuse_http_403", "answers the upgrade with 403"
    REFUSE_HTTP_426 = "refuse_http_426", "answers the upgrade with 426: no WebSocket here"
    REFUSE_HTTP_429 = "refuse_http_429", "answers the upgrade with 429 and Retry-After: 7"
    REFUSE_HTTP_500 = "refuse_http_500", "answers the upgrade with 500"
    REFUSE_HTTP_503 = "refuse_http_503", "answers the upgrade with 503 and Retry-After: 7"
    SILENT_HANDSHAKE = "silent_handshake", "accepts the TCP connection and never answers"
    BAD_KEY = "bad_key", "after the 101: error 401 invalid_api_key, then Close 1008"
    NO_LANES = "no_lanes", "knows no lanes and no steering: stream_id is an unknown parameter"
    RANDOM_FAULTS = "random_faults", "hits 5 % of the turns with a fault, by a seeded draw"

    # Of the turn: it takes its time, or says more, or less, or otherwise.
    SLOW = "slow", "takes 50 ms over each delta"
    SILENT_TURN = "silent_turn", "says nothing for 20 s (metadata sim_s) after response.created"
    SILENT_BEFORE_CREATED = "silent_before_created", "never answers the create; other lanes go on"
    SILENT_AFTER_CREATED = "silent_after_created", "says nothing more after response.created"
    CODEX = "codex", "sends codex.rate_limits and response.metadata with a turn state"
    REORDERED = "reordered", "writes the members of each event in the opposite order"
    FRAGMENTED = "fragmented", "sends events in fragments of 1 to 97 bytes, with pings between"
    BIG_EVENTS = "big_events", "sends a delta and a terminal of 1.5 MiB"
    HUGE_EVENTS = "huge_events", "sends a delta and a terminal of 5 MiB"
    NO_USAGE = "no_usage", "reports usage as null"
    WRONG_USAGE = "wrong_usage", "reports usage that cannot be: negative, not numbers, sums amiss"

    # Of the turn: it ends badly, and the connection goes on.
    FAILED = "failed", "response.failed server_error after a few deltas"
    INCOMPLETE = "incomplete", "response.incomplete content_filter after a few deltas"
    SERVER_ERROR = "server_error", "error 500 in place of response.created"
    ERROR_MID_TURN = "error_mid_turn", "error 500 after a few deltas"
    UNAUTHORIZED = "unauthorized", "error 401 invalid_api_key in place of response.created"
    FORBIDDEN = "forbidden", "error 403 in place of response.created"
    USAGE_LIMIT = "usage_limit", "error 429 usage_limit_reached with resets_at and headers"
    RATE_LIMITED = "rate_limited", "error 429 rate_limit_exceeded"
    OVERLOADED = "overloaded", "error 503 server_is_overloaded"
    ERROR_NO_STATUS = "error_no_status", "an error event without status"
    ERROR_TOP_LEVEL = "error_top_level", "an error event with code and message at its top level"
    STRAY_EVENT = "stray_event", "a delta of the response behind its terminal"
    STRAY_IDLE = "stray_idle", "the same, a moment later"
    UNKNOWN_LANE = "unknown_lane", "an event mid-turn on a lane that nobody opened"
    TERMINAL_TWICE = "terminal_twice", "sends the terminal event twice"
    CREATED_TWICE = "created_twice", "sends response.created twice"

    # Of the turn: it ends the connection.
    CONNECTION_LIMIT = "connection_limit", "error at 60 minutes for the create, then Close 1000"
    RESTART_BEFORE_CREATED = "restart_before_created", "closes with 1012 on the create"
    RESTART_1012 = "restart_1012", "closes with 1012 after a few deltas"
    RESTART_IDLE = "restart_idle", "closes with 1012 a moment after the terminal"
    TRY_LATER_1013 = "try_later_1013", "closes with 1013 on the create"
    GOING_AWAY_1001 = "going_away_1001", "closes with 1001 a moment after the terminal"
    CLOSE_1009 = "close_1009", "closes with 1009 on the create, as for one of 16 MiB"
    RESET_BEFORE_CREATED = "reset_before_created", "resets TCP on the create"
    RESET_MID_TURN = "reset_mid_turn", "resets TCP after a few deltas, between two frames"
    HALF_FRAME = "half_frame", "sends half a frame mid-turn, then FIN"
    HALF_OPEN = "half_open", "reads and sends nothing more after the terminal, as if unplugged"
    BAD_UTF8 = "bad_utf8", "sends a text frame mid-turn that is not UTF-8, and no more of the turn"
    BINARY_FRAME = "binary_frame", "sends a binary frame mid-turn, and no more of the turn"

    @property
    def is_of_turns(self) -> bool:
        """Whether a create may name it."""
        return self not in _OF_CONNECTIONS


_OF_CONNECTIONS: Final = frozenset(
    {
        Scenario.REFUSE_HTTP_401,
        Scenario.REFUSE_HTTP_403,
        Scenario.REFUSE_HTTP_426,
        Scenario.REFUSE_HTTP_429,
        Scenario.REFUSE_HTTP_500,
        Scenario.REFUSE_HTTP_503,
        Scenario.SILENT_HANDSHAKE,
        Scenario.BAD_KEY,
        Scenario.NO_LANES,
        Scenario.RANDOM_FAULTS,
    }
)

_RETRY_LATER: Final = (("Retry-After", "7"),)

REFUSALS: Final[dict[Scenario, HttpRefusal]] = {
    Scenario.REFUSE_HTTP_401: HttpRefusal(
        401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."
    ),
    Scenario.REFUSE_HTTP_403: HttpRefusal(
        403, "invalid_request_error", "forbidden", "You are not allowed to use this resource."
    ),
    Scenario.REFUSE_HTTP_426: HttpRefusal(
        426, "invalid_request_error", "upgrade_required", "Use HTTP: there is no WebSocket here."
    ),
    Scenario.REFUSE_HTTP_429: HttpRefusal(
        429, "rate_limit_error", "rate_limit_exceeded", "Rate limit reached.", _RETRY_LATER
    ),
    Scenario.REFUSE_HTTP_500: HttpRefusal(
        500, "server_error", "internal_error", "The server had an error. Please retry."
    ),
    Scenario.REFUSE_HTTP_503: HttpRefusal(
        503, "server_error", "service_unavailable", "The server is overloaded.", _RETRY_LATER
    ),
}
"""The scenarios in which the upgrade is answered with an HTTP error."""
