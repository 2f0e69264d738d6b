"""An HTTP connection on a pair of sockets, and a client whose every byte the test controls."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import h11
import trio

from relayd.core.hold import HoldBudget
from relayd.protocol.http1 import RequestReader
from relayd.service.acceptor import Reading, read_within
from relayd.service.http.connection import HttpConnection
from relayd.service.http.incoming import RECEIVE_BYTES
from relayd.service.http.request import Request
from relayd.service.http.responses import Response, Text
from relayd.service.http.service import HttpLimits, RequestFacts, Service

HOLD_MAX_BYTES = 1 << 20
LIMITS = HttpLimits(head_max_bytes=8192, body_max_bytes=200_000, head_s=10.0, stall_s=15.0)
HOST = "Host: relay.example\r\n"


@attrs.frozen
class Reply:
    """A response, as h11 has read it."""

    status: int
    headers: dict[str, str]
    body: bytes
    continued: bool

    @property
    def closes(self) -> bool:
        """Whether it is the last one of its connection."""
        return self.headers.get("connection") == "close"


@attrs.define(eq=False)
class Client:
    """The other end."""

    sock: trio.socket.SocketType
    behind: bytes = b""

    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        rest = memoryview(data)
        while rest:
            rest = rest[await self.sock.send(rest) :]

    def send_at_once(self, data: bytes) -> None:
        """Send ``data`` while no other task runs."""
        with socket.socket(fileno=os.dup(self.sock.fileno())) as sock:
            assert sock.send(data) == len(data)

    async def ask(self, method: str, path: str, body: bytes = b"", *headers: str) -> Reply:
        """Send a request, and read its response."""
        await self.send(request(method, path, body, *headers))
        return await self.reply(method)

    async def reply(self, method: str = "GET") -> Reply:
        """The next response, to a request with ``method``; a cut one is h11's error."""
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "relay")]))
        connection.send(h11.EndOfMessage())
        if self.behind:
            connection.receive_data(self.behind)
        status, headers, body, continued = 0, {}, b"", False
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await self.sock.recv(65536))
            elif isinstance(event, h11.InformationalResponse):
                continued = event.status_code == 100
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                self.behind = connection.trailing_data[0]
                return Reply(status, headers, body, continued)

    async def until(self, text: bytes) -> bytes:
        """All that comes until ``text`` has come, with what came with it."""
        while text not in self.behind:
            data = await self.sock.recv(65536)
            assert data, f"the stream ended after {self.behind!r}"
            self.behind += data
        seen, self.behind = self.behind, b""
        return seen

    async def rest(self) -> bytes:
        """All that comes until the end of the stream."""
        while data := await self.sock.recv(65536):
            self.behind += data
        return self.behind

    def has_more(self) -> bool:
        """Whether something has come that was not read, or the end has."""
        return bool(select.select([self.sock.fileno()], [], [], 0)[0])

    def finish(self) -> None:
        """Close the sending direction alone."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST, where the sockets are TCP's."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@attrs.define(eq=False)
class Stage:
    """Serves connections as the door does; ``seen`` are the requests that reached the handler."""

    handler: Callable[[Request], Awaitable[Response]] | None = None
    limits: HttpLimits = LIMITS
    closing: bool = False
    reading: Reading = read_within
    hold: HoldBudget = attrs.field(factory=lambda: HoldBudget(HOLD_MAX_BYTES))
    facts: list[RequestFacts] = attrs.field(factory=list)
    seen: list[Request] = attrs.field(factory=list)
    connection: HttpConnection | None = None
    ended_at: float | None = None

    @property
    def service(self) -> Service:
        """What its connections share."""
        return Service(
            limits=self.limits,
            handler=self._handle,
            hold=self.hold,
            closing=lambda: self.closing,
            tell=self.facts.append,
        )

    @contextlib.asynccontextmanager
    async def client(self, *, tcp: bool = False, send_buffer: int = 0) -> AsyncIterator[Client]:
        """A connected client; afterwards it leaves, and its connection has been served."""
        near, far = pair(tcp=tcp)
        if send_buffer:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        near.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.serve, near)
            with trio.socket.from_stdlib_socket(far) as sock:
                yield Client(sock)
        assert self.hold.bytes_held == 0

    async def serve(self, sock: socket.socket) -> None:
        """Serve one connection from its first byte."""
        with sock:
            reader = RequestReader(self.limits.head_max_bytes)
            head = None
            while head is None:
                await trio.lowlevel.wait_readable(sock)
                data = sock.recv(RECEIVE_BYTES)
                if not data:
                    return
                head = reader.feed(data)
            self.connection = HttpConnection(
                sock=sock,
                client_address=lambda _: "192.0.2.1",
                service=self.service,
                reading=self.reading,
            )
            await self.connection.serve(head, reader.leftover)
            self.ended_at = trio.current_time()

    async def _handle(self, request: Request) -> Response:
        self.seen.append(request)
        if self.handler is not None:
            return await self.handler(request)
        return Text(b"%b %b" % (request.path.encode(), await request.body()))


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """The bytes of a request; with a body, its length is told."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    more = "".join(f"{header}\r\n" for header in headers)
    return f"{method} {path} HTTP/1.1\r\n{HOST}{length}{more}\r\n".encode() + body


def pair(*, tcp: bool) -> tuple[socket.socket, socket.socket]:
    """relayd's end and the client's."""
    if not tcp:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    return near, far
