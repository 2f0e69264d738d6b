"""The accept loop of a simulated upstream, and the boundary around each of its connections."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final, Generic, Never, Protocol, TypeVar

import attrs
import trio

CONNECTIONS_MAX: Final = 20_000
"""Connections at one time; over it a new one is closed at once."""

ACCEPTED_AT_ONCE_MAX: Final = 256
ACCEPT_PAUSE_S: Final = 0.1
"""After an accept that failed."""

_log = logging.getLogger(__name__)


class Upstream(Protocol):
    """What a dialect's simulator is: something that plays one connection."""

    base_path: str
    """What follows the address in an account's ``base_url``."""

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Play one connection until it is over, and close ``stream``."""


U = TypeVar("U", bound=Upstream)


@attrs.define
class SimServer(Generic[U]):
    """A simulated upstream that is listening.

    Attributes:
        upstream: What it plays; its scenario may be changed between connections.
        host: The address it listens on, as bound.
        port: The TCP port, as bound.
        is_tls: Whether it expects TLS.
        connections: Connections open now.
        connections_total: Connections accepted so far.
        crashes: Connections ended by a mistake of the simulator's own.
    """

    upstream: U
    host: str
    port: int
    is_tls: bool = False
    connections: int = 0
    connections_total: int = 0
    crashes: int = 0

    @property
    def address(self) -> str:
        """``host:port``, an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What an account that uses this upstream has as its ``base_url``."""
        scheme = "https" if self.is_tls else "http"
        return f"{scheme}://{self.address}{self.upstream.base_path}"

    async def _serve_connection(
        self, stream: trio.SocketStream, ssl_context: ssl.SSLContext | None
    ) -> None:
        """Play one connection; nothing that a peer does, or a bug, gets out of here."""
        if self.connections >= CONNECTIONS_MAX:
            await trio.aclose_forcefully(stream)
            return
        self.connections += 1
        self.connections_total += 1
        try:
            await self.upstream.serve_stream(_secured(stream, ssl_context))
        except Exception:  # noqa: BLE001  # the boundary: a bug at one connection ends no other
            self.crashes += 1
            _log.exception("a simulated connection crashed")
        finally:
            self.connections -= 1
            await trio.aclose_forcefully(stream)


async def serve(
    upstream: U,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[SimServer[U]] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Listen and play ``upstream`` to whoever connects, until cancelled.

    Args:
        upstream: What to play.
        host: A literal address or a name; of a name's addresses the first is taken.
        port: A TCP port; 0 takes a free one.
        ssl_context: Speak TLS with it; ``None`` is plain TCP.
        task_status: Is told the :class:`SimServer` as soon as it listens.

    Raises:
        OSError: The address cannot be bound.

    Cancelling this cuts every connection; no Close is sent.
    """
    first, *others = await trio.open_tcp_listeners(port, host=host)
    for listener in others:
        await listener.aclose()
    bound_host, bound_port = first.socket.getsockname()[:2]
    server = SimServer(upstream, bound_host, bound_port, is_tls=ssl_context is not None)

    async def handle(sock: trio.socket.SocketType) -> None:
        await server._serve_connection(trio.SocketStream(sock), ssl_context)

    task_status.started(server)
    async with first, trio.open_nursery() as connections:
        await _accept_all(first, lambda sock: connections.start_soon(handle, sock))


async def _accept_all(
    listener: trio.SocketListener, taken: Callable[[trio.socket.SocketType], None]
) -> Never:
    """Accept for ever: all that wait, each time.

    Trio's own loop takes one for each turn of its scheduler. With hundreds of answers on their
    way a turn takes long, and the last of hundreds of clients would wait for seconds.
    """
    with socket.socket(fileno=os.dup(listener.socket.fileno())) as sock:
        sock.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(sock)
            for _ in range(ACCEPTED_AT_ONCE_MAX):
                try:
                    accepted, _address = sock.accept()
                except BlockingIOError:
                    break
                except OSError:  # it is gone already, or no descriptor is left
                    await trio.sleep(ACCEPT_PAUSE_S)
                    break
                accepted.setblocking(False)
                taken(trio.socket.from_stdlib_socket(accepted))


def _secured(stream: trio.SocketStream, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    if ssl_context is None:
        return stream
    return trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=True)
