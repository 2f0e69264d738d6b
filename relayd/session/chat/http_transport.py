"""httpx over relayd's own dialling: the account's rules hold for HTTP as they do for WebSockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable
from ssl import SSLContext

import attrs
import httpcore
import httpx
import trio

from relayd.config.snapshot import Account
from relayd.config.url import Url
from relayd.session.connecting import Connector
from relayd.transport import egress, raw, tls


@attrs.define(eq=False)
class _Stream(httpcore.AsyncNetworkStream):
    """One connection. What goes wrong raises :class:`~relayd.transport.errors.DialError`."""

    sock: socket.socket
    deadline: float
    backend: _Backend

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        """The next bytes; the caller's cancel scope is the only deadline."""
        return await raw.receive(self.sock, max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        """Send all of it."""
        await raw.send_all(self.sock, buffer)

    async def aclose(self) -> None:
        """Close it, without waiting."""
        self.sock.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        """TLS, with the upstream's name verified."""
        assert server_hostname is not None, "a URL has a host"
        sock = await tls.start_client(
            self.sock, ssl_context, server_hostname, deadline=self.deadline
        )
        self.backend.sock = sock
        return _Stream(sock, self.deadline, self.backend)

    def get_extra_info(self, info: str) -> None:
        """There is none: HTTP/1.1 is all that is spoken."""
        return


@attrs.define(eq=False)
class _Backend(httpcore.AsyncNetworkBackend):
    """Dials where the account's interface is, and nowhere else."""

    connector: Connector
    account: Account
    url: Url
    sock: socket.socket | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect within the account's ``connect_s``."""
        assert (host, port) == (self.url.host, self.url.port), "nothing is followed elsewhere"
        deadline = trio.current_time() + self.account.timeouts.connect_s
        sock = await egress.connect(
            self.url, self.account, resolver=self.connector.resolver, deadline=deadline
        )
        self.sock = sock
        return _Stream(sock, deadline, self)

    async def sleep(self, seconds: float) -> None:
        """Between httpcore's own attempts, of which there are none."""
        await trio.sleep(seconds)


@attrs.define(eq=False)
class _Body(httpx.AsyncByteStream):
    """The body of a response."""

    response: httpcore.Response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self.response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        """Close the connection."""
        await self.response.aclose()


class RelayedTransport(httpx.AsyncBaseTransport):
    """Sends one request to ``url`` on a connection of its own.

    Its errors are :class:`~relayd.transport.errors.DialError` and those of httpcore.
    """

    def __init__(self, connector: Connector, account: Account, url: Url) -> None:
        self._backend = _Backend(connector, account, url)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=connector.contexts[account.tls_ca] if url.tls else None,
            max_connections=1,
            max_keepalive_connections=0,
            retries=0,
            network_backend=self._backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response))

    def hang_up(self) -> None:
        """Close the connection, whatever it is in the middle of: to read on raises an error."""
        if self._backend.sock is not None:
            self._backend.sock.close()

    async def aclose(self) -> None:
        """Close what is open."""
        await self._pool.aclose()
