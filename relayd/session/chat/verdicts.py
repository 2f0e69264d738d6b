"""What a fault means for others than the client, and faults that are not an upstream's word."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.core.endings import Reason
from relayd.core.refusals import Refusal, RefusalCode, error_type
from relayd.dialect.behind import Effect, Fault, Retry
from relayd.dialect.chat_errors import INVALID_REQUEST, SERVER_ERROR, shown
from relayd.dialect.chat_faults import broken_protocol
from relayd.dialect.meter import Refuse
from relayd.protocol.outcomes import Violation
from relayd.routing.classify import Failure, FailureKind
from relayd.session.attempts import AttemptFailed
from relayd.session.denials import INSUFFICIENT_QUOTA
from relayd.transport.errors import DialErrorKind

RETRY_AFTER_S: Final = 1.0
"""Where relayd itself lacks something and nobody knows when it will not."""

SERVER_ERRORS: Final = 500
"""RFC 9110 section 15.6."""

_KINDS: Final = {
    Effect.COOL: FailureKind.RATE_LIMITED,
    Effect.DISABLE: FailureKind.FATAL,
    Effect.UNREACHABLE: FailureKind.UNREACHABLE,
}

_STATUS_BY_REFUSE: Final = {
    INSUFFICIENT_QUOTA: 429,
    RefusalCode.RATE_LIMIT_EXCEEDED: 429,
    RefusalCode.LEDGER_UNAVAILABLE: 503,
    RefusalCode.OVERLOAD: 503,
    RefusalCode.MODEL_NOT_PRICED: 403,
}

INTERNAL: Final = Fault(
    status=500,
    type=SERVER_ERROR,
    code="internal_error",
    message="A bug in the gateway ended the answer. Its log has the details.",
)
OVERLOADED: Final = Fault(
    status=503,
    type=SERVER_ERROR,
    code="overload",
    message="This gateway holds as much as it may. Try again.",
    retry_after_s=RETRY_AFTER_S,
)
_SLOW: Final = Fault(
    status=504,
    type=SERVER_ERROR,
    code="upstream_timeout",
    message="The upstream did not answer in time. Try again.",
    detail="no frame in time",
    retry=Retry.ELSEWHERE,
    effect=Effect.UNREACHABLE,
)
SILENT: Final = _SLOW
"""Nothing came in ``first_frame_s``."""

STOPPED: Final = attrs.evolve(
    _SLOW,
    message="The upstream stopped in the middle of its answer.",
    detail="no further frame in time",
)
"""Nothing more came in ``idle_s``."""

ENDLESS: Final = attrs.evolve(
    _SLOW,
    message="The answer takes longer than it may.",
    detail="the answer is longer than timeouts.total_s",
    retry=Retry.NONE,
    effect=Effect.NONE,
)
"""It had not ended in ``total_s``. A long answer is not its upstream's fault."""

CLIENT_SLOW: Final = Fault(
    status=408,
    type=INVALID_REQUEST,
    code="client_slow",
    message="The answer was not read in time.",
)
"""What had come in ``total_s`` was not read by then: nobody else's fault."""


def failure_of(fault: Fault, wall: float) -> Failure | None:
    """What a fault says about the health of its account; ``None``: nothing, or of one model."""
    kind = _KINDS.get(fault.effect)
    if kind is None:
        return None
    rest_s = fault.cooling_s(wall) if fault.effect is Effect.COOL else None
    return Failure(kind, fault.code, fault.detail or shown(fault.message), rest_s)


def of_attempt(failed: AttemptFailed) -> Fault:
    """No socket could be opened, for another reason than an answer of the upstream's."""
    if failed.is_ours:
        return OVERLOADED
    failure = failed.failure
    detail = f"{failure.code}: {failure.message}"
    if failure.code == DialErrorKind.CONNECT_TIMEOUT:
        return attrs.evolve(_SLOW, detail=detail)
    return Fault(
        status=502,
        type=SERVER_ERROR,
        code="upstream_unreachable",
        message="The upstream cannot be reached. Try again.",
        detail=detail,
        retry=Retry.ELSEWHERE,
        effect=Effect.UNREACHABLE,
    )


def of_violation(violation: Violation) -> Fault:
    """The upstream broke a rule of WebSocket's, or relayd cannot hold what it sends."""
    if violation.reason is Reason.OVERLOAD:
        return OVERLOADED
    return broken_protocol(violation.message)


def of_refusal(refusal: Refusal) -> Fault:
    """relayd itself stands against the request."""
    return Fault(
        status=refusal.status,
        type=error_type(refusal.status),
        code=str(refusal.code),
        message=refusal.message,
        param=refusal.param,
        retry_after_s=refusal.retry_after_s,
    )


def of_refuse(refuse: Refuse) -> Fault:
    """A limit of the key does. No other attempt mends a budget that is used up."""
    is_hopeless = refuse.code == INSUFFICIENT_QUOTA
    status = _STATUS_BY_REFUSE.get(refuse.code, 403)
    wait_s = refuse.retry_after_s
    if wait_s is None and status >= SERVER_ERRORS:
        wait_s = RETRY_AFTER_S
    return Fault(
        status=status,
        type=refuse.kind,
        code=refuse.code,
        message=refuse.message,
        retry_after_s=None if is_hopeless else wait_s,
        should_retry=False if is_hopeless else None,
    )


def unknown_model(message: str) -> Fault:
    """No account serves what is asked for."""
    return Fault(
        status=404,
        type=INVALID_REQUEST,
        code="model_not_found",
        message=message,
        param="model",
    )


def last_word(fault: Fault, attempts: int) -> Fault:
    """What the client is told when relayd tries no more.

    Where relayd has tried several times itself, its client should not: unless the upstream has said
    when that makes sense.
    """
    if attempts > 1 and fault.retry is not Retry.NONE and fault.retry_after_s is None:
        return attrs.evolve(fault, should_retry=False)
    return fault
