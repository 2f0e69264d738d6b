"""What stands against a turn, as its client is told, and whether there is another attempt."""

from __future__ import annotations

import json

import pytest

from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.meter import Refuse
from relayd.dialect.responses_aborts import CONSEQUENCES, Abort
from relayd.dialect.responses_faults import TurnError, read_error
from relayd.dialect.responses_turns import Running, Terminal
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.session.attempts import AttemptFailed
from relayd.session.responses.faults import (
    EVENT_MAX_BYTES,
    Aborted,
    Again,
    aborted_by,
    failure_of,
    refused_by,
    stopped_by_error,
    stopped_by_loss,
)

NOW = 1_000.0


def error(status: int, code: str, kind: str = "server_error") -> TurnError:
    event = {"type": "error", "status": status, "error": {"type": kind, "code": code}}
    return read_error(json.dumps(event).encode())


def ended(*, seen: bool = False) -> Terminal:
    running = Running(lane="a", retryable=True, seen=seen, created_seen=seen)
    return Terminal(running=running, kind="error", status="failed", at=NOW, payload=b'{"x":1}')


REFUSALS = [
    (RefusalCode.RATE_LIMIT_EXCEEDED, Abort.RATE_LIMITED, "gateway_rate_limited"),
    (RefusalCode.INSUFFICIENT_QUOTA, Abort.QUOTA_EXHAUSTED, "insufficient_quota"),
    (RefusalCode.LEDGER_UNAVAILABLE, Abort.GATEWAY_BUSY, "ledger_unavailable"),
    (RefusalCode.OVERLOAD, Abort.GATEWAY_BUSY, "overload"),
    (RefusalCode.MODEL_NOT_PRICED, Abort.REFUSED, "model_not_priced"),
    (RefusalCode.MODEL_NOT_ALLOWED, Abort.REFUSED, "model_not_allowed"),
]


@pytest.mark.parametrize(("code", "abort", "told"), REFUSALS)
@pytest.mark.parametrize("as_refusal", [False, True])
def test_a_limit_is_told_with_the_limits_own_message(
    code: RefusalCode, abort: Abort, told: str, *, as_refusal: bool
) -> None:
    refused = Refusal(code, "Why.") if as_refusal else Refuse("any", code, "Why.")
    aborted = refused_by(refused)
    event = aborted.told_as("a")

    assert aborted.abort is abort
    assert event is not None
    words = json.loads(event)
    assert (words["error"]["code"], words["error"]["message"]) == (told, "Why.")
    assert (words["status"], words["stream_id"]) == (aborted.status, "a")


KINDS = [
    (FailureKind.FATAL, Abort.UPSTREAM_AUTH),
    (FailureKind.RATE_LIMITED, Abort.UPSTREAM_AUTH),
    (FailureKind.REFUSED, Abort.UPSTREAM_AUTH),
    (FailureKind.UNREACHABLE, Abort.UPSTREAM_UNREACHABLE),
    (FailureKind.CLIENT_FAULT, Abort.REFUSED),
]


@pytest.mark.parametrize(("kind", "abort"), KINDS)
def test_a_socket_that_cannot_be_opened_is_told_by_what_that_says(
    kind: FailureKind, abort: Abort
) -> None:
    assert {kind for kind, _ in KINDS} == set(FailureKind)
    aborted = aborted_by(AttemptFailed(Failure(kind, "code", "secret of the account")))

    assert aborted.abort is abort
    assert b"secret" not in (aborted.told_as(None) or b"")


def test_what_relayd_lacks_itself_is_not_the_upstreams_fault() -> None:
    failed = AttemptFailed(unreachable("any", "no descriptors"), RefusalCode.OVERLOAD)

    assert aborted_by(failed).abort is Abort.GATEWAY_BUSY


def test_an_upstreams_event_is_told_where_the_table_lets_it_be() -> None:
    event = b'{"type":"error","status":500}'

    assert Aborted(Abort.UPSTREAM_ERROR, event=event).told_as("a") == event
    assert Aborted(Abort.UPSTREAM_AUTH, event=event).told_as("a") != event
    long = event + b" " * EVENT_MAX_BYTES
    assert Aborted(Abort.UPSTREAM_ERROR, event=long).told_as("a") != long


@pytest.mark.parametrize("abort", [abort for abort, row in CONSEQUENCES.items() if not row.words])
def test_where_nothing_is_told_there_is_no_event(abort: Abort) -> None:
    aborted = Aborted(abort)

    assert (aborted.told_as(None), aborted.status) == (None, 500)


ERRORS = [
    (error(500, "server_error"), 1, Again, False),
    (error(500, "server_error"), 2, Again, True),
    (error(503, "server_is_overloaded"), 1, Again, True),
    (error(429, "rate_limit_exceeded", "rate_limit_error"), 1, Again, True),
    (error(401, "invalid_api_key", "authentication_error"), 1, Again, True),
    (error(400, "websocket_connection_limit_reached"), 1, Again, False),
    (error(400, "context_length_exceeded", "invalid_request_error"), 1, Aborted, None),
]


@pytest.mark.parametrize(("told", "attempts", "kind", "elsewhere"), ERRORS)
def test_an_error_that_was_not_seen_leads_to_another_attempt_where_that_may_help(
    told: TurnError, attempts: int, kind: type[Exception], *, elsewhere: bool | None
) -> None:
    stopped = stopped_by_error(ended(), told, shown=None, attempts=attempts)

    assert isinstance(stopped, kind)
    if isinstance(stopped, Again):
        assert stopped.elsewhere is elsewhere
        assert CONSEQUENCES[stopped.aborted.abort].hidden_retry


@pytest.mark.parametrize("told", [told for told, *_ in ERRORS])
def test_an_error_that_was_seen_leads_to_none(told: TurnError) -> None:
    stopped = stopped_by_error(ended(seen=True), told, shown="resp_1", attempts=1)

    assert isinstance(stopped, Aborted)


LOSSES = [
    (Abort.UPSTREAM_CLOSED, Abort.UPSTREAM_LOST),
    (Abort.UPSTREAM_RESTART, Abort.UPSTREAM_LOST),
    (Abort.UPSTREAM_TOO_BIG, Abort.UPSTREAM_TOO_BIG),
    (Abort.READ_TIMEOUT, Abort.READ_TIMEOUT),
    (Abort.PREEMPTED, Abort.PREEMPTED),
]


@pytest.mark.parametrize(("lost", "told"), LOSSES)
def test_a_socket_that_is_lost_behind_the_beginning_is_told_with_the_response(
    lost: Abort, told: Abort
) -> None:
    running = Running(seen=True, created_seen=True)
    stopped = stopped_by_loss(lost, running, shown="resp_1", attempts=1)

    assert isinstance(stopped, Aborted)
    assert stopped.abort is told
    assert b"(response resp_1)" in (stopped.told_as(None) or b"")


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_socket_that_is_lost_before_is_replaced_once_at_its_account(attempts: int) -> None:
    stopped = stopped_by_loss(Abort.UPSTREAM_CLOSED, Running(), shown=None, attempts=attempts)

    assert isinstance(stopped, Again)
    assert (stopped.elsewhere, stopped.aborted.abort) == (attempts > 1, Abort.UPSTREAM_CLOSED)


def test_a_limit_says_when_the_account_may_be_asked_again() -> None:
    event = {
        "type": "error",
        "status": 429,
        "error": {"type": "usage_limit_reached", "message": "m", "resets_at": NOW + 60},
    }
    failure = failure_of(read_error(json.dumps(event).encode()), NOW)

    assert (failure.kind, failure.retry_after_s) == (FailureKind.RATE_LIMITED, 60.0)


def test_a_key_that_is_no_good_is_fatal_to_its_account() -> None:
    failure = failure_of(error(401, "invalid_api_key", "authentication_error"), NOW)

    assert (failure.kind, failure.code) == (FailureKind.FATAL, "invalid_api_key")
