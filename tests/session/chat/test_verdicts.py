"""What faults mean, and what refusals become."""

from __future__ import annotations

import attrs
import pytest

from relayd.core.endings import Reason
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.behind import Effect, Fault, Retry
from relayd.dialect.meter import Refuse
from relayd.protocol.outcomes import Violation
from relayd.routing.classify import FailureKind, unreachable
from relayd.session import denials
from relayd.session.attempts import AttemptFailed, too_late
from relayd.session.books import LEDGER_UNAVAILABLE, NOT_PRICED
from relayd.session.chat import verdicts
from relayd.transport.errors import DialErrorKind

FAULT = Fault(status=502, type="server_error", code="c", message="m", detail="d")


@pytest.mark.parametrize(
    ("effect", "kind"),
    [
        (Effect.NONE, None),
        (Effect.DISABLE_MODEL, None),
        (Effect.COOL, FailureKind.RATE_LIMITED),
        (Effect.DISABLE, FailureKind.FATAL),
        (Effect.UNREACHABLE, FailureKind.UNREACHABLE),
    ],
)
def test_what_a_fault_says_about_its_account(effect: Effect, kind: FailureKind | None) -> None:
    failure = verdicts.failure_of(attrs.evolve(FAULT, effect=effect, cool_s=7.0), 0.0)
    assert (None if failure is None else failure.kind) == kind
    if failure is not None:
        assert (failure.code, failure.message) == ("c", "d")
        assert failure.retry_after_s == (7.0 if effect is Effect.COOL else None)


def test_every_effect_has_been_thought_of() -> None:
    assert set(verdicts._KINDS) | {Effect.NONE, Effect.DISABLE_MODEL} == set(Effect)


def test_an_attempt_that_relayd_had_no_room_for_blames_nobody() -> None:
    failed = AttemptFailed(unreachable("x", "y"), RefusalCode.OVERLOAD)
    assert verdicts.of_attempt(failed) is verdicts.OVERLOADED
    assert verdicts.OVERLOADED.effect is Effect.NONE


def test_one_that_took_too_long() -> None:
    fault = verdicts.of_attempt(too_late())
    assert (fault.status, fault.code, fault.effect) == (
        504,
        "upstream_timeout",
        Effect.UNREACHABLE,
    )


def test_one_that_failed() -> None:
    failed = AttemptFailed(unreachable(DialErrorKind.CONNECTION_REFUSED, "no"))
    fault = verdicts.of_attempt(failed)
    assert (fault.status, fault.code) == (502, "upstream_unreachable")
    assert (fault.retry, fault.effect) == (Retry.ELSEWHERE, Effect.UNREACHABLE)
    assert "connection_refused" in fault.detail
    assert "connection_refused" not in fault.message


def test_broken_rules() -> None:
    assert verdicts.of_violation(Violation.overload()) is verdicts.OVERLOADED
    fault = verdicts.of_violation(Violation(Reason.BAD_UTF8, "not UTF-8"))
    assert (fault.status, fault.effect) == (502, Effect.UNREACHABLE)


def test_a_refusal_of_relayds_own() -> None:
    refusal = Refusal(RefusalCode.ACCOUNT_BUSY, "Busy.", "model", retry_after_s=2.0)
    fault = verdicts.of_refusal(refusal)
    assert (fault.status, fault.type, fault.code) == (503, "server_error", "account_busy")
    assert (fault.message, fault.param, fault.retry_after_s) == ("Busy.", "model", 2.0)


@pytest.mark.parametrize(
    ("refuse", "status", "headers"),
    [
        (
            denials.Denial(RefusalCode.INSUFFICIENT_QUOTA, "Gone.").refuse(),
            429,
            {"x-should-retry": "false"},
        ),
        (denials.too_fast("requests", 3, 2.5).refuse(), 429, {"Retry-After": "3"}),
        (LEDGER_UNAVAILABLE, 503, {"Retry-After": "1"}),
        (denials.STORE_AWAY.refuse(), 503, {"Retry-After": "5"}),
        (NOT_PRICED, 403, {}),
    ],
)
def test_a_limit_of_the_key(refuse: Refuse, status: int, headers: dict[str, str]) -> None:
    fault = verdicts.of_refuse(refuse)
    assert (fault.status, fault.code, fault.type) == (status, refuse.code, refuse.kind)
    assert dict(fault.headers()) == headers


@pytest.mark.parametrize(
    ("attempts", "retry", "retry_after_s", "told"),
    [
        (1, Retry.ELSEWHERE, None, None),
        (2, Retry.ELSEWHERE, None, False),
        (2, Retry.SAME_ONCE, None, False),
        (2, Retry.NONE, None, None),
        (2, Retry.ELSEWHERE, 1.0, None),
    ],
)
def test_who_has_tried_itself_tells_its_client_not_to(
    attempts: int, retry: Retry, retry_after_s: float | None, told: bool | None
) -> None:
    fault = attrs.evolve(FAULT, retry=retry, retry_after_s=retry_after_s)
    assert verdicts.last_word(fault, attempts).should_retry is told


def test_a_model_that_nobody_serves() -> None:
    fault = verdicts.unknown_model("None.")
    assert (fault.status, fault.code, fault.param) == (404, "model_not_found", "model")
