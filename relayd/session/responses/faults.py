"""Why a turn comes to nothing, from whatever stood against it."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.meter import Refuse
from relayd.dialect.responses_aborts import CONSEQUENCES, Abort
from relayd.dialect.responses_errors import error_event
from relayd.dialect.responses_faults import TurnError
from relayd.dialect.responses_turns import Running, Terminal
from relayd.routing.classify import RETRY_AFTER_S_MAX, Failure, FailureKind, from_error_event
from relayd.session.attempts import AttemptFailed
from relayd.session.limits import INSUFFICIENT_QUOTA

NO_ROOM: Final = "This gateway holds as many bytes as it may. Try again."

EVENT_MAX_BYTES: Final = 16_384
"""Of an upstream's error that is sent on by itself. A longer one, such as that of a failed response
with all its instructions, would fill what a client may have waiting."""

SERVER_ERRORS: Final = 500
"""RFC 9110 section 15.6: from here on the server erred, and another attempt may not."""

_BY_CODE: Final = {
    INSUFFICIENT_QUOTA: Abort.QUOTA_EXHAUSTED,
    RefusalCode.RATE_LIMIT_EXCEEDED: Abort.RATE_LIMITED,
    RefusalCode.LEDGER_UNAVAILABLE: Abort.GATEWAY_BUSY,
    RefusalCode.OVERLOAD: Abort.GATEWAY_BUSY,
    RefusalCode.MODEL_NOT_PRICED: Abort.REFUSED,
}

_BY_KIND: Final = {
    FailureKind.FATAL: Abort.UPSTREAM_AUTH,
    FailureKind.RATE_LIMITED: Abort.UPSTREAM_AUTH,
    FailureKind.REFUSED: Abort.UPSTREAM_AUTH,
    FailureKind.UNREACHABLE: Abort.UPSTREAM_UNREACHABLE,
    FailureKind.CLIENT_FAULT: Abort.REFUSED,
}


class Aborted(Exception):
    """A turn is over without its upstream's end, or was never begun.

    Args:
        abort: Why.
        message: For the client, instead of the table's.
        code: Likewise.
        param: Likewise.
        event: What the client is sent, instead of an event of the table's.
        response_id: The response that it has seen begin.
        retry_after_s: When trying again makes sense, where that can be said.
    """

    def __init__(
        self,
        abort: Abort,
        message: str | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        event: bytes | None = None,
        response_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(abort.value)
        self.abort = abort
        self._message = message
        self._code = code
        self._param = param
        self._event = event
        self._response_id = response_id
        self._retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """HTTP's word for it."""
        words = CONSEQUENCES[self.abort].words
        return 500 if words is None else words.status

    def told_as(self, stream_id: str | None) -> bytes | None:
        """The event that tells the client; ``None`` where it is told nothing."""
        consequence, event = CONSEQUENCES[self.abort], self._event
        if event is not None and consequence.upstreams_words and len(event) <= EVENT_MAX_BYTES:
            return event
        words = consequence.words
        if words is None:
            return None
        return error_event(
            words.status,
            words.type,
            self._code or words.code,
            self._message or words.message,
            param=self._param or words.param,
            stream_id=stream_id,
            response_id=self._response_id,
            headers=self._headers(),
        )

    def _headers(self) -> dict[str, str] | None:
        """As an HTTP response has them: an event has no others."""
        wait_s = self._retry_after_s
        return None if wait_s is None else {"retry-after": str(math.ceil(wait_s))}


class Again(Exception):
    """An attempt failed of which the client has been sent nothing.

    Attributes:
        aborted: What it is told if there is no other.
        elsewhere: Whether another attempt has to go to another account.
    """

    def __init__(self, aborted: Aborted, *, elsewhere: bool) -> None:
        super().__init__(aborted.abort.value)
        self.aborted = aborted
        self.elsewhere = elsewhere


def refused_by(refusal: Refuse | Refusal) -> Aborted:
    """A limit of the key, or relayd's own, stands against the turn."""
    abort = _BY_CODE.get(refusal.code, Abort.REFUSED)
    own_code = None if abort is Abort.RATE_LIMITED else str(refusal.code)
    wait_s = None if abort is Abort.QUOTA_EXHAUSTED else refusal.retry_after_s
    return Aborted(abort, refusal.message, code=own_code, retry_after_s=wait_s)


def aborted_by(failed: AttemptFailed) -> Aborted:
    """No socket could be opened."""
    if failed.is_ours:
        return Aborted(Abort.GATEWAY_BUSY, failed.failure.message)
    return Aborted(_BY_KIND[failed.failure.kind])


def stopped_by_error(
    end: Terminal, error: TurnError, *, shown: str | None, attempts: int
) -> Aborted | Again:
    """What an error comes to that has been kept from the client.

    Args:
        end: The turn's, with the error.
        error: What it says.
        shown: The response that the client has seen begin.
        attempts: How many there were.
    """
    aborted = Aborted(
        error.abort,
        # What the upstream says of relayd's own account is not for its clients.
        (error.message or None) if CONSEQUENCES[error.abort].upstreams_words else None,
        event=end.payload,
        response_id=shown,
    )
    account, socket = error.concerns_account, error.abort is Abort.CONNECTION_LIMIT
    if end.running.seen or not (account or socket or error.status >= SERVER_ERRORS):
        return aborted
    return Again(aborted, elsewhere=account or attempts > 1)


def stopped_by_loss(
    abort: Abort, running: Running, *, shown: str | None, attempts: int
) -> Aborted | Again:
    """What it comes to that the socket of a turn is gone; arguments as above."""
    if running.created_seen and abort in {Abort.UPSTREAM_CLOSED, Abort.UPSTREAM_RESTART}:
        abort = Abort.UPSTREAM_LOST
    message = NO_ROOM if abort is Abort.GATEWAY_BUSY else None
    aborted = Aborted(abort, message, response_id=shown)
    return aborted if running.seen else Again(aborted, elsewhere=attempts > 1)


def failure_of(error: TurnError, wall: float) -> Failure:
    """What an error of the upstream's says about its account."""
    said = {"type": error.kind, "code": error.code, "message": error.message}
    failure = from_error_event(msgspec.json.encode({"type": "error", "error": said}))
    wait_s = error.retry_after_s
    if wait_s is None and error.resets_at is not None:
        wait_s = max(0.0, error.resets_at - wall)
    kind = failure.kind
    if error.abort is Abort.UPSTREAM_LIMIT and kind is not FailureKind.FATAL:
        kind = FailureKind.RATE_LIMITED
    wait_s = wait_s or failure.retry_after_s
    bounded_s = None if wait_s is None else min(wait_s, RETRY_AFTER_S_MAX)
    return Failure(kind, failure.code, failure.message, bounded_s)
