"""The values that providers speak in."""

from __future__ import annotations

from typing import Any

import pytest

from relayd.dialect.behind import Effect, Fault, Handshake, Provider, Text
from relayd.dialect.runtask import RUNTASK
from relayd.dialect.spark import SPARK
from tests.dialect.chat import FakeAccount, account, request


def fault(**members: object) -> Fault:
    others: dict[str, Any] = members
    return Fault(status=429, type="t", code="c", message="m", **others)


@pytest.mark.parametrize(
    ("members", "headers"),
    [
        ({}, {}),
        ({"retry_after_s": 0.2}, {"Retry-After": "1"}),
        ({"retry_after_s": 2.0}, {"Retry-After": "2"}),
        ({"should_retry": True}, {"x-should-retry": "true"}),
        (
            {"should_retry": False, "upstream_id": "s"},
            {"x-should-retry": "false", "x-upstream-sid": "s"},
        ),
    ],
)
def test_a_fault_s_headers(members: dict[str, object], headers: dict[str, str]) -> None:
    assert dict(fault(**members).headers()) == headers


def test_an_account_rests_for_seconds_or_to_the_end_of_a_day() -> None:
    assert fault(effect=Effect.COOL, cool_s=5.0).cooling_s(1e9) == 5.0
    assert fault(cool_until_midnight_at=0).cooling_s(86_400 * 7 + 86_390) == 10
    assert fault(cool_until_midnight_at=3600).cooling_s(86_400 * 7) == 86_400 - 3600


def test_nothing_that_is_signed_or_said_is_shown() -> None:
    hidden = (Handshake("/?canary", (("Authorization", "canary"),)), Text("canary"))

    assert "canary" not in repr(hidden)


@pytest.mark.parametrize("provider", [SPARK, RUNTASK])
def test_both_providers_keep_the_contract(provider: Provider[FakeAccount]) -> None:
    chosen = account()

    assert provider.takes(request(), chosen) is None
    assert provider.target(chosen, "m", 0.0).target.startswith("/")
    exchange = provider.begin(request(), chosen, "m", attempt=1)
    assert len(exchange.opening()) == 1
    assert exchange.ignored == ()
    assert exchange.closed(None, "").code == "upstream_truncated"
    assert "hello" not in repr(exchange)
