"""What a simulated Realtime upstream can be asked to play."""

from __future__ import annotations

import enum
from typing import Final

import attrs


class Scenario(enum.Enum):
    """A named way to behave; ``summary`` says what it does."""

    summary: str

    def __new__(cls, word: str, summary: str = "") -> Scenario:
        """A member whose value is ``word``, the name on the command line."""
        member = object.__new__(cls)
        member._value_ = word
        member.summary = summary
        return member

    NORMAL = "normal", "serves every conversation as documented"

    REFUSE_HTTP_401 = "refuse_http_401", "answers the upgrade with 401 invalid_api_key"
    REFUSE_HTTP_429 = "refuse_http_429", "answers the upgrade with 429 and Retry-After: 7"
    REFUSE_HTTP_500 = "refuse_http_500", "answers the upgrade with 500"
    SILENT_HANDSHAKE = "silent_handshake", "accepts the TCP connection and never answers"

    BAD_KEY = "bad_key", "after the 101: error invalid_api_key, then Close 4000"
    INSUFFICIENT_QUOTA = "insufficient_quota", "after the 101: error insufficient_quota, then 4000"
    RATE_LIMITED = "rate_limited", "after the 101: error rate_limit_exceeded, then Close 4000"
    MODEL_NOT_FOUND = "model_not_found", "after the 101: error model_not_found, then Close 4000"
    BETA_DISABLED = "beta_disabled", "after the 101: error beta_api_shape_disabled, then 4000"
    SILENT_FIRST_FRAME = "silent_first_frame", "sends the 101 and nothing more; answers pings"

    SILENT_MID_TURN = "silent_mid_turn", "stops after a few deltas; still answers pings"
    HALF_OPEN = "half_open", "stops after a few deltas and reads nothing more, as if unplugged"
    RESET_MID_TURN = "reset_mid_turn", "resets TCP after a few deltas, between two frames"
    RESET_MID_FRAME_SMALL = "reset_mid_frame_small", "resets TCP inside a frame of 8 KiB"
    RESET_MID_FRAME_LARGE = "reset_mid_frame_large", "resets TCP inside a frame of 256 KiB"
    CLOSE_1012 = "close_1012", "closes with 1012 after a few deltas"
    CLOSE_1001_MAX_AGE = "close_1001_max_age", "closes with 1001 as at 60 minutes, after one turn"
    MASKED_FRAME = "masked_frame", "masks a frame mid-turn, which a server must not"
    BAD_UTF8 = "bad_utf8", "sends a text frame mid-turn that is not UTF-8"
    PING_FLOOD = "ping_flood", "sends 20,000 pings mid-turn"
    EMPTY_FRAGMENTS = "empty_fragments", "sends 20,000 empty fragments mid-turn"
    CLOSE_AND_FIN = "close_and_fin", "sends a whole turn, Close 1000 and FIN in one go"

    USAGE_CACHED = "usage_cached", "caches a part of each kind of a stored prompt, and says so"
    USAGE_CACHED_FLAT = "usage_cached_flat", "reports cached tokens without their kinds"
    USAGE_IMAGE = "usage_image", "reads an image with every response"
    TOTALS_ONLY = "totals_only", "reports totals; their details are left out, then null"
    XAI = "xai", "reports usage as {}, of responses and of transcriptions"
    WRONG_USAGE = "wrong_usage", "reports usage as null, as {}, not at all, or with null details"
    RESPONSE_FAILED = "response_failed", "fails every response, with a usage of zeros"
    TRANSCRIPTION_TOKENS = "transcription_tokens", "transcribes all audio, billed by tokens"
    TRANSCRIPTION_DURATION = "transcription_duration", "transcribes all audio, billed by the second"

    SLOW = "slow", "takes 50 ms over each delta"
    OVERSIZED = "oversized", "sends deltas and a response.done over 64 KiB, and retrieves 6 MiB"
    FRAGMENTED = "fragmented", "sends events in fragments of 1 to 97 bytes, with pings between"


@attrs.frozen
class HttpRefusal:
    """An upgrade that is answered with an HTTP error instead of the 101."""

    status: int
    kind: str
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class InBandRefusal:
    """An ``error`` event that is the first frame, and Close 4000 behind it."""

    kind: str
    code: str
    message: str

    @property
    def close_reason(self) -> str:
        """The Close frame's reason."""
        return f"{self.kind}.{self.code}"


INVALID_API_KEY: Final = InBandRefusal(
    "invalid_request_error", "invalid_api_key", "Incorrect API key provided."
)
BETA_API_SHAPE_DISABLED: Final = InBandRefusal(
    "invalid_request_error",
    "beta_api_shape_disabled",
    "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
)

REFUSALS: Final[dict[Scenario, HttpRefusal | InBandRefusal]] = {
    Scenario.REFUSE_HTTP_401: HttpRefusal(
        401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."
    ),
    Scenario.REFUSE_HTTP_429: HttpRefusal(
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
        "Rate limit reached. Please try again in 7s.",
        (("Retry-After", "7"),),
    ),
    Scenario.REFUSE_HTTP_500: HttpRefusal(
        500, "server_error", "internal_error", "The server had an error. Please retry."
    ),
    Scenario.BAD_KEY: INVALID_API_KEY,
    Scenario.INSUFFICIENT_QUOTA: InBandRefusal(
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Scenario.RATE_LIMITED: InBandRefusal(
        "rate_limit_error", "rate_limit_exceeded", "Rate limit reached for sessions per minute."
    ),
    Scenario.MODEL_NOT_FOUND: InBandRefusal(
        "invalid_request_error", "model_not_found", "The requested model does not exist."
    ),
    Scenario.BETA_DISABLED: BETA_API_SHAPE_DISABLED,
}
"""The scenarios in which no session begins."""
