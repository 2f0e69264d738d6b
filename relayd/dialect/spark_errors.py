"""What a Spark error code means: for the client, for the next attempt, for the account.

Meanings: the vendor's pages 接口说明.html and the one of its web SDK. An error frame has its code
in ``header.code`` and is followed by a Close 1000. 10014 alone is no fault: the answer was cut by
an audit, and ends with ``content_filter``.
"""

from __future__ import annotations

from typing import Final

import attrs

from relayd.dialect.behind import Effect, Fault, Retry
from relayd.dialect.chat_errors import (
    INSUFFICIENT_QUOTA,
    INVALID_REQUEST,
    RATE_LIMIT,
    SERVER_ERROR,
    shown,
)
from relayd.dialect.chat_faults import misconfigured

OUTPUT_AUDIT: Final = 10014
MESSAGE_FORMAT: Final = 10003

SHANGHAI_S: Final = 8 * 3600
"""Ahead of UTC, all year: where the vendor's days end."""

QUOTA_COOL_S: Final = 60.0
"""Of an account whose tokens are used up, or that may not run as many at once: the code is one."""

_WRONG_DOMAIN: Final = "model domain"


@attrs.frozen
class Meaning:
    """A row of the table; see :class:`~relayd.dialect.behind.Fault` for its members."""

    status: int
    type: str
    code: str
    retry: Retry = Retry.NONE
    effect: Effect = Effect.NONE
    cool_s: float = attrs.field(default=0.0, kw_only=True)
    cool_until_midnight_at: int | None = attrs.field(default=None, kw_only=True)
    retry_after_s: float | None = attrs.field(default=None, kw_only=True)
    should_retry: bool | None = attrs.field(default=None, kw_only=True)


_ONCE, _ELSEWHERE = Retry.SAME_ONCE, Retry.ELSEWHERE

_BROKEN: Final = Meaning(502, SERVER_ERROR, "upstream_error", _ONCE, Effect.UNREACHABLE)
_OVERLOADED: Final = Meaning(503, SERVER_ERROR, "overloaded", _ELSEWHERE, Effect.UNREACHABLE)
_WRONG_VALUE: Final = Meaning(400, INVALID_REQUEST, "invalid_value")
_AUDITED: Final = Meaning(400, INVALID_REQUEST, "content_filter")

UNKNOWN: Final = Meaning(502, SERVER_ERROR, "upstream_error")
"""Of a code that no page lists. It may be the request's fault, so it has no effect."""

MEANINGS: Final[dict[int, Meaning]] = {
    # -- the upstream itself
    10000: _BROKEN,
    10001: _BROKEN,
    10002: _BROKEN,
    10008: _OVERLOADED,
    10009: _BROKEN,
    10010: _BROKEN,
    10011: _BROKEN,
    10012: _BROKEN,
    10017: Meaning(502, SERVER_ERROR, "upstream_error"),
    10018: Meaning(502, SERVER_ERROR, "upstream_error", _ONCE),  # an idle socket's end
    10110: _OVERLOADED,
    10222: _BROKEN,
    10223: _BROKEN,
    # -- the request
    MESSAGE_FORMAT: Meaning(400, INVALID_REQUEST, "upstream_bad_request"),
    10004: _WRONG_VALUE,
    10005: _WRONG_VALUE,
    10163: _WRONG_VALUE,
    10907: Meaning(400, INVALID_REQUEST, "context_length_exceeded"),
    # -- what audits say of it
    10013: _AUDITED,
    10019: _AUDITED,
    10021: _AUDITED,
    # -- how many at once, how many at all
    10006: Meaning(429, RATE_LIMIT, "upstream_concurrency", _ONCE),  # with another user's id
    10007: Meaning(429, RATE_LIMIT, "upstream_busy_user", _ELSEWHERE, retry_after_s=1.0),
    10016: Meaning(
        429,
        INSUFFICIENT_QUOTA,
        "insufficient_quota",
        _ELSEWHERE,
        Effect.COOL,
        cool_s=QUOTA_COOL_S,
        should_retry=False,
    ),
    11201: Meaning(
        429,
        RATE_LIMIT,
        "daily_quota",
        _ELSEWHERE,
        Effect.COOL,
        cool_until_midnight_at=SHANGHAI_S,
        should_retry=False,
    ),
    11202: Meaning(
        429,
        RATE_LIMIT,
        "rate_limit_exceeded",
        _ELSEWHERE,
        Effect.COOL,
        cool_s=1.0,
        retry_after_s=1.0,
    ),
    11203: Meaning(
        429,
        RATE_LIMIT,
        "upstream_concurrency",
        _ELSEWHERE,
        Effect.COOL,
        cool_s=2.0,
        retry_after_s=2.0,
    ),
    # -- the account; it is left alone from then on, so that asking again soon is of no use
    10015: Meaning(
        503,
        SERVER_ERROR,
        "no_available_account",
        _ELSEWHERE,
        Effect.DISABLE,
        should_retry=False,
    ),
    11200: Meaning(
        503,
        INSUFFICIENT_QUOTA,
        "upstream_not_entitled",
        _ELSEWHERE,
        Effect.DISABLE_MODEL,
        should_retry=False,
    ),
}


def fault_of(
    code: int, said: str, upstream_id: str | None = None, hidden: tuple[str, ...] = ()
) -> Fault:
    """What an error frame means.

    Args:
        code: Anything but 0 and :data:`OUTPUT_AUDIT`.
        said: Its message.
        upstream_id: The request's ``sid``.
        hidden: The account's own texts.
    """
    words = shown(said, hidden)
    sid = "" if upstream_id is None else f" (sid={upstream_id})"
    message = f"Spark {code}: {words}{sid}"
    if code == MESSAGE_FORMAT and _WRONG_DOMAIN in said:
        # The account's domain is not what this endpoint answers: no client can help that.
        return attrs.evolve(misconfigured(message, message=message), upstream_id=upstream_id)
    meaning = MEANINGS.get(code, UNKNOWN)
    members = attrs.asdict(meaning, recurse=False)
    return Fault(**members, message=message, detail=message, upstream_id=upstream_id)
