"""Faults that every "WebSocket behind HTTP" provider can have, each in one place.

A client is never told 401 or 403 for a refusal of relayd's own credentials: it would look for the
mistake in its own key. What the upstream said to relayd about them is for the log.
"""

from __future__ import annotations

from typing import Final

from relayd.dialect.behind import Effect, Fault, Retry
from relayd.dialect.chat_errors import INVALID_REQUEST, RATE_LIMIT, SERVER_ERROR, shown

RATE_LIMIT_COOL_S: Final = 5.0
"""Of a handshake that is refused with 429, which says nothing of when."""

_AUTH: Final = frozenset({401, 403})
_NOT_FOUND: Final = frozenset({404, 405, 410})
_TOO_MANY: Final = 429
_CLIENTS_DOING: Final = frozenset({1007, 1009})
"""RFC 6455 section 7.4.1: close codes that are about what was sent."""


def handshake_fault(status: int, said: str) -> Fault:
    """What an answer other than a 101 means, by its status.

    Args:
        said: What the body says; it goes into the detail.
    """
    detail = shown(f"handshake answered with {status}: {said}")
    if status in _AUTH:
        return auth_failed(detail)
    if status in _NOT_FOUND:
        return misconfigured(detail)
    if status == _TOO_MANY:
        return Fault(
            status=429,
            type=RATE_LIMIT,
            code="rate_limit_exceeded",
            message="The upstream takes no more connections now. Try again.",
            detail=detail,
            retry=Retry.ELSEWHERE,
            effect=Effect.COOL,
            cool_s=RATE_LIMIT_COOL_S,
            retry_after_s=RATE_LIMIT_COOL_S,
        )
    return Fault(
        status=502,
        type=SERVER_ERROR,
        code="upstream_error",
        message="The upstream refused a connection. Try again.",
        detail=detail,
        retry=Retry.ELSEWHERE,
        effect=Effect.UNREACHABLE,
    )


def auth_failed(detail: str) -> Fault:
    """The upstream does not know relayd's credentials, or not from here."""
    return Fault(
        status=502,
        type=SERVER_ERROR,
        code="upstream_auth_failed",
        message="The upstream refused this gateway's own credentials. Its operator has to mend it.",
        detail=detail,
        retry=Retry.ELSEWHERE,
        effect=Effect.DISABLE,
        should_retry=False,
    )


def misconfigured(detail: str, *, message: str | None = None) -> Fault:
    """The upstream has nothing where the configuration looks for it."""
    return Fault(
        status=500,
        type=SERVER_ERROR,
        code="upstream_misconfigured",
        message=message
        or "This gateway's account for the model is misconfigured. Its operator has to mend it.",
        detail=detail,
        effect=Effect.DISABLE_MODEL,
        should_retry=False,
    )


def broken_protocol(detail: str, upstream_id: str | None = None) -> Fault:
    """The upstream sent what is none of its protocol."""
    return Fault(
        status=502,
        type=SERVER_ERROR,
        code="upstream_protocol_error",
        message="The upstream broke its protocol. Try again.",
        detail=shown(detail),
        retry=Retry.ELSEWHERE,
        effect=Effect.UNREACHABLE,
        upstream_id=upstream_id,
    )


def truncated(
    code: int | None, reason: str, *, heard: bool, upstream_id: str | None = None
) -> Fault:
    """The upstream went before it had said that the answer is whole: never a success.

    Args:
        heard: Whether it had said anything. Where not, its end of a socket that was dialled ahead
            may have been closed all along: another socket will do.
    """
    how = "without a Close" if code is None else f"with {code}"
    if code in _CLIENTS_DOING and not heard:
        return Fault(
            status=400,
            type=INVALID_REQUEST,
            code="message_too_big",
            message="The upstream does not take this request: it is too long, or no valid text.",
            detail=shown(f"closed {how} {reason}".rstrip()),
            upstream_id=upstream_id,
        )
    return Fault(
        status=502,
        type=SERVER_ERROR,
        code="upstream_truncated",
        message="The upstream closed its connection before the answer was complete.",
        detail=shown(f"closed {how} {reason}".rstrip()),
        retry=Retry.ELSEWHERE if heard else Retry.SAME_ONCE,
        effect=Effect.UNREACHABLE,
        upstream_id=upstream_id,
    )


def answer_too_big(limit_bytes: int, upstream_id: str | None = None) -> Fault:
    """An answer that has to be given as one object does not fit."""
    return Fault(
        status=502,
        type=SERVER_ERROR,
        code="upstream_too_big",
        message=f"The answer is longer than {limit_bytes} bytes. Ask for a stream.",
        should_retry=False,
        upstream_id=upstream_id,
    )


def unacceptable(code: str, message: str, param: str) -> Fault:
    """This account cannot be asked this; another one may."""
    return Fault(
        status=400,
        type=INVALID_REQUEST,
        code=code,
        message=message,
        param=param,
        retry=Retry.ELSEWHERE,
    )
