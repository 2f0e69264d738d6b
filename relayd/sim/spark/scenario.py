"""What a simulated Spark can be asked to play.

A scenario of the door is played to whoever connects while it is set. A scenario of the answer is
played in every answer while it is set, or in the one whose request names it: by ``[sim:NAME]`` in
the user's last words, or by a uid of ``sim-NAME``.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from relayd.sim.spark.errors import MESSAGES
from relayd.sim.spark.signing import (
    BAD_ADDRESS,
    BAD_DATE,
    MISMATCH,
    UNAUTHORIZED,
    UNKNOWN_KEY,
    UNVERIFIABLE,
    Refusal,
)

_CODED: Final = re.compile(r"(?P<when>error|late)_(?P<code>[0-9]+)")


def _summary_of(word: str) -> str:
    """What a scenario does whose name is a code."""
    found = _CODED.fullmatch(word)
    if found is None:
        return ""
    when = "in place of an answer" if found["when"] == "error" else "after a few frames"
    return f"{when}: {found['code']}, {MESSAGES[int(found['code'])]}"


class Scenario(enum.Enum):
    """A named way to behave; ``summary`` says what it does."""

    summary: str

    def __new__(cls, word: str, summary: str = "") -> Scenario:
        """A member whose value is ``word``, the name on the command line."""
        member = object.__new__(cls)
        member._value_ = word
        member.summary = summary or _summary_of(word)
        return member

    NORMAL = "normal", "answers every request as documented"

    # Of the door.
    UNAUTHORIZED = "unauthorized", "answers the upgrade with 401 Unauthorized"
    BAD_KEY = "bad_key", "answers the upgrade with 401: the signature cannot be verified"
    UNKNOWN_KEY = "unknown_key", "answers the upgrade with 401: no credential of that key"
    BAD_SIGNATURE = "bad_signature", "answers the upgrade with 401: the signature does not match"
    BAD_DATE = "bad_date", "answers the upgrade with 403 for its date, whatever that is"
    BAD_ADDRESS = "bad_address", "answers the upgrade with 403: the address is not allowed"
    REFUSE_HTTP_429 = "refuse_http_429", "answers the upgrade with 429"
    REFUSE_HTTP_500 = "refuse_http_500", "answers the upgrade with 500"
    REFUSE_HTTP_503 = "refuse_http_503", "answers the upgrade with 503"
    CLOCK_SKEW = "clock_skew", "has a clock that is an hour ahead"
    SILENT_HANDSHAKE = "silent_handshake", "accepts the TCP connection and never answers"
    IMPATIENT = "impatient", "closes a socket that has sent nothing for a second"
    QPS_LIMIT = "qps_limit", "11202 for more than 2 requests of an application in a second"
    CONCURRENCY_LIMIT = "concurrency_limit", "11203 for more than 2 answers at a time"
    DAILY_LIMIT = "daily_limit", "11201 for more than 10 requests in a day of Shanghai"

    # Of the answer: it takes its time, or says more, or less, or otherwise.
    SLOW = "slow", "takes 50 ms over each frame"
    SILENT_START = "silent_start", "says nothing for 20 s (s=), then answers"
    SILENT = "silent", "takes the request and never says a word"
    STALL = "stall", "says nothing for 20 s (s=) after a few frames, then goes on"
    STALLED = "stalled", "says nothing more after a few frames; still answers pings"
    HALF_OPEN = "half_open", "neither sends nor reads after a few frames, as if unplugged"
    NO_CHOICES = "no_choices", "begins with frames without choices, and without payload"
    PLUGINS_FIRST = "plugins_first", "begins with the references of a search"
    EMPTY_TEXT = "empty_text", "sends frames without text, and with empty text, between"
    UNKNOWN_KEYS = "unknown_keys", "has members that nobody knows everywhere"
    ONE_FRAME = "one_frame", "says everything in one frame of status 2"
    NO_USAGE = "no_usage", "reports no usage"
    WRONG_USAGE = "wrong_usage", "reports usage that cannot be"
    BIG_FRAME = "big_frame", "sends a frame with 1 MiB of text"
    HUGE_FRAME = "huge_frame", "sends a frame with 5 MiB of text"
    FRAGMENTED = "fragmented", "sends frames in fragments of 1 to 97 bytes, with pings between"
    BROKEN_ARGUMENTS = "broken_arguments", "calls functions with arguments that are no JSON"
    EXTRA_FRAME = "extra_frame", "sends another frame behind the last"
    STAYS_OPEN = "stays_open", "does not close when it has answered"

    # Of the answer: it ends badly.
    NOT_ENTITLED = "not_entitled", "11200: no licence for this model"
    AUDIT_INPUT = "audit_input", "10013: the input is refused"
    AUDIT_OUTPUT = "audit_output", "10014 after a few frames: the output is withdrawn"
    UNKNOWN_CODE = "unknown_code", "an error with a code that no page names"
    CLOSE_BEFORE_FIRST = "close_before_first", "closes with 1000 instead of answering"
    CLOSE_MID_STREAM = "close_mid_stream", "closes with 1000 after a few frames"
    CLOSE_1011 = "close_1011", "closes with 1011 after a few frames"
    EOF_BEFORE_FIRST = "eof_before_first", "ends the connection without a Close, unanswered"
    EOF_MID_STREAM = "eof_mid_stream", "ends the connection without a Close after a few frames"
    RESET_BEFORE_FIRST = "reset_before_first", "resets TCP instead of answering"
    RESET_MID_STREAM = "reset_mid_stream", "resets TCP after a few frames"
    HALF_FRAME = "half_frame", "sends half a frame after a few, then FIN"
    BAD_UTF8 = "bad_utf8", "sends a text frame mid-stream that is not UTF-8, and no more"
    BINARY_FRAME = "binary_frame", "sends a binary frame mid-stream, and no more"
    NOT_JSON = "not_json", "sends a text frame mid-stream that is no JSON, and no more"

    # Of the answer: each documented code, in place of the first frame, and after a few.
    ERROR_10000 = "error_10000"
    ERROR_10001 = "error_10001"
    ERROR_10002 = "error_10002"
    ERROR_10003 = "error_10003"
    ERROR_10004 = "error_10004"
    ERROR_10005 = "error_10005"
    ERROR_10006 = "error_10006"
    ERROR_10007 = "error_10007"
    ERROR_10008 = "error_10008"
    ERROR_10009 = "error_10009"
    ERROR_10010 = "error_10010"
    ERROR_10011 = "error_10011"
    ERROR_10012 = "error_10012"
    ERROR_10013 = "error_10013"
    ERROR_10014 = "error_10014"
    ERROR_10015 = "error_10015"
    ERROR_10016 = "error_10016"
    ERROR_10017 = "error_10017"
    ERROR_10018 = "error_10018"
    ERROR_10019 = "error_10019"
    ERROR_10021 = "error_10021"
    ERROR_10110 = "error_10110"
    ERROR_10163 = "error_10163"
    ERROR_10222 = "error_10222"
    ERROR_10223 = "error_10223"
    ERROR_10907 = "error_10907"
    ERROR_11200 = "error_11200"
    ERROR_11201 = "error_11201"
    ERROR_11202 = "error_11202"
    ERROR_11203 = "error_11203"
    LATE_10002 = "late_10002"
    LATE_10008 = "late_10008"
    LATE_10010 = "late_10010"
    LATE_10011 = "late_10011"
    LATE_10012 = "late_10012"
    LATE_10014 = "late_10014"
    LATE_10019 = "late_10019"
    LATE_10110 = "late_10110"
    LATE_10222 = "late_10222"
    LATE_10223 = "late_10223"

    @property
    def is_of_answers(self) -> bool:
        """Whether a request may name it."""
        return self not in OF_THE_DOOR

    @property
    def early_code(self) -> int | None:
        """The code that is sent in place of an answer, of such a scenario."""
        return _code_of(self.value, "error") or _EARLY_CODES.get(self)

    @property
    def late_code(self) -> int | None:
        """The code that is sent after a few frames, of such a scenario."""
        return 10014 if self is Scenario.AUDIT_OUTPUT else _code_of(self.value, "late")


_EARLY_CODES: Final = {Scenario.NOT_ENTITLED: 11200, Scenario.AUDIT_INPUT: 10013}

REFUSALS: Final[dict[Scenario, Refusal]] = {
    Scenario.UNAUTHORIZED: UNAUTHORIZED,
    Scenario.BAD_KEY: UNVERIFIABLE,
    Scenario.UNKNOWN_KEY: UNKNOWN_KEY,
    Scenario.BAD_SIGNATURE: MISMATCH,
    Scenario.BAD_DATE: BAD_DATE,
    Scenario.BAD_ADDRESS: BAD_ADDRESS,
    Scenario.REFUSE_HTTP_429: Refusal(429, "API rate limit exceeded"),
    Scenario.REFUSE_HTTP_500: Refusal(500, "An unexpected error occurred"),
    Scenario.REFUSE_HTTP_503: Refusal(503, "no healthy upstream"),
}
"""The scenarios in which the upgrade is answered with an HTTP error."""

OF_THE_DOOR: Final = frozenset(
    {
        *REFUSALS,
        Scenario.CLOCK_SKEW,
        Scenario.SILENT_HANDSHAKE,
        Scenario.IMPATIENT,
        Scenario.QPS_LIMIT,
        Scenario.CONCURRENCY_LIMIT,
        Scenario.DAILY_LIMIT,
    }
)


def _code_of(word: str, when: str) -> int | None:
    found = _CODED.fullmatch(word)
    return int(found["code"]) if found is not None and found["when"] == when else None
