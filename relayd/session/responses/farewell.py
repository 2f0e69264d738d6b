"""What the turns of a Responses session are told when the session ends, or is about to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from relayd.core.endings import Reason, ending_of
from relayd.dialect.meter import Refuse
from relayd.dialect.responses_aborts import CONSEQUENCES, Abort
from relayd.dialect.responses_client import Create, Mistake

LAST_WORDS: Final = {
    Reason.DRAIN: Abort.DRAIN_DEADLINE,
    Reason.SESSION_MAX_AGE: Abort.CONNECTION_LIMIT,
    Reason.UPSTREAM_CLOSED: Abort.CONNECTION_LIMIT,  # of a Responses session: at its socket's age
    Reason.KILLED: Abort.KILLED,
    Reason.KEY_EXPIRED: Abort.KEY_REVOKED,
    Reason.KEY_REMOVED: Abort.KEY_REVOKED,
    Reason.BUDGET_EXHAUSTED: Abort.QUOTA_EXHAUSTED,
    Reason.OVERLOAD: Abort.GATEWAY_BUSY,
    Reason.INTERNAL_ERROR: Abort.INTERNAL_SESSION,
}
"""What each running turn ends with, where the session ends before it."""

_STATUS_BY_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "insufficient_quota": 429,
}
"""Of what this dialect has no words of its own for; else 503, which asks to try again."""


def mistake_of(abort: Abort, stream_id: str | None) -> Mistake:
    """What ``abort`` tells a client; it must be one that tells it something."""
    words = CONSEQUENCES[abort].words
    assert words is not None, "a client that waits is told something"
    return Mistake(words.status, words.type, words.code, words.message, words.param, stream_id)


def last_words(
    reason: Reason | None, refuse: Refuse | None, stream_id: str | None = None
) -> Mistake | None:
    """What a client is told that has asked for something, or waits for it.

    Args:
        reason: Why the session is going to end.
        refuse: What is said where this dialect has no words of its own for that.
        stream_id: The lane.

    Returns:
        ``None`` where nothing is said.
    """
    abort = None if reason is None else LAST_WORDS.get(reason)
    if abort is not None:
        told = mistake_of(abort, stream_id)
        if refuse is not None and reason is Reason.BUDGET_EXHAUSTED:
            return attrs.evolve(told, message=refuse.message)  # it says when there is money again
        return told
    if refuse is None:
        return None
    status = _STATUS_BY_TYPE.get(refuse.kind, 503)
    return Mistake(status, refuse.kind, refuse.code, refuse.message, None, stream_id)


def closed_to(create: Create, leaving: Reason | None, refuse: Refuse) -> Mistake:
    """How a request is answered when no turn may begin any more; arguments as above."""
    told = last_words(leaving, refuse, create.stream_id)
    assert told is not None, "there is a refusal"
    return told


def goodbye(
    reason: Reason,
    refuse: Refuse | None,
    waiting: Sequence[tuple[str | None, str | None]],
    *,
    told: bool,
) -> Iterator[bytes]:
    """What a client is sent before its Close: whoever waits for something hears why nothing comes.

    Args:
        reason: Why the session ends.
        refuse: What has been said about it.
        waiting: Lanes in which something runs or waits, with the response that is seen to run.
        told: Whether a client that waits for nothing knows it already.
    """
    if not waiting and not told and ending_of(reason).error_event:
        waiting = [(None, None)]
    for lane, response_id in waiting:
        words = last_words(reason, refuse, lane)
        if words is not None:
            yield words.event(response_id)
