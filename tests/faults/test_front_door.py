"""Peers that misbehave before the 101. Attackers come from 127.0.0.2 and up."""

from __future__ import annotations

import json

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent
from tests.faults.harness import BEARER, LIMITS, PASSTHROUGH, REALTIME, Stage, account, one_end
from tests.faults.wire import TEXT, Ending, close, frame, prefixes, upgrade

ATTACKER = "127.0.0.2"
REQUEST = upgrade(PASSTHROUGH, BEARER)


async def test_a_head_that_never_ends_is_408_at_its_deadline(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, handshake_s=0.3)
    async with stage.relay(account(upstream), limits=limits) as relay:
        slow = await relay.client(source=ATTACKER)
        began = trio.current_time()
        await slow.drip(REQUEST[:-1])
        response = await relay.refusal(slow)
        took_s = trio.current_time() - began

    assert response.status == 408
    assert json.loads(response.body)["error"]["code"] == "head_timeout"
    assert one_end(stage.log)["client_address"] == ATTACKER
    assert took_s < 1.0


async def test_a_silent_connection_is_408_at_the_same_deadline(stage: Stage) -> None:
    limits = attrs.evolve(LIMITS, handshake_s=0.2)
    async with stage.relay(limits=limits) as relay:
        assert (await relay.refusal(await relay.client(source=ATTACKER))).status == 408


async def test_over_the_cap_the_oldest_slow_head_of_the_address_goes_and_others_get_in(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, handshake_s=5.0, handshakes_per_ip_max=3)
    async with stage.relay(account(upstream), limits=limits) as relay:
        slow = []
        for _ in range(5):
            slow.append(await relay.client(source=ATTACKER))
            await slow[-1].send(REQUEST[:20])
        await relay.log.refused(2)
        assert [(await relay.refusal(wire)).status for wire in slow[:2]] == [408, 408]

        client, far = await relay.session(upstream)  # from another address: unharmed
        await client.send(close(1000))
        await far.goodbye()
        await client.goodbye()
        for wire in slow[2:]:
            await wire.send(REQUEST[20:])  # and those that are left may go on
            other = await upstream.accept_upgrade()
            await wire.head()
            await wire.send(close(1000))
            await other.goodbye()
            await wire.goodbye()
        await relay.log.session_ended(4)

    lines = stage.log.of(LogEvent.CONNECTION_REFUSED)
    assert [(line["status"], line["client_address"]) for line in lines] == [(408, ATTACKER)] * 2


async def test_a_burst_of_quick_heads_is_no_flood(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, handshakes_per_ip_max=2)
    async with stage.relay(account(upstream), limits=limits) as relay:
        clients = [await relay.asking() for _ in range(10)]
        for _ in clients:
            await upstream.accept_upgrade()
        for client in clients:
            await client.head()

    assert stage.log.of(LogEvent.CONNECTION_REFUSED) == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 7000,
        b"GET / HTTP/1.1\r\nX: " + b"y" * 40000,
        b"GET /" + b"a" * 40000,
    ],
    ids=["many", "long", "target"],
)
async def test_a_header_bomb_is_431(stage: Stage, head: bytes) -> None:
    async with stage.relay() as relay:
        client = await relay.client(source=ATTACKER)
        await client.send(head)
        response = await relay.refusal(client)

    assert response.status == 431
    assert one_end(stage.log)["reason"] == "head_too_large"


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_may_leave_at_each_byte_of_its_handshake(stage: Stage, how: str) -> None:
    """Whatever it has said so far: one line, ``client_gone``, and relayd goes on."""
    upstream = await stage.upstream()
    count = 0
    async with stage.relay(account(upstream)) as relay:
        for beginning in prefixes(REQUEST):
            client = await relay.client(source=ATTACKER)
            await client.send(beginning)
            if how == "fin":
                await client.finish()
                await client.end()
                client.close()
            else:
                client.reset()
            count += 1
        await relay.log.refused(count)
        client, far = await relay.session(upstream)
        await client.send(frame(TEXT, b"alive"))
        assert (await far.frame()).payload == b"alive"

    lines = stage.log.of(LogEvent.CONNECTION_REFUSED)
    assert {(line["status"], line["reason"]) for line in lines} == {(0, "client_gone")}
    assert len(lines) == len(REQUEST)


@pytest.mark.parametrize("together", [True, False], ids=["one-segment", "later"])
async def test_bytes_before_the_101_are_400(stage: Stage, together: bool) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await relay.client(source=ATTACKER)
        early = frame(TEXT, b"impatient")
        await client.send(REQUEST + early if together else REQUEST)
        if not together:
            far = await upstream.accept()
            await far.head()
            await client.send(early)
            assert await far.end() in (Ending.FIN, Ending.RESET)
        response = await relay.refusal(client)

    assert response.status == 400
    line = one_end(stage.log)
    assert (line["status"], line["reason"]) == (400, "early_bytes")


@pytest.mark.parametrize("stage_of_it", ["dialled", "upgraded"])
@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_that_leaves_during_admission_takes_its_upstream_along(
    stage: Stage, how: str, stage_of_it: str
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, provider="compatible")) as relay:
        client = await relay.asking(REALTIME)
        far = await (upstream.accept_upgrade() if stage_of_it == "upgraded" else upstream.accept())
        if how == "fin":
            await client.finish()
        else:
            client.reset()
        await far.end()
        line = await relay.log.refused()

    assert one_end(stage.log) == line
    assert (line["status"], line["reason"], line["key"]) == (0, "client_gone", "dev")


@pytest.mark.parametrize(
    ("path", "headers", "status", "reason"),
    [
        (PASSTHROUGH, {"Authorization": "Bearer wrong-key-altogether"}, 401, "invalid_api_key"),
        (PASSTHROUGH, {"Authorization": ""}, 401, None),
        ("/nowhere", {}, 404, "not_found"),
        (PASSTHROUGH, {"Origin": "https://evil.example"}, 403, "origin_not_allowed"),
        (PASSTHROUGH, {"Sec-WebSocket-Version": "12"}, 426, "websocket_version"),
        (PASSTHROUGH, {"Upgrade": "h2c"}, 426, "upgrade_required"),
        (PASSTHROUGH, {"Sec-WebSocket-Key": "short"}, 400, "malformed_request"),
        (PASSTHROUGH, {"Content-Length": "5"}, 400, "malformed_request"),
        (REALTIME, {"OpenAI-Beta": "realtime=v1"}, 400, "beta_api_shape_disabled"),
        ("/v1/realtime?model=unknown", {}, 503, "no_account"),
    ],
    ids=[
        *("wrong-key", "no-key", "path", "origin", "version", "upgrade", "key", "body", "beta"),
        "model",
    ],
)
async def test_every_refusal_is_one_line_and_an_error_in_openai_s_shape(
    stage: Stage, path: str, headers: dict[str, str], status: int, reason: str | None
) -> None:
    upstream = await stage.upstream()
    only = account(upstream, provider="compatible", models=("gpt-realtime",))
    async with stage.relay(only) as relay:
        response = await relay.refusal(await relay.asking(path, headers=headers))

    line = one_end(stage.log)
    error = json.loads(response.body)["error"]
    assert (response.status, line["status"]) == (status, status)
    assert error["code"] == line["reason"]
    assert reason in (None, line["reason"])
    assert error["message"]


async def test_the_same_host_may_be_an_origin(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await relay.asking(headers={"Origin": "http://relayd.test"})
        await upstream.accept_upgrade()
        assert b" 101 " in await client.head()


async def test_over_sessions_max_new_clients_hear_503(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, sessions_max=1)
    async with stage.relay(account(upstream), limits=limits) as relay:
        client, far = await relay.session(upstream)
        assert (await relay.refusal(await relay.asking())).status == 503
        await client.send(close(1000))
        await far.goodbye()
        await client.goodbye()
        await relay.log.session_ended()
        await relay.session(upstream)

    assert stage.log.of(LogEvent.CONNECTION_REFUSED)[0]["reason"] == "overload"
