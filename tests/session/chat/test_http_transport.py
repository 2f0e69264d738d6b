"""HTTP over relayd's own dialling: TLS, authorities and address rules are the account's."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx
import pytest
import trio
import trustme

from relayd.config.proxy import Proxy, ProxyKind
from relayd.config.snapshot import Account
from relayd.config.url import Url
from relayd.core.hold import HoldBudget
from relayd.observe.bus import Bus
from relayd.routing.roster import Roster
from relayd.session.chat.http_transport import RelayedTransport
from relayd.session.connecting import Connector
from relayd.transport import tls
from relayd.transport.egress import ProxyError
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.resolve import Address, Resolver
from tests.session.chat import accounts

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@attrs.define(eq=False)
class Stage:
    """An upstream, and how to ask it."""

    nursery: trio.Nursery
    heard: list[bytes] = attrs.Factory(list)
    contexts: dict[str | None, ssl.SSLContext] = attrs.Factory(dict)

    async def listen(self, context: ssl.SSLContext | None = None) -> int:
        """An upstream that answers anything; its port."""

        async def answer(stream: trio.SocketStream) -> None:
            both: trio.abc.Stream = stream
            if context is not None:
                both = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            try:
                self.heard.append(bytes(await both.receive_some(65536)))
                await both.send_all(ANSWER)
            except trio.BrokenResourceError:
                pass  # it was not trusted
            finally:
                await trio.aclose_forcefully(both)

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.nursery.start_soon(trio.serve_listeners, answer, [listener])
        port: int = listener.socket.getsockname()[1]
        return port

    async def get(self, account: Account, url: Url) -> bytes:
        connector = Connector(
            roster=Roster.of([account]),
            resolver=Resolver(self.nursery),
            contexts=self.contexts,
            hold=HoldBudget(1000),
            bus=Bus(),
        )
        transport = RelayedTransport(connector, account, url)
        scheme = "https" if url.tls else "http"
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            response = await client.get(f"{scheme}://{url.authority}/x")
            return response.content


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with made() as found:
        yield found


@asynccontextmanager
async def made() -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        yield Stage(nursery)
        nursery.cancel_scope.cancel()


def at(port: int, host: str = "127.0.0.1", *, secure: bool = False) -> Url:
    return Url(tls=secure, host=host, port=port, path="", is_literal=host == "127.0.0.1")


async def test_a_request_and_its_answer(stage: Stage) -> None:
    assert await stage.get(accounts.spark(), at(await stage.listen())) == b"ok"
    assert stage.heard[0].startswith(b"GET /x HTTP/1.1\r\n")


async def test_the_accounts_authorities_are_trusted(stage: Stage, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    stage.contexts = {str(ca): tls.client_context(ca), None: tls.client_context(None)}
    url = at(await stage.listen(context), secure=True)

    assert await stage.get(accounts.spark(tls_ca=str(ca)), url) == b"ok"
    with pytest.raises(DialError) as caught:
        await stage.get(accounts.spark(), url)
    assert caught.value.kind is DialErrorKind.CERTIFICATE_REFUSED


async def test_a_name_that_leads_inside_is_not_dialled(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def inside(self: Resolver, host: str, port: int) -> tuple[Address, ...]:
        return (Address(socket.AF_INET, ("127.0.0.1", port)),)

    monkeypatch.setattr(Resolver, "resolve", inside)
    url = at(await stage.listen(), "api.example")
    with pytest.raises(DialError) as caught:
        await stage.get(accounts.spark(), url)
    assert caught.value.kind is DialErrorKind.ADDRESS_REFUSED
    assert stage.heard == []
    assert await stage.get(accounts.spark(allow_private=True), url) == b"ok"


async def test_the_accounts_proxy_is_used(stage: Stage) -> None:
    port = await stage.listen()
    proxy = Proxy(kind=ProxyKind.HTTP, host="127.0.0.1", port=port, is_literal=True)
    with pytest.raises(ProxyError):  # it answers at once, as no proxy does
        await stage.get(accounts.spark(proxy=proxy), at(9, "api.example"))
    assert stage.heard[0].startswith(b"CONNECT api.example:9 HTTP/1.1\r\n")


async def test_a_connection_that_is_hung_up_can_be_read_no_more(stage: Stage) -> None:
    account, port = accounts.spark(), await stage.listen()
    connector = Connector(
        roster=Roster.of([account]),
        resolver=Resolver(stage.nursery),
        contexts={},
        hold=HoldBudget(1000),
        bus=Bus(),
    )
    transport = RelayedTransport(connector, account, at(port))
    transport.hang_up()  # there is none yet
    request = httpx.Request("GET", f"http://127.0.0.1:{port}/")
    response = await transport.handle_async_request(request)
    chunks = response.aiter_raw()
    assert await anext(chunks) == b"ok"
    transport.hang_up()
    with pytest.raises((StopAsyncIteration, DialError)):
        await anext(chunks)
    await response.aclose()
    await transport.aclose()
