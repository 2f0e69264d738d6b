"""What is told when an attempt has come to nothing: to its client, and to the bus."""

from __future__ import annotations

import attrs
import pytest

from relayd.core.refusals import RefusalCode
from relayd.observe.bus import SessionFacts, SessionFailedOver
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.session.attempts import (
    AttemptFailed,
    failed_over,
    is_error_event,
    out_of_time,
    refusal_for,
    said_nothing,
    too_late,
)

KINDS = [
    (FailureKind.CLIENT_FAULT, RefusalCode.INVALID_PARAMETER, None),
    (FailureKind.RATE_LIMITED, RefusalCode.NO_ACCOUNT, 7.0),
    (FailureKind.UNREACHABLE, RefusalCode.UPSTREAM_UNREACHABLE, 1.0),
    (FailureKind.FATAL, RefusalCode.UPSTREAM_REFUSED, None),
    (FailureKind.REFUSED, RefusalCode.UPSTREAM_REFUSED, None),
]


@pytest.mark.parametrize(("kind", "code", "retry_after_s"), KINDS)
def test_a_refusal_follows_from_the_failure(
    kind: FailureKind, code: RefusalCode, retry_after_s: float | None
) -> None:
    assert {kind for kind, *_ in KINDS} == set(FailureKind)
    refusal = refusal_for(AttemptFailed(Failure(kind, "word", "text", 7.0)))

    assert (refusal.code, refusal.retry_after_s) == (code, retry_after_s)
    assert "word" in refusal.message
    assert "text" in refusal.message


def test_a_rate_limit_without_a_time_is_worth_another_try_soon() -> None:
    refusal = refusal_for(AttemptFailed(Failure(FailureKind.RATE_LIMITED, "word", "text")))

    assert refusal.retry_after_s == 1.0


def test_what_an_attempt_says_itself_goes_before_that() -> None:
    failed = AttemptFailed(unreachable("any", "text"), RefusalCode.OVERLOAD)

    assert (failed.is_ours, refusal_for(failed).code) == (True, RefusalCode.OVERLOAD)


def test_silence_before_and_behind_the_101_are_told_apart() -> None:
    assert refusal_for(too_late()).code is RefusalCode.UPSTREAM_UNREACHABLE
    assert refusal_for(said_nothing()).code is RefusalCode.FIRST_FRAME_TIMEOUT
    assert not too_late().is_ours


def test_who_runs_out_of_time_hears_of_the_last_attempt() -> None:
    assert out_of_time(None).code is RefusalCode.ADMISSION_TIMEOUT
    assert "did not answer" in out_of_time(too_late()).message


def test_another_account_is_told_with_the_one_before_and_its_failure() -> None:
    facts = SessionFacts(
        session_id="sess_1", dialect="realtime", key="dev", tenant="t", account="first", model="m"
    )

    told = failed_over(AttemptFailed(unreachable("word", "text")), facts, "second")

    assert told == SessionFailedOver(
        session=attrs.evolve(facts, account="second"), account_from="first", reason="word"
    )


@pytest.mark.parametrize(
    ("payload", "is_error"),
    [
        (b'{"type":"error"}', True),
        (b'{"type":"session.created"}', False),
        (b"{}", False),
        (b"[" * 100_000, False),
        (b"\xff", False),
    ],
)
def test_a_first_message_is_an_error_by_its_type_alone(payload: bytes, is_error: bool) -> None:
    assert is_error_event(payload) is is_error
