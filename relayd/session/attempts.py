"""One attempt at one account that came to nothing, and what a client is told when all have."""

from __future__ import annotations

import attrs
import msgspec

from relayd.core.refusals import Refusal, RefusalCode
from relayd.observe.bus import SessionFacts, SessionFailedOver
from relayd.protocol.upstream_upgrade import UpstreamDeclined
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.transport.errors import DialErrorKind


class _Typed(msgspec.Struct):
    type: str = ""


class AttemptFailed(Exception):
    """One attempt at one account came to nothing.

    Attributes:
        failure: What it says about the account.
        code: How a client is refused for it, where that does not follow from the failure.
        declined: The upstream's answer, where that was another one than a 101.
    """

    def __init__(
        self,
        failure: Failure,
        code: RefusalCode | None = None,
        *,
        declined: UpstreamDeclined | None = None,
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.code = code
        self.declined = declined

    @property
    def is_ours(self) -> bool:
        """Whether relayd itself lacked something, so that the account is not to blame."""
        return self.code is RefusalCode.OVERLOAD


def is_error_event(payload: bytes) -> bool:
    """Whether an upstream's first message says that something is wrong."""
    try:
        return msgspec.json.decode(payload, type=_Typed).type == "error"
    except (msgspec.DecodeError, RecursionError):
        return False


def failed_over(failed: AttemptFailed, facts: SessionFacts, account: str) -> SessionFailedOver:
    """What the bus is told when another account is tried.

    Args:
        failed: The attempt at the account of ``facts``.
        facts: Whose session it is for.
        account: The one that is tried now.
    """
    return SessionFailedOver(
        session=attrs.evolve(facts, account=account),
        account_from=facts.account,
        reason=failed.failure.code,
    )


def too_late() -> AttemptFailed:
    """The handshake took longer than it may."""
    message = "the upstream did not answer the handshake"
    return AttemptFailed(unreachable(DialErrorKind.CONNECT_TIMEOUT, message))


def said_nothing() -> AttemptFailed:
    """Behind its 101 the upstream was silent for longer than it may."""
    code = RefusalCode.FIRST_FRAME_TIMEOUT
    message = "the upstream accepted the WebSocket and then sent nothing in time"
    return AttemptFailed(unreachable(code, message), code)


def out_of_time(last: AttemptFailed | None) -> Refusal:
    """No time is left for another attempt; ``last`` is the one before."""
    why = f" The last account failed: {last.failure.message}" if last is not None else ""
    message = f"No upstream was ready within limits.admission_s.{why}"
    return Refusal(RefusalCode.ADMISSION_TIMEOUT, message, retry_after_s=1.0)


def refusal_for(failed: AttemptFailed) -> Refusal:
    """What the client is told when no account is left to try."""
    failure = failed.failure
    message = f"The upstream failed ({failure.code}): {failure.message}"
    if failed.code is not None:
        return Refusal(failed.code, message, retry_after_s=1.0)
    match failure.kind:
        case FailureKind.CLIENT_FAULT:
            return Refusal(RefusalCode.INVALID_PARAMETER, message)
        case FailureKind.RATE_LIMITED:
            wait = failure.retry_after_s
            return Refusal(RefusalCode.NO_ACCOUNT, message, retry_after_s=wait or 1.0)
        case FailureKind.UNREACHABLE:
            return Refusal(RefusalCode.UPSTREAM_UNREACHABLE, message, retry_after_s=1.0)
        case FailureKind.FATAL | FailureKind.REFUSED:
            return Refusal(RefusalCode.UPSTREAM_REFUSED, message)
