"""Taking secrets out of text that will be shown: close reasons, upstream messages, headers."""

from __future__ import annotations

import re
from typing import Final

CLOSE_REASON_MAX_BYTES: Final = 123
"""RFC 6455 section 5.5: a control frame's payload is at most 125 bytes, two hold the code."""

_SECRET: Final = re.compile(
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}"
    r"|\b(?:sk|ek|pk|rk|sess|xai|rd|relayd)[-_][A-Za-z0-9_-]{6,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}"
    r"|openai-insecure-api-key\.[^\s,]+"
    r"|\b(?=[A-Za-z_-]*[0-9])(?:[A-Za-z0-9_]{24,}|[A-Za-z0-9_-]{40,})\b"
)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

SECRET_HEADERS: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "api-key",
        "x-api-key",
        "cookie",
        "set-cookie",
        "sec-websocket-protocol",
    }
)
"""Headers whose value may hold a key: their values never leave memory."""


def redact(text: str) -> str:
    """``text`` without anything that looks like a key, and without control characters."""
    return _UNPRINTABLE.sub(" ", _SECRET.sub("[redacted]", text))


def close_reason(text: str) -> str:
    """``text`` redacted and cut, at a character boundary, to what a Close frame can carry."""
    encoded = redact(text).encode(errors="replace")[:CLOSE_REASON_MAX_BYTES]
    return encoded.decode(errors="ignore")
