"""What a simulated run-task upstream can be asked to play.

A scenario of the door is played to whoever connects while it is set. A scenario of the task is
played in every task while it is set, or in the one whose last user message has ``[sim:NAME]``.
"""

from __future__ import annotations

import enum
from typing import Final

from relayd.sim.runtask.errors import ERRORS, HttpRefusal, TaskError


class Scenario(enum.Enum):
    """A named way to behave; ``summary`` says what it does."""

    summary: str

    def __new__(cls, word: str, summary: str = "") -> Scenario:
        """A member whose value is ``word``, the name on the command line."""
        member = object.__new__(cls)
        member._value_ = word
        member.summary = summary
        return member

    NORMAL = "normal", "runs every task as documented"

    # Of the door.
    REFUSE_HTTP_401 = "refuse_http_401", "answers the upgrade with 401 InvalidApiKey"
    REFUSE_HTTP_403 = "refuse_http_403", "answers the upgrade with 403 AccessDenied"
    REFUSE_HTTP_429 = "refuse_http_429", "answers the upgrade with 429 Throttling"
    REFUSE_HTTP_503 = "refuse_http_503", "answers the upgrade with 503 ServiceUnavailable"
    SILENT_HANDSHAKE = "silent_handshake", "accepts the TCP connection and never answers"
    IMPATIENT = "impatient", "closes a socket that has sent nothing for a second"

    # Of the task: it takes its time, or says more, or less, or otherwise.
    SLOW = "slow", "takes 50 ms over each result"
    SILENT = "silent", "takes the task and never says a word"
    SILENT_START = "silent_start", "says nothing for 20 s (s=) after task-started"
    STALL = "stall", "says nothing for 20 s (s=) after a few results, then goes on"
    STALLED = "stalled", "says nothing more after a few results; still answers pings"
    NO_USAGE = "no_usage", "reports no usage"
    UNKNOWN_KEYS = "unknown_keys", "has members that nobody knows"
    UNKNOWN_EVENT = "unknown_event", "sends an event that nobody knows after task-started"
    OTHER_TASK = "other_task", "sends a result of another task after a few of its own"
    EMPTY_RESULTS = "empty_results", "sends results without text between"
    FRAGMENTED = "fragmented", "sends events in fragments of 1 to 97 bytes, with pings between"

    # Of the task: it ends badly.
    INVALID_PARAMETER = "invalid_parameter", "task-failed InvalidParameter at once"
    INVALID_KEY = "invalid_key", "task-failed InvalidApiKey at once"
    ACCESS_DENIED = "access_denied", "task-failed Model.AccessDenied at once"
    MODEL_NOT_FOUND = "model_not_found", "task-failed ModelNotFound at once"
    ARREARAGE = "arrearage", "task-failed Arrearage at once"
    QUOTA = "quota", "task-failed AllocationQuota at once"
    THROTTLED = "throttled", "task-failed Throttling.RateQuota at once"
    DATA_INSPECTION = "data_inspection", "task-failed DataInspectionFailed at once"
    OVERLOADED = "overloaded", "task-failed ServiceUnavailable at once"
    TIMED_OUT = "timed_out", "task-failed RequestTimeOut at once"
    INTERNAL_ERROR = "internal_error", "task-failed InternalError at once"
    UNKNOWN_ERROR = "unknown_error", "task-failed with a code that no page names, at once"
    FAILED_AFTER_START = "failed_after_start", "task-failed InternalError after task-started"
    FAILED_MID_STREAM = "failed_mid_stream", "task-failed InternalError after a few results"
    CLOSE_BEFORE_START = "close_before_start", "closes with 1000 instead of task-started"
    CLOSE_MID_STREAM = "close_mid_stream", "closes with 1000 after a few results"
    CLOSE_1011 = "close_1011", "closes with 1011 after a few results"
    EOF_MID_STREAM = "eof_mid_stream", "ends the connection without a Close after a few results"
    RESET_BEFORE_START = "reset_before_start", "resets TCP instead of task-started"
    RESET_MID_STREAM = "reset_mid_stream", "resets TCP after a few results"
    BAD_UTF8 = "bad_utf8", "sends a text frame mid-stream that is not UTF-8, and no more"
    BINARY_FRAME = "binary_frame", "sends a binary frame mid-stream, and no more"

    @property
    def is_of_tasks(self) -> bool:
        """Whether a task may name it."""
        return self not in OF_THE_DOOR

    @property
    def error(self) -> TaskError | None:
        """What fails the task at once, of such a scenario."""
        return _FAILURES.get(self)


_FAILURES: Final = {
    Scenario.INVALID_PARAMETER: ERRORS["InvalidParameter"],
    Scenario.INVALID_KEY: ERRORS["InvalidApiKey"],
    Scenario.ACCESS_DENIED: ERRORS["Model.AccessDenied"],
    Scenario.MODEL_NOT_FOUND: ERRORS["ModelNotFound"],
    Scenario.ARREARAGE: ERRORS["Arrearage"],
    Scenario.QUOTA: ERRORS["AllocationQuota"],
    Scenario.THROTTLED: ERRORS["Throttling.RateQuota"],
    Scenario.DATA_INSPECTION: ERRORS["DataInspectionFailed"],
    Scenario.OVERLOADED: ERRORS["ServiceUnavailable"],
    Scenario.TIMED_OUT: ERRORS["RequestTimeOut"],
    Scenario.INTERNAL_ERROR: ERRORS["InternalError"],
    Scenario.UNKNOWN_ERROR: TaskError("SomethingElse", "Nobody has written about this one."),
}

REFUSALS: Final[dict[Scenario, HttpRefusal]] = {
    Scenario.REFUSE_HTTP_401: HttpRefusal(401, ERRORS["InvalidApiKey"]),
    Scenario.REFUSE_HTTP_403: HttpRefusal(403, ERRORS["AccessDenied"]),
    Scenario.REFUSE_HTTP_429: HttpRefusal(429, ERRORS["Throttling.RateQuota"]),
    Scenario.REFUSE_HTTP_503: HttpRefusal(503, ERRORS["ServiceUnavailable"]),
}
"""The scenarios in which the upgrade is answered with an HTTP error."""

OF_THE_DOOR: Final = frozenset({*REFUSALS, Scenario.SILENT_HANDSHAKE, Scenario.IMPATIENT})
