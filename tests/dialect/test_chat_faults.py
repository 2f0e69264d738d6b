"""Faults that every provider can have."""

from __future__ import annotations

import pytest

from relayd.dialect.behind import Effect, Retry
from relayd.dialect.chat_faults import (
    answer_too_big,
    broken_protocol,
    handshake_fault,
    truncated,
    unacceptable,
)


@pytest.mark.parametrize(
    ("status", "told", "code", "effect"),
    [
        (401, 502, "upstream_auth_failed", Effect.DISABLE),
        (403, 502, "upstream_auth_failed", Effect.DISABLE),
        (404, 500, "upstream_misconfigured", Effect.DISABLE_MODEL),
        (429, 429, "rate_limit_exceeded", Effect.COOL),
        (500, 502, "upstream_error", Effect.UNREACHABLE),
        (503, 502, "upstream_error", Effect.UNREACHABLE),
        (200, 502, "upstream_error", Effect.UNREACHABLE),
        (302, 502, "upstream_error", Effect.UNREACHABLE),
    ],
)
def test_an_upgrade_that_was_declined(status: int, told: int, code: str, effect: Effect) -> None:
    fault = handshake_fault(status, "words of the upstream")

    assert (fault.status, fault.code, fault.effect) == (told, code, effect)
    assert "words of the upstream" in fault.detail
    assert "words of the upstream" not in fault.message


@pytest.mark.parametrize(("heard", "retry"), [(False, Retry.SAME_ONCE), (True, Retry.ELSEWHERE)])
@pytest.mark.parametrize("code", [None, 1000, 1006, 1011])
def test_an_end_before_the_end_is_no_success(code: int | None, heard: bool, retry: Retry) -> None:
    fault = truncated(code, "reason", heard=heard, upstream_id="sid")

    assert (fault.status, fault.type, fault.code) == (502, "server_error", "upstream_truncated")
    assert (fault.retry, fault.effect) == (retry, Effect.UNREACHABLE)
    assert ("x-upstream-sid", "sid") in fault.headers()
    assert str(code) in fault.detail or code is None


def test_a_broken_protocol_is_the_upstream_s() -> None:
    fault = broken_protocol("what was wrong")

    assert (fault.status, fault.effect) == (502, Effect.UNREACHABLE)


def test_what_an_account_cannot_do_another_one_may() -> None:
    fault = unacceptable("c", "m", "n")

    assert (fault.status, fault.param, fault.retry) == (400, "n", Retry.ELSEWHERE)
    assert fault.effect is Effect.NONE


def test_an_answer_that_is_too_big_names_the_remedy() -> None:
    fault = answer_too_big(10)

    assert "stream" in fault.message
    assert fault.headers() == (("x-should-retry", "false"),)
