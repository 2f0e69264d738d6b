"""The public port without an upgrade, behind proxies, and while relayd drains."""

from __future__ import annotations

import ipaddress
import json

import attrs
import pytest
import trio

from relayd.config.schema import KeySettings
from relayd.config.secret import KeyDigest
from relayd.observe.events import LogEvent
from tests.faults.harness import (
    BEARER,
    CLIENT_KEY,
    LIMITS,
    PASSTHROUGH,
    REALTIME,
    Relay,
    Stage,
    accepted,
    account,
)
from tests.faults.wire import Ending, Response, Wire, upgrade

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
MODELS = "/v1/models"
KEY = KeySettings(name="dev", secret=KeyDigest.of(CLIENT_KEY))


def request(method: str, path: str, headers: dict[str, str] | None = None) -> bytes:
    lines = {"Host": "relayd.test"} | (BEARER if headers is None else headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode()


async def answer(wire: Wire, method: str = "GET") -> Response:
    """The next response of a connection that stays open."""
    head = await wire.head()
    lengths = [
        int(line.partition(":")[2])
        for line in head.decode().split("\r\n")
        if line.lower().startswith("content-length:")
    ]
    length = 0 if method == "HEAD" else sum(lengths)
    while len(wire.buffer) < length:
        wire.buffer += await wire.receive()
    body = bytes(wire.buffer[:length])
    del wire.buffer[:length]
    return Response.parse(head + body)


async def asked(
    relay: Relay, method: str, path: str, headers: dict[str, str] | None = None
) -> Response:
    """The answer to one request on a connection of its own."""
    wire = await relay.client()
    await wire.send(request(method, path, headers))
    return await answer(wire, method)


def code_of(response: Response) -> str:
    code = json.loads(response.body)["error"]["code"]
    assert isinstance(code, str)
    return code


async def test_a_key_sees_the_models_it_may_ask_for(stage: Stage) -> None:
    named = account(9, "a", provider="compatible", models=("gpt-realtime", "gpt-*", "other"))
    key = attrs.evolve(KEY, models=("gpt-*",))
    async with stage.relay(named, key=key) as relay:
        response = await asked(relay, "GET", MODELS)

    assert response.status == 200
    assert json.loads(response.body) == {
        "object": "list",
        "data": [{"id": "gpt-realtime", "object": "model", "created": 0, "owned_by": "relayd"}],
    }
    assert "x-request-id: req_" in response.head.lower()


async def test_many_requests_share_a_connection_and_each_is_a_line(stage: Stage) -> None:
    async with stage.relay(account(9)) as relay:
        wire = await relay.client()
        for _ in range(3):
            await wire.send(request("GET", MODELS))
            assert (await answer(wire)).status == 200
        line = await relay.log.wait(LogEvent.REQUEST_ENDED, 3)

    assert (line["route"], line["status"], line["key"]) == (MODELS, 200, "dev")
    assert (line["outcome"], line["client_address"]) == ("complete", "127.0.0.1")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", MODELS, {}, 401, "missing_api_key"),
        ("GET", MODELS, {"Authorization": "Bearer nobody's"}, 401, "invalid_api_key"),
        ("POST", MODELS, None, 405, "method_not_allowed"),
        ("GET", MODELS, BEARER | {"Origin": "https://evil.test"}, 403, "origin_not_allowed"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("GET", REALTIME, None, 426, "upgrade_required"),
    ],
)
async def test_what_cannot_be_answered_says_why_in_the_usual_shape(
    stage: Stage, method: str, path: str, headers: dict[str, str] | None, status: int, code: str
) -> None:
    async with stage.relay(account(9)) as relay:
        response = await asked(relay, method, path, headers)

    assert (response.status, code_of(response)) == (status, code)


async def test_a_head_request_gets_the_head_alone(stage: Stage) -> None:
    async with stage.relay(account(9)) as relay:
        wire = await relay.client()
        await wire.send(request("HEAD", MODELS))
        head = await answer(wire, "HEAD")
        await wire.send(request("GET", MODELS))
        whole = await answer(wire)

    assert head.status == whole.status == 200
    assert head.body == b""
    assert whole.body != b""


async def test_a_key_that_has_expired_or_is_elsewhere_is_refused_here_too(stage: Stage) -> None:
    elsewhere = attrs.evolve(KEY, allowed_ips=(ipaddress.ip_network("192.0.2.0/24"),))
    async with stage.relay(account(9), key=elsewhere) as relay:
        response = await asked(relay, "GET", MODELS)

    assert (response.status, code_of(response)) == (403, "address_not_allowed")


async def test_a_drain_ends_a_connection_that_waits_for_its_next_request(stage: Stage) -> None:
    async with stage.relay(account(9)) as relay:
        wire = await relay.client()
        await wire.send(request("GET", MODELS))
        await answer(wire)

        relay.running.drain()

        assert await wire.end() is Ending.FIN
        await relay.stopped()


# -- who the client is


async def test_a_trusted_proxy_s_word_is_the_client_s_address(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream), trusted_proxies=(LOOPBACK,)) as relay:
        headers = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}
        client = await relay.asking(headers=headers | {"Authorization": "Bearer nobody's"})
        await relay.refusal(client)
        line = await relay.log.refused()

        client = await relay.asking(headers=headers)
        far = await upstream.accept()
        head = await far.head()

    assert line["client_address"] == "203.0.113.9"
    assert b"203.0.113" not in head
    assert b"forwarded" not in head.lower()


async def test_a_proxy_may_send_several_clients_over_one_connection(stage: Stage) -> None:
    only = attrs.evolve(KEY, allowed_ips=(ipaddress.ip_network("203.0.113.9"),))
    async with stage.relay(account(9), key=only, trusted_proxies=(LOOPBACK,)) as relay:
        wire = await relay.client()
        statuses = []
        for address in ("203.0.113.9", "203.0.113.10"):
            await wire.send(request("GET", MODELS, BEARER | {"X-Forwarded-For": address}))
            statuses.append((await answer(wire)).status)
        line = await relay.log.wait(LogEvent.REQUEST_ENDED, 2)

    assert statuses == [200, 403]
    assert line["client_address"] == "203.0.113.10"


async def test_nobody_else_is_believed(stage: Stage) -> None:
    async with stage.relay(account(9)) as relay:
        client = await relay.asking(headers={"X-Forwarded-For": "203.0.113.9", "Authorization": ""})
        await relay.refusal(client)
        line = await relay.log.refused()

    assert line["client_address"] == "127.0.0.1"


V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
    + ipaddress.ip_address("203.0.113.9").packed
    + ipaddress.ip_address("198.51.100.1").packed
    + (4711).to_bytes(2, "big")
    + (443).to_bytes(2, "big")
)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
async def test_a_proxy_header_names_the_client(stage: Stage, header: bytes) -> None:
    upstream = await stage.upstream()
    only = attrs.evolve(KEY, allowed_ips=(ipaddress.ip_network("203.0.113.9"),))
    async with stage.relay(
        account(upstream), key=only, trusted_proxies=(LOOPBACK,), proxy_protocol=True
    ) as relay:
        client = await relay.client()
        await client.drip(header)
        await client.send(upgrade(PASSTHROUGH, BEARER))
        await upstream.accept_upgrade()
        await accepted(client)
        client.reset()
        line = await relay.log.session_ended()

    assert line["reason"] == "client_gone"
    assert stage.log.of(LogEvent.CONNECTION_REFUSED) == []


@pytest.mark.parametrize(
    ("trusted", "first"),
    [((LOOPBACK,), b""), ((ipaddress.ip_network("192.0.2.0/24"),), V1)],
    ids=["no header", "no proxy"],
)
async def test_behind_a_proxy_nobody_comes_in_without_one(
    stage: Stage, trusted: tuple[ipaddress.IPv4Network, ...], first: bytes
) -> None:
    async with stage.relay(account(9), trusted_proxies=trusted, proxy_protocol=True) as relay:
        client = await relay.client()
        await client.send(first + upgrade(PASSTHROUGH, BEARER))
        await client.end()
        line = await relay.log.refused()

    assert line["reason"] in {"malformed_request", "address_not_allowed"}
    assert line["status"] in {400, 403}


async def test_a_slow_head_counts_on_a_connection_that_was_served_before_too(
    stage: Stage,
) -> None:
    limits = attrs.evolve(LIMITS, handshakes_per_ip_max=1)
    async with stage.relay(account(9), limits=limits) as relay:
        old, new = await relay.client(), await relay.client()
        for wire in (old, new):
            await wire.send(request("GET", MODELS))
            await answer(wire)
        for wire in (old, new):
            await wire.send(b"GET ")
            await trio.sleep(0.1)
        refused = await answer(old)
        await new.send(request("GET", MODELS)[4:])
        served = await answer(new)

    assert (refused.status, code_of(refused), served.status) == (408, "head_timeout", 200)
    assert b"Too many" in refused.body
