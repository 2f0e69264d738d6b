"""How a request is turned away: a refusal that is raised, and the response it becomes."""

from __future__ import annotations

import math
from typing import Final

import attrs

from relayd.core.refusals import Refusal, error_body, error_type
from relayd.service.http.responses import Json


@attrs.frozen
class HttpFault:
    """A refusal that only HTTP's own rules know; else as :class:`~relayd.core.refusals.Refusal`.

    Attributes:
        status: The HTTP status.
        code: The code word: ``error.code`` in the body.
        message: One or two sentences for a person: the cause, then the remedy. Never a secret.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> bytes:
        """The JSON body, in OpenAI's error shape."""
        return error_body(error_type(self.status), self.code, self.message, self.param)


BODY_TIMEOUT: Final = HttpFault(
    408, "body_timeout", "The request's body stopped, or came too slowly; send it without pauses."
)
EXPECTATION_FAILED: Final = HttpFault(
    417, "expectation_failed", "Expect may only hold 100-continue.", "expect"
)


def body_too_large(max_bytes: int) -> HttpFault:
    """The 413 for a body of more than ``max_bytes``."""
    message = f"The request's body may have up to {max_bytes} bytes."
    return HttpFault(413, "body_too_large", message)


class HttpRefused(Exception):
    """Raised by a handler instead of returning a response, before its response has begun.

    Raise it bare, not inside a nursery: as part of an exception group it is a bug like any other.
    """

    def __init__(self, refusal: Refusal | HttpFault) -> None:
        super().__init__(str(refusal.code))
        self.refusal = refusal


def refused_response(refusal: Refusal | HttpFault) -> Json:
    """The response to a request that is refused with a status."""
    headers = refusal.headers
    if refusal.retry_after_s is not None:
        seconds = max(0, math.ceil(refusal.retry_after_s))
        headers = (*headers, ("Retry-After", str(seconds)))
    return Json(refusal.body(), refusal.status, headers)
