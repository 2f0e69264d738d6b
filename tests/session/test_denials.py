"""What clients are told when a limit is reached, in both shapes."""

from __future__ import annotations

import pytest

from relayd.config.keys import BudgetPeriod
from relayd.config.snapshot import Key
from relayd.core.refusals import Refusal
from relayd.dialect.meter import Refuse
from relayd.session import denials
from relayd.session.denials import Denial

KEY = Key(
    name="dev",
    tenant="t",
    digest=bytes(32),
    sessions_max=3,
    budget_nano=12_500_000_000,
    budget_period=BudgetPeriod.MONTH,
)
FEBRUARY = 1_769_904_000

SPENT = denials.out_of_money(KEY, FEBRUARY, FEBRUARY - 60.5)


@pytest.mark.parametrize(
    ("denial", "status", "code", "retry_after_s", "headers"),
    [
        (denials.OVERLOADED, 503, "overload", 1.0, ()),
        (denials.STORE_AWAY, 503, "overload", 5.0, ()),
        (denials.LEDGER_AWAY, 503, "ledger_unavailable", 5.0, ()),
        (denials.too_many_sessions(KEY), 429, "session_limit_reached", 1.0, ()),
        (denials.too_fast("tokens", 9, 2.5), 429, "rate_limit_exceeded", 2.5, ()),
        (SPENT, 429, "insufficient_quota", 60.5, (("x-should-retry", "false"),)),
    ],
)
def test_before_the_101_it_is_a_refusal(
    denial: Denial,
    status: int,
    code: str,
    retry_after_s: float,
    headers: tuple[tuple[str, str], ...],
) -> None:
    refusal = denial.refusal()

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (status, code)
    assert refusal.retry_after_s == retry_after_s
    assert refusal.headers == headers
    assert refusal.message == denial.message


@pytest.mark.parametrize(
    ("denial", "kind", "code"),
    [
        (denials.STORE_AWAY, "server_error", "overload"),
        (denials.LEDGER_AWAY, "server_error", "ledger_unavailable"),
        (denials.too_fast("tokens", 9, 2.5), "rate_limit_error", "rate_limit_exceeded"),
        (denials.money_set_aside(KEY), "rate_limit_error", "rate_limit_exceeded"),
        (SPENT, "insufficient_quota", "insufficient_quota"),
    ],
)
def test_in_a_session_it_is_an_error_event(denial: Denial, kind: str, code: str) -> None:
    assert denial.refuse() == Refuse(kind, code, denial.message, denial.retry_after_s)


def test_a_budget_names_its_size_its_period_and_when_it_begins_anew() -> None:
    assert SPENT.message == (
        "This key's budget of 12.5 US dollars a month is used up, or does not bear another turn."
        " It begins anew at 2026-02-01T00:00:00Z; the operator of this relay can raise it."
    )


def test_a_total_budget_says_that_it_never_does() -> None:
    spent = denials.out_of_money(KEY, None, 0.0)

    assert "budget of 12.5 US dollars is used up" in spent.message
    assert "does not begin anew" in spent.message
    assert spent.retry_after_s is None
    assert spent.refusal().headers == (("x-should-retry", "false"),)


def test_whole_dollars_are_told_without_an_exponent() -> None:
    key = Key(name="dev", tenant="t", digest=bytes(32), budget_nano=100 * 10**9)

    assert "of 100 US dollars" in denials.out_of_money(key, None, 0.0).message


def test_a_budget_that_is_set_aside_says_what_to_wait_for() -> None:
    assert denials.money_set_aside(KEY).message == (
        "The rest of this key's budget of 12.5 US dollars is set aside for running responses."
        " Please try again when one has ended."
    )


@pytest.mark.parametrize(
    ("retry_after_s", "told"), [(2.5, "2.5s"), (0.0000004, "0.001s"), (60.0001, "60.001s")]
)
def test_a_rate_names_its_size_and_the_wait_rounded_up(retry_after_s: float, told: str) -> None:
    message = denials.too_fast("requests", 20, retry_after_s).message

    assert message == (
        f"This key's limit of 20 requests a minute is reached. Please try again in {told}."
    )


def test_the_number_of_sessions_is_told() -> None:
    assert "3 sessions open" in denials.too_many_sessions(KEY).message
