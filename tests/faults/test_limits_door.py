"""Limits of keys before the 101: what a client is answered, and the one line about it."""

from __future__ import annotations

import ipaddress

from relayd.observe.events import LogEvent
from tests.faults.harness import Stage, accepted, account, one_end
from tests.faults.money import (
    NOON,
    PRICES,
    UNTIL_MIDNIGHT_S,
    Wall,
    ended_for,
    error_of,
    header,
    key,
    leave,
    refused,
    turn,
)


def only_line(stage: Stage, dialect: str = "realtime") -> tuple[int, str]:
    """Status and reason of the one line of a connection that had no session, whole otherwise."""
    line = one_end(stage.log)
    assert line["event"] == LogEvent.CONNECTION_REFUSED
    assert (line["key"], line["dialect"]) == ("dev", dialect)
    assert line["client_address"].startswith("127.0.0.")
    return line["status"], line["reason"]


async def test_an_expired_key_is_403(stage: Stage) -> None:
    upstream, expired = await stage.upstream(), key(expires=NOON)
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=expired, wall=Wall()) as relay:
        response = await refused(relay)

    assert response.status == 403
    assert response.body == (
        b'{"error":{"message":"This key expired at 2026-11-02T12:00:00Z. Ask the operator of this'
        b' relay for a new one.","type":"permission_error","param":null,"code":"key_expired"}}'
    )
    assert only_line(stage) == (403, "key_expired")


async def test_an_address_that_the_key_does_not_name_is_403(stage: Stage) -> None:
    upstream = await stage.upstream()
    home = key(allowed_ips=(ipaddress.ip_network("127.0.0.1/32"),))
    async with stage.relay(account(upstream, provider="compatible"), key=home) as relay:
        response = await refused(relay, source="127.0.0.2")
        assert only_line(stage) == (403, "address_not_allowed")
        await relay.conversation(upstream)

    assert (response.status, error_of(response)["code"]) == (403, "address_not_allowed")


async def test_a_session_too_many_is_429_until_another_has_ended(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(
        account(upstream, provider="compatible"), key=key(sessions_max=1)
    ) as relay:
        client, far = await relay.conversation(upstream)
        response = await refused(relay)
        assert only_line(stage) == (429, "session_limit_reached")
        await leave(client, far)
        await relay.log.session_ended()
        await relay.conversation(upstream)

    assert (response.status, header(response, "Retry-After")) == (429, "1")
    assert error_of(response) == {
        "type": "rate_limit_error",
        "param": None,
        "code": "session_limit_reached",
    }


async def test_requests_of_a_minute_that_are_used_up_are_429_until_they_are_back(
    stage: Stage,
) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(requests_per_minute=2), wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        for number in range(2):
            await turn(client, far, f"r{number}")
        response = await refused(relay)
        wall.now += float(header(response, "Retry-After") or "nan")
        await relay.conversation(upstream)

    assert response.status == 429
    assert 30 <= int(header(response, "Retry-After") or 0) <= 31, "half a minute for one of two"
    assert error_of(response)["code"] == "rate_limit_exceeded"
    line = await stage.log.refused()
    assert (line["status"], line["reason"]) == (429, "rate_limit_exceeded")
    assert "2 requests a minute" in line["message"]


async def test_tokens_of_a_minute_that_are_overdrawn_are_429_until_they_are_made_up_for(
    stage: Stage,
) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key(tokens_per_minute=100), wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_in=300, text_out=50)
        response = await refused(relay)
        wall.now += 149
        await refused(relay)
        wall.now += 2
        await relay.conversation(upstream)

    assert response.status == 429
    assert 150 <= int(header(response, "Retry-After") or 0) <= 151, "250 tokens at 100 a minute"
    assert error_of(response)["code"] == "rate_limit_exceeded"
    assert "100 tokens a minute" in (await stage.log.refused())["message"]


async def test_a_budget_that_is_spent_is_429_that_no_sdk_tries_again(stage: Stage) -> None:
    upstream, wall = await stage.upstream(), Wall()
    only = account(upstream, provider="compatible")
    limited = key("0.05")
    async with stage.relay(only, key=limited, prices=PRICES, wall=wall) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_out=5000)
        await ended_for("insufficient_quota", client, far)
        response = await refused(relay)
        wall.now += UNTIL_MIDNIGHT_S
        await relay.conversation(upstream)

    assert response.status == 429
    assert header(response, "x-should-retry") == "false"
    assert header(response, "Retry-After") == str(UNTIL_MIDNIGHT_S)
    assert error_of(response)["code"] == "insufficient_quota"
    line = await stage.log.refused()
    assert (line["status"], line["reason"]) == (429, "insufficient_quota")
    assert line["message"] == (
        "This key's budget of 0.05 US dollars a day is used up, or does not bear another turn."
        " It begins anew at 2026-11-03T00:00:00Z; the operator of this relay can raise it."
    )


async def test_a_model_without_a_price_is_403_under_a_budget(stage: Stage) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible")
    async with stage.relay(only, key=key("1"), prices=PRICES) as relay:
        response = await refused(relay, "/v1/realtime?model=gpt-unheard-of")
        assert only_line(stage) == (403, "model_not_priced")
        await relay.conversation(upstream)

    assert (response.status, error_of(response)) == (
        403,
        {"type": "permission_error", "param": "model", "code": "model_not_priced"},
    )


async def test_a_passthrough_account_without_a_price_is_403_under_a_budget(stage: Stage) -> None:
    upstream = await stage.upstream()
    accounts = (account(upstream, "echo"), account(upstream, "paid"))
    async with stage.relay(*accounts, key=key("1"), prices=PRICES) as relay:
        response = await refused(relay, "/relay/echo")
        assert only_line(stage, "passthrough") == (403, "model_not_priced")
        client = await relay.asking("/relay/paid")
        await upstream.accept_upgrade()
        await accepted(client)

    assert (response.status, error_of(response)["code"]) == (403, "model_not_priced")


async def test_without_a_budget_a_model_needs_no_price(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, provider="compatible")) as relay:
        client, far = await relay.conversation(upstream)
        await turn(client, far, "r1", text_in=10, text_out=10)
        await leave(client, far)
        await relay.log.session_ended()

    assert stage.log.of(LogEvent.TURN_ENDED)[0]["cost_usd"] is None
    assert len(stage.log.of(LogEvent.MODEL_UNPRICED)) == 1
