"""One accepted WebSocket of a simulated upstream: a thin Trio shell over a sans-IO protocol.

The protocol is that of ``websockets``, which is strict, answers pings and reports an error to
the peer before it hangs up. A ready-made server would do neither what a failing upstream does
(half a frame and a reset, a masked frame, a Close and a FIN at once) nor survive every peer.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import trio
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

RECEIVE_MAX_BYTES: Final = 65_536
MESSAGE_MAX_BYTES: Final = 64 * 1024 * 1024
EMPTY_FRAGMENTS_MAX: Final = 64
"""Empty fragments in a row that a message may be continued with; none is of any use."""
HEAD_MAX_BYTES: Final = 32_768
HANDSHAKE_S: Final = 10.0
STALL_S: Final = 60.0
"""A peer that takes no byte for this long is gone."""
CLOSE_WAIT_S: Final = 2.0
FLUSH_WAIT_S: Final = 1.0
"""How long a reset waits for the bytes before it to leave this host."""
_FLUSH_POLL_S: Final = 0.005

SubprotocolChoice = Callable[[Sequence[str]], str | None]


class PeerGone(Exception):
    """The peer closed, vanished or broke the protocol: this connection is over.

    Attributes:
        code: The close code the peer sent, ``None`` where it sent none.
    """

    def __init__(self, code: int | None = None) -> None:
        super().__init__(code)
        self.code = code


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True, masked: bool = False) -> bytes:
    """One frame's bytes, for what no well-behaved protocol object would send."""
    return Frame(opcode, payload, fin).serialize(mask=masked)


class Link:
    """A WebSocket server's end of one connection.

    One task receives, any number send: sends take turns, whole messages each. A send that is
    cancelled half-way leaves the stream inside a frame; the link then refuses to speak again.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        choose_subprotocol: SubprotocolChoice,
        message_max_bytes: int = MESSAGE_MAX_BYTES,
    ) -> None:
        def choose(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
            chosen = choose_subprotocol(offered)
            return None if chosen is None else Subprotocol(chosen)

        self._stream = stream
        self._protocol = ServerProtocol(select_subprotocol=choose, max_size=message_max_bytes)
        self._turn_to_send = trio.Lock()
        self._frames: deque[Frame] = deque()
        self._payload = bytearray()
        self._is_text = True
        self._empty_in_a_row = 0
        self._torn = False
        self._fin_sent = False

    async def request(self) -> Request:
        """The upgrade request's head.

        Raises:
            PeerGone: No head came within ``HANDSHAKE_S`` seconds or ``HEAD_MAX_BYTES`` bytes, or
                what came is no HTTP; an HTTP error has been sent where that made sense. Or
                frames came with it, which RFC 6455 section 4.1 makes a client wait with.
        """
        received_bytes = 0
        with trio.move_on_after(HANDSHAKE_S):
            while received_bytes <= HEAD_MAX_BYTES:
                received_bytes += await self._receive_once()
                match self._protocol.events_received():
                    case [Request() as request]:
                        return request
                    case [_, *_]:
                        break
        raise PeerGone

    async def accept(self, request: Request) -> None:
        """Answer ``request`` with the 101.

        Raises:
            PeerGone: The request is no WebSocket handshake (it got its 4xx), or the peer went.
        """
        response = self._protocol.accept(request)
        await self._respond(response)
        if self._protocol.state is not State.OPEN:
            raise PeerGone

    async def refuse(self, response: Response) -> None:
        """Answer the request with something other than the 101; then :meth:`close`.

        Raises:
            PeerGone: The peer went first.
        """
        await self._respond(response)

    async def receive(self) -> str | bytes:
        """The next whole message.

        Raises:
            PeerGone: The connection is over; a Close was answered, an error reported.

        Cancelling this loses nothing.
        """
        while True:
            while self._frames:
                message = self._assemble(self._frames.popleft())
                if message is not None:
                    return message
            if self._protocol.state is not State.OPEN:
                await self._flush()
                raise PeerGone(self._close_code())
            await self._receive_once()
            events = self._protocol.events_received()
            self._frames.extend(event for event in events if isinstance(event, Frame))

    async def send(self, message: str | bytes) -> None:
        """Send one message in one frame.

        Raises:
            PeerGone: The peer cannot be reached, or took no byte for ``STALL_S`` seconds.
        """
        opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        payload = message.encode() if isinstance(message, str) else message
        await self.send_raw(frame(opcode, payload))

    async def send_raw(self, data: bytes) -> None:
        """Put ``data`` on the wire as it is. Raises :class:`PeerGone` as :meth:`send` does."""
        async with self._turn_to_send:
            if self._protocol.state is not State.OPEN:
                raise PeerGone(self._close_code())
            await self._write(data)

    async def close(self, code: int, reason: str = "") -> None:
        """Say goodbye as far as that is still to be done, and hang up.

        A link that is open sends a Close and waits for the answer; one that is over only lets
        the peer read what was sent. Both take at most ``CLOSE_WAIT_S`` seconds. For the task
        that receives, or after it has ended.
        """
        with contextlib.suppress(PeerGone), trio.move_on_after(CLOSE_WAIT_S):
            if self._protocol.state is State.OPEN and not self._torn:
                self._protocol.send_close(code, reason)
                await self._flush()
                while not self._protocol.eof_sent:
                    await self._receive_once()
            await self._take_in_the_rest()
        await self._hang_up()

    async def finish(self) -> None:
        """Send FIN without waiting for anything, then take in what the peer still sends."""
        with contextlib.suppress(PeerGone), trio.move_on_after(CLOSE_WAIT_S):
            async with self._turn_to_send:
                await self._send_eof()
            await self._take_in_the_rest()
        await self._hang_up()

    async def reset(self) -> None:
        """Let what was sent leave this host, then cut the connection with a TCP reset."""
        sock = _socket_of(self._stream)
        if sock is not None:
            with contextlib.suppress(OSError):
                await _until_flushed(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(self._stream)

    def _assemble(self, piece: Frame) -> str | bytes | None:
        """The message that ``piece`` completes, if it completes one."""
        if piece.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return None
        is_idle = not piece.data and not piece.fin
        self._empty_in_a_row = self._empty_in_a_row + 1 if is_idle else 0
        if self._empty_in_a_row > EMPTY_FRAGMENTS_MAX:
            self._protocol.fail(CloseCode.POLICY_VIOLATION, "too many empty frames")
            self._frames.clear()
            return None
        if piece.opcode is not Opcode.CONT:
            self._is_text = piece.opcode is Opcode.TEXT
        self._payload += piece.data
        if not piece.fin:
            return None
        payload = bytes(self._payload)
        self._payload.clear()
        return self._decode(payload) if self._is_text else payload

    def _decode(self, payload: bytes) -> str | None:
        try:
            return payload.decode()
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "not UTF-8")
            self._frames.clear()
            return None

    def _close_code(self) -> int | None:
        received = self._protocol.close_rcvd
        return None if received is None else int(received.code)

    async def _respond(self, response: Response) -> None:
        self._protocol.send_response(response)
        await self._flush()

    async def _receive_once(self) -> int:
        """Feed the protocol once; the number of bytes it was fed."""
        with _losing():
            data = await self._stream.receive_some(RECEIVE_MAX_BYTES)
        if not data:
            self._protocol.receive_eof()
            await self._flush()
            raise PeerGone(self._close_code())
        self._protocol.receive_data(data)
        await self._flush()
        return len(data)

    async def _flush(self) -> None:
        """Write what the protocol wants written: pongs, the echoed Close, an error's Close."""
        if not self._protocol.writes:
            return
        async with self._turn_to_send:
            for data in self._protocol.data_to_send():
                if data == SEND_EOF:
                    await self._send_eof()
                else:
                    await self._write(data)

    async def _write(self, data: bytes) -> None:
        if self._torn:
            raise PeerGone
        self._torn = True
        with _losing(), trio.move_on_after(STALL_S):
            await self._stream.send_all(data)
            self._torn = False
        if self._torn:
            raise PeerGone

    async def _send_eof(self) -> None:
        # TLS has no half-close; there the end of the stream follows with the closing itself.
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            with _losing():
                await self._stream.send_eof()
            self._fin_sent = True

    async def _take_in_the_rest(self) -> None:
        """Drop what the peer still sends: unread bytes would turn the closing into a reset."""
        if self._fin_sent:
            with _losing():
                while await self._stream.receive_some(RECEIVE_MAX_BYTES):
                    pass

    async def _hang_up(self) -> None:
        with contextlib.suppress(PeerGone), _losing(), trio.move_on_after(CLOSE_WAIT_S):
            await self._stream.aclose()
        await trio.aclose_forcefully(self._stream)


@contextlib.contextmanager
def _losing() -> Iterator[None]:
    """The one place that knows what Trio raises when a stream dies."""
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError) as lost:
        raise PeerGone from lost


def _socket_of(stream: trio.abc.Stream) -> trio.SocketStream | None:
    inner = stream
    while isinstance(inner, trio.SSLStream):
        inner = inner.transport_stream
    return inner if isinstance(inner, trio.SocketStream) else None


async def _until_flushed(stream: trio.SocketStream) -> None:
    """Wait until the kernel holds no unsent byte, at most ``FLUSH_WAIT_S`` seconds."""
    with trio.move_on_after(FLUSH_WAIT_S):
        while True:
            waiting = fcntl.ioctl(stream.socket.fileno(), termios.TIOCOUTQ, bytes(4))
            if struct.unpack("i", waiting)[0] == 0:
                return
            await trio.sleep(_FLUSH_POLL_S)
