"""Errors of the chat dialect: OpenAI's shape, and what is wrong with a request.

Shape: ``{"error": {"message", "type", "param", "code"}}``, every member there. The best-known SDK
chooses its exception class by the HTTP status alone; people read the rest.
"""

from __future__ import annotations

from typing import Final

import attrs
import msgspec

from relayd.core.redact import redact

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
RATE_LIMIT: Final = "rate_limit_error"
INSUFFICIENT_QUOTA: Final = "insufficient_quota"

MESSAGE_MAX_CHARS: Final = 300
"""Of an upstream's words that are kept."""

_SEARCHED_MAX_CHARS: Final = 4 * MESSAGE_MAX_CHARS


def error_body(kind: str, code: str, message: str, param: str | None = None) -> bytes:
    """The object that a client is answered with, or is sent in a stream that has begun."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.encode({"error": error})


@attrs.frozen
class Mistake:
    """What is wrong with a request, as its sender is told.

    Attributes:
        status: HTTP's word for it.
        param: Which member of the request it is about.
    """

    status: int
    code: str
    message: str
    param: str | None = None

    def body(self) -> bytes:
        """The answer."""
        return error_body(INVALID_REQUEST, self.code, self.message, self.param)


def shown(text: str, hidden: tuple[str, ...] = ()) -> str:
    """An upstream's words for people: redacted, at most :data:`MESSAGE_MAX_CHARS` characters.

    They are cut first, so that the cost does not depend on their size.

    Args:
        hidden: The account's own texts, which upstreams like to repeat.
    """
    text = text[:_SEARCHED_MAX_CHARS]
    for secret in hidden:
        if secret:
            text = text.replace(secret, "[redacted]")
    return redact(text)[:MESSAGE_MAX_CHARS]
