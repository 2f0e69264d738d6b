"""A strict WebSocket echo, as server and as client: the far end while relayd is examined.

It stands on wsproto, which has no opinion about sizes and fragments (one conformance case sends
65,536 of them) and checks text as it arrives. A violation of the peer's is answered with the Close
that RFC 6455 asks for, so that a conformance run against this echo alone has no failures: whatever
fails behind relayd is relayd's.
"""

import contextlib
from collections.abc import Mapping

import attrs
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

RECEIVE_BYTES = 65536
GOODBYE_S = 2.0


class Refused(Exception):
    """The upgrade was answered with another status than 101, which is the message."""


@attrs.define
class Peer:
    """One side of one connection, which has nothing to say but what the protocol demands."""

    connection: WSConnection
    closed: bool = False

    def answers(self, data: bytes) -> bytes:
        """Return the bytes to send after having received ``data``.

        Raises:
            Refused: it was a refusal of the upgrade.
        """
        self.connection.receive_data(data)
        out = bytearray()
        for event in self.connection.events():
            if answer := self.answer(event):
                out += self.connection.send(answer)
            if isinstance(event, CloseConnection):
                self.closed = True
                break
        return bytes(out)

    def answer(self, event: Event) -> Event | None:
        """Return what to say to one event; wsproto makes a violation a CloseConnection, too."""
        match event:
            case Request():
                return AcceptConnection()
            case RejectConnection():
                raise Refused(event.status_code)
            case Ping() | CloseConnection():
                return event.response()
        return None


@attrs.define
class Echo(Peer):
    """One that returns every message, whole and in one frame."""

    _text: list[str] = attrs.field(factory=list)
    _binary: list[bytes] = attrs.field(factory=list)

    def answer(self, event: Event) -> Event | None:
        """Return the message when its last part is there."""
        match event:
            case TextMessage():
                self._text.append(event.data)
                if event.message_finished:
                    text, self._text = "".join(self._text), []
                    return TextMessage(text)
            case BytesMessage():
                self._binary.append(bytes(event.data))
                if event.message_finished:
                    binary, self._binary = b"".join(self._binary), []
                    return BytesMessage(binary)
        return Peer.answer(self, event)


async def serve(stream: trio.SocketStream) -> None:
    """Accept one upgrade, whatever its path, and echo until the peer closes or is gone.

    Cancelling closes the connection at once.
    """
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await _converse(stream, Echo(WSConnection(ConnectionType.SERVER)))
            # RFC 6455 section 7.1.1: it is the server that ends the TCP connection. A reset could
            # overtake the Close that was just sent, so what still comes is read.
            await stream.send_eof()
            with trio.move_on_after(GOODBYE_S):
                await _read_to_the_end(stream)


async def dial(port: int, target: str, headers: Mapping[str, str]) -> None:
    """Open a connection to a server on 127.0.0.1, and echo until it closes or is gone.

    Cancelling closes the connection at once.

    Raises:
        Refused: the server did not upgrade.
        trio.TooSlowError: the server did not end the TCP connection after the closing handshake.
        OSError: there is no server.
    """
    await _call(port, target, headers, Echo(WSConnection(ConnectionType.CLIENT)))


async def hear_out(port: int, target: str) -> None:
    """The same without a word: whatever the server sends, wait until it closes or is gone."""
    await _call(port, target, {}, Peer(WSConnection(ConnectionType.CLIENT)))


async def _call(port: int, target: str, headers: Mapping[str, str], peer: Peer) -> None:
    extra_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = Request(host=f"127.0.0.1:{port}", target=target, extra_headers=extra_headers)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(peer.connection.send(request))
            await _converse(stream, peer)
            with trio.fail_after(GOODBYE_S):
                await _read_to_the_end(stream)


async def _converse(stream: trio.SocketStream, peer: Peer) -> None:
    while not peer.closed and (data := await stream.receive_some(RECEIVE_BYTES)):
        await stream.send_all(peer.answers(bytes(data)))


async def _read_to_the_end(stream: trio.SocketStream) -> None:
    while await stream.receive_some(RECEIVE_BYTES):
        pass
