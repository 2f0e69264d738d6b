"""One HTTP request on one connection, which is closed behind the answer."""

from __future__ import annotations

import contextlib
import email.utils
from collections.abc import Iterator
from typing import Final

import attrs
import h11
import msgspec
import trio

HEAD_MAX_BYTES: Final = 32_768
BODY_MAX_BYTES: Final = 16 * 1024 * 1024
REQUEST_S: Final = 30.0
STALL_S: Final = 60.0
"""A client that takes no byte for this long is gone."""

_RECEIVE_BYTES: Final = 65_536


class ClientGone(Exception):
    """The client has closed, vanished, or broken the protocol."""


@attrs.frozen
class Received:
    """A request.

    Attributes:
        method: In upper case.
        target: Path and query.
        headers: By names in lower case; of several of one name, the last.
        body: Whole.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@attrs.define(eq=False)
class HttpWire:
    """The server's end of one connection.

    Attributes:
        stream: The connection.
        wall: The clock for the ``Date`` header, in Unix seconds.
    """

    stream: trio.abc.Stream
    wall: float
    _connection: h11.Connection = attrs.field(
        factory=lambda: h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES),
        init=False,
    )

    async def receive(self) -> Received:
        """The request, with its body.

        Raises:
            ClientGone: None came within ``REQUEST_S`` seconds and the limits, or it is no HTTP;
                an HTTP error has been sent where that made sense.
        """
        with trio.move_on_after(REQUEST_S):
            try:
                return await self._receive()
            except h11.RemoteProtocolError as mistake:
                await self.answer(mistake.error_status_hint, {"message": str(mistake)})
        raise ClientGone

    async def answer(self, status: int, body: object) -> None:
        """Send a whole response. Raises :class:`ClientGone`."""
        payload = msgspec.json.encode(body)
        length = ("Content-Length", str(len(payload)))
        await self._send(self._head(status, "application/json", length))
        await self._send(h11.Data(data=payload))
        await self._send(h11.EndOfMessage())

    async def begin_stream(self) -> None:
        """Send the head of a response of server-sent events. Raises :class:`ClientGone`."""
        chunked = ("Transfer-Encoding", "chunked")
        await self._send(self._head(200, "text/event-stream;charset=UTF-8", chunked))

    async def send_event(self, data: bytes) -> None:
        """Send one event; the service puts no space behind the colon."""
        await self._send(h11.Data(data=b"data:" + data + b"\n\n"))

    async def end_stream(self) -> None:
        """End the response. Raises :class:`ClientGone`."""
        await self._send(h11.EndOfMessage())

    async def close(self) -> None:
        """Close the connection behind a whole response."""
        with contextlib.suppress(ClientGone), _losing(), trio.move_on_after(STALL_S):
            await self.stream.aclose()

    async def wait_gone(self) -> None:
        """Return when the client has closed its end; what it still sends is dropped."""
        with contextlib.suppress(ClientGone), _losing():
            while await self.stream.receive_some(_RECEIVE_BYTES):
                pass

    async def _receive(self) -> Received:
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                with _losing():
                    data = await self.stream.receive_some(_RECEIVE_BYTES)
                self._connection.receive_data(bytes(data))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_MAX_BYTES:
                    raise h11.RemoteProtocolError("the body is too large", 413)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return _received(request, bytes(body))
            else:
                raise ClientGone

    def _head(self, status: int, kind: str, framing: tuple[str, str]) -> h11.Response:
        return h11.Response(
            status_code=status,
            headers=[
                ("Date", email.utils.formatdate(self.wall, usegmt=True)),
                ("Content-Type", kind),
                framing,
                ("Connection", "close"),
            ],
        )

    async def _send(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        data = self._connection.send(event)
        if not data:
            return
        with trio.move_on_after(STALL_S) as patience, _losing():
            await self.stream.send_all(data)
        if patience.cancelled_caught:
            raise ClientGone


def _received(request: h11.Request, body: bytes) -> Received:
    headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
    return Received(request.method.decode(), request.target.decode(), headers, body)


@contextlib.contextmanager
def _losing() -> Iterator[None]:
    """The one place that knows what Trio raises when a stream dies."""
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError) as lost:
        raise ClientGone from lost
