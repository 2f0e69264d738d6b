"""Where a session may lead and what goes along: redirects, proxies, headers of proxies."""

from __future__ import annotations

import select

import attrs
import pytest
import trio

from relayd.config.proxy import parse_proxy
from relayd.observe.events import LogEvent
from tests.faults.harness import (
    CREATED,
    PASSTHROUGH,
    REALTIME,
    Stage,
    Upstream,
    accepted,
    account,
    one_end,
)
from tests.faults.wire import TEXT, accepting, close, frame

PROXY_WORD = "canary-of-proxy"
ADDRESS = "203.0.113.77"


def nobody_came_to(upstream: Upstream) -> bool:
    """Whether nothing has connected to ``upstream``: the kernel would have it in its queue."""
    return select.select([upstream.sock], [], [], 0)[0] == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("path", "provider"), [(PASSTHROUGH, "websocket"), (REALTIME, "openai")])
async def test_a_redirect_is_a_failure_and_not_followed(
    stage: Stage, status: int, path: str, provider: str
) -> None:
    upstream, elsewhere = await stage.upstream(), await stage.upstream()
    location = f"http://127.0.0.1:{elsewhere.port}/latest/meta-data/"
    async with stage.relay(account(upstream, provider=provider)) as relay:
        client = await relay.asking(path)
        far = await upstream.accept()
        await far.head()
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        await far.send(head.encode())
        refusal = await relay.refusal(client)
        await far.end()
        assert nobody_came_to(elsewhere)

    assert refusal.status == 502
    assert b"meta-data" not in refusal.body
    assert one_end(stage.log)["reason"] == "upstream_refused"
    (failed,) = stage.log.of(LogEvent.UPSTREAM_FAILED)
    assert failed["reason"] == f"http_{status}"


@pytest.mark.parametrize("path", [PASSTHROUGH, REALTIME])
async def test_no_header_that_names_the_client_goes_upstream(stage: Stage, path: str) -> None:
    names = (
        *("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP", "Forwarded"),
        *("X-Forwarded-Host", "X-Forwarded-Proto", "Via"),
    )
    upstream = await stage.upstream()
    provider = "websocket" if path == PASSTHROUGH else "compatible"
    async with stage.relay(account(upstream, provider=provider)) as relay:
        client = await relay.asking(path, headers=dict.fromkeys(names, f"for={ADDRESS}"))
        far = await upstream.accept()
        request = await far.head()
        await far.send(accepting(request) + frame(TEXT, CREATED, masked=False))
        await accepted(client)
        await client.send(close(1000))
        await far.goodbye()

    assert ADDRESS.encode() not in far.seen
    for name in names:
        assert name.lower().encode() not in bytes(far.seen).lower()


async def test_a_session_runs_through_the_account_s_proxy(stage: Stage) -> None:
    proxy = await stage.upstream()
    url = f"http://user:{PROXY_WORD}@127.0.0.1:{proxy.port}"
    behind = attrs.evolve(
        account(1), base_url="http://upstream.example:8080", proxy=parse_proxy(url)
    )
    async with stage.relay(behind) as relay:
        client = await relay.asking()
        far = await proxy.accept()
        assert (await far.head()).startswith(b"CONNECT upstream.example:8080 HTTP/1.1\r\n")
        await far.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await far.send(accepting(await far.head()))
        await accepted(client)
        await client.send(frame(TEXT, b"hello"))
        assert (await far.frame()).payload == b"hello"
        await client.send(close(1000))
        await far.goodbye()
        await client.goodbye()

    assert one_end(stage.log)["reason"] == "client_closed"


async def test_a_proxy_that_refuses_is_told_without_its_password(stage: Stage) -> None:
    proxy = await stage.upstream()
    url = f"http://user:{PROXY_WORD}@127.0.0.1:{proxy.port}"
    async with stage.relay(attrs.evolve(account(1), proxy=parse_proxy(url))) as relay:
        client = await relay.asking()
        far = await proxy.accept()
        await far.head()
        await far.send(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
        refusal = await relay.refusal(client)

    assert refusal.status == 502
    assert b"does not take the user name and password in accounts.proxy" in refusal.body
    assert PROXY_WORD.encode() not in client.seen
    assert PROXY_WORD.encode() not in stage.log.getvalue()


@pytest.mark.parametrize("allow_private", [False, True])
async def test_a_name_leads_into_the_own_network_only_if_that_is_allowed(
    stage: Stage, allow_private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(host: str, port: int, **hints: int) -> list[object]:
        await trio.lowlevel.checkpoint()
        assert host == "upstream.example"
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    upstream = await stage.upstream()
    named = attrs.evolve(
        account(upstream),
        base_url=f"ws://upstream.example:{upstream.port}",
        allow_private=allow_private,
    )
    async with stage.relay(named) as relay:
        client = await relay.asking()
        if allow_private:
            far = await upstream.accept_upgrade()
            await accepted(client)
            await client.send(close(1000))
            await far.goodbye()
        else:
            refusal = await relay.refusal(client)
            assert nobody_came_to(upstream)
            assert refusal.status == 502
            assert b"set allow_private = true" in refusal.body
            assert b"127.0.0.1" not in refusal.body
            (failed,) = stage.log.of(LogEvent.UPSTREAM_FAILED)
            assert failed["reason"] == "address_refused"
