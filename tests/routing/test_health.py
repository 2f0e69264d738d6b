"""How one account is doing: what each kind of failure does to it, and for how long."""

from __future__ import annotations

import pytest

from relayd.routing.breaker import BreakerState
from relayd.routing.classify import Failure, FailureKind, unreachable
from relayd.routing.health import (
    AccountCooled,
    AccountDisabled,
    AccountEnabled,
    BreakerClosed,
    BreakerOpened,
    Change,
    Health,
)

FATAL = Failure(FailureKind.FATAL, "invalid_api_key", "the key is wrong")
LOST = unreachable("connect_timeout", "no answer")


def limited(retry_after_s: float | None = None) -> Failure:
    return Failure(FailureKind.RATE_LIMITED, "rate_limit_exceeded", "slow down", retry_after_s)


def fail(health: Health, failure: Failure, now: float) -> tuple[Change, ...]:
    generation = health.breaker.admit(now)
    changes = health.fail(generation, failure, now, jitter=0.0)
    health.breaker.void(generation)
    return changes


def test_a_fatal_answer_disables_the_account_once() -> None:
    health = Health("main")

    assert fail(health, FATAL, 5.0) == (
        AccountDisabled("main", "invalid_api_key", "the key is wrong"),
    )
    assert fail(health, FATAL, 9.0) == ()

    assert health.disabled is not None
    assert health.disabled.since == 5.0


def test_a_disabled_account_is_probed_every_five_minutes() -> None:
    health = Health("main")
    fail(health, FATAL, 0.0)

    due = [second for second in range(0, 1000, 10) if health.claim_probe(float(second))]

    assert due == [300, 600, 900]


def test_it_says_when_the_account_is_tried_again() -> None:
    health = Health("main")
    assert health.retry_at is None
    fail(health, limited(30.0), 1.0)
    assert health.retry_at == 31.0
    for _ in range(5):
        fail(health, LOST, 60.0)
    assert health.retry_at == health.breaker.retry_at == 61.0
    health.breaker.admit(61.0)
    assert health.retry_at == 31.0, "nobody knows when a trial ends; the rest is over"
    health = Health("main")
    fail(health, FATAL, 5.0)
    assert health.retry_at == 305.0


def test_a_probe_waits_for_a_breaker_that_would_not_admit_it() -> None:
    health = Health("main")
    fail(health, FATAL, 0.0)
    for _ in range(5):
        fail(health, LOST, 299.5)

    assert health.breaker.state is BreakerState.OPEN
    assert not health.claim_probe(300.0)
    assert health.claim_probe(300.5)


def test_an_account_in_order_is_never_probed() -> None:
    assert not Health("main").claim_probe(1e9)


def test_enabling_ends_the_disablement_and_its_probes() -> None:
    health = Health("main")
    fail(health, FATAL, 0.0)

    assert health.enable() == (AccountEnabled("main"),)
    assert health.enable() == ()
    assert health.disabled is None
    assert not health.claim_probe(1e9)


@pytest.mark.parametrize(
    ("asked_s", "rest_s"), [(None, 10.0), (0.0, 1.0), (3.0, 3.0), (90.0, 90.0)]
)
def test_a_rate_limit_rests_the_account_for_as_long_as_it_asks(
    asked_s: float | None, rest_s: float
) -> None:
    health = Health("main")

    assert fail(health, limited(asked_s), 100.0) == (
        AccountCooled("main", "rate_limit_exceeded", rest_s),
    )
    assert health.cooled_until == 100.0 + rest_s


def test_rests_double_up_to_a_minute_until_there_is_a_success() -> None:
    health, now, rests = Health("main"), 0.0, []
    for _ in range(5):
        fail(health, limited(), now)
        rests.append(health.cooled_until - now)
        now = health.cooled_until
    assert rests == [10, 20, 40, 60, 60]

    health.succeed(0, 100.0, now)
    fail(health, limited(), now)
    assert health.cooled_until - now == 10


def test_sessions_that_are_limited_during_a_rest_prolong_it_without_doubling_it() -> None:
    health = Health("main")
    fail(health, limited(), 0.0)

    for second in range(1, 9):
        assert fail(health, limited(), float(second)) == ()
    assert health.cooled_until == 10.0
    assert fail(health, limited(30.0), 9.0) == ()
    assert health.cooled_until == 39.0

    fail(health, limited(), 39.0)
    assert health.cooled_until == 59.0


def test_a_late_success_during_a_rest_does_not_end_it() -> None:
    health = Health("main")
    fail(health, limited(), 0.0)

    health.succeed(0, 100.0, 5.0)

    assert health.cooled_until == 10.0
    fail(health, limited(), 10.0)
    assert health.cooled_until == 30.0


def test_an_unreachable_upstream_opens_the_breaker_and_a_good_trial_closes_it() -> None:
    health = Health("main")
    for second in range(4):
        assert fail(health, LOST, float(second)) == ()

    assert fail(health, LOST, 4.0) == (BreakerOpened("main", "connect_timeout", 1.0),)

    assert health.succeed(health.breaker.admit(5.0), 80.0, 5.0) == (BreakerClosed("main"),)


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - {FailureKind.UNREACHABLE}))
def test_only_an_unreachable_upstream_feeds_the_breaker_and_the_error_average(
    kind: FailureKind,
) -> None:
    health = Health("main")
    generation = health.breaker.admit(0.0)

    for _ in range(100):
        health.fail(generation, Failure(kind, "code", "message"), 0.0, jitter=0.0)

    assert health.breaker.state is BreakerState.CLOSED
    assert health.error_average == 0.0


@pytest.mark.parametrize("kind", [FailureKind.REFUSED, FailureKind.CLIENT_FAULT])
def test_a_refusal_that_is_not_the_accounts_fault_changes_nothing(kind: FailureKind) -> None:
    health, untouched = Health("main"), Health("main")

    assert fail(health, Failure(kind, "code", "message"), 0.0) == ()
    assert (health.disabled, health.cooled_until) == (None, untouched.cooled_until)


def test_averages_follow_the_outcomes() -> None:
    health = Health("main")
    generation = health.breaker.admit(0.0)

    health.succeed(generation, 100.0, 0.0)
    assert health.first_frame_ms == 100.0
    health.succeed(generation, 200.0, 0.0)
    assert health.first_frame_ms == pytest.approx(120.0)
    health.succeed(generation, None, 0.0)
    assert health.first_frame_ms == pytest.approx(120.0)

    fail(health, LOST, 0.0)
    assert health.error_average == pytest.approx(0.2)
    health.succeed(generation, 120.0, 0.0)
    assert health.error_average == pytest.approx(0.16)
