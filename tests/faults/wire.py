"""One end of a TCP connection under a test's full control: every byte, and when it is sent."""

from __future__ import annotations

import base64
import enum
import hashlib
import re
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from typing import Self

import attrs
import trio

SOON_S = 5.0
"""No wait of a test is longer; one that is shows a fault, not a slow machine."""

KEY = base64.b64encode(b"sixteen bytes, 1").decode()
MASK = b"\x11\x22\x33\x44"
TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0

_RESET = struct.pack("ii", 1, 0)
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Ending(enum.Enum):
    """How a peer's bytes ended."""

    FIN = enum.auto()
    RESET = enum.auto()


class Ended(Exception):
    """No frame follows."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.name)
        self.ending = ending


@attrs.frozen
class Frame:
    """What came in one frame, unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def close_code(self) -> int | None:
        """The code of a Close; ``None`` for an empty one."""
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


def frame(
    opcode: int, payload: bytes = b"", *, masked: bool = True, fin: bool = True, first: int = 0
) -> bytes:
    """The bytes of one frame; ``first`` adds bits, such as reserved ones, to its first byte."""
    head = bytes([opcode | (0x80 if fin else 0) | first])
    bit, length = 0x80 if masked else 0, len(payload)
    if length < 126:
        head += bytes([bit | length])
    elif length < 65536:
        head += struct.pack("!BH", bit | 126, length)
    else:
        head += struct.pack("!BQ", bit | 127, length)
    return head + (MASK + xored(payload, MASK) if masked else payload)


def close(code: int, reason: str = "", *, masked: bool = True) -> bytes:
    """The bytes of a Close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode(), masked=masked)


def xored(payload: bytes, mask: bytes) -> bytes:
    """``payload`` masked, or unmasked."""
    length = len(payload)
    run = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return (int.from_bytes(payload, "big") ^ run).to_bytes(length, "big")


@attrs.define(eq=False)
class Wire:
    """A connected socket. All its waits end after :data:`SOON_S`."""

    sock: trio.socket.SocketType
    buffer: bytearray = attrs.field(factory=bytearray)
    seen: bytearray = attrs.field(factory=bytearray)
    is_client: bool = True
    tls: ssl.SSLObject | None = None
    incoming: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)

    @classmethod
    async def to(
        cls, address: str, *, source: str = "127.0.0.1", receive_buffer: int | None = None
    ) -> Self:
        """Connect to ``host:port`` from ``source``."""
        host, _, port = address.rpartition(":")
        sock = trio.socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await sock.bind((source, 0))
            with trio.fail_after(SOON_S):
                await sock.connect((host, int(port)))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """The TLS handshake."""
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=not self.is_client,
            server_hostname="127.0.0.1" if self.is_client else None,
        )
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._send_raw(self.outgoing.read())
                self.incoming.write(await self._receive_raw())
            else:
                await self._send_raw(self.outgoing.read())
                return

    # -- sending

    async def send(self, data: bytes) -> None:
        """Send all of ``data``; a peer that has reset the connection does not matter."""
        if self.tls is not None:
            self.tls.write(data)
            data = self.outgoing.read()
        await self._send_raw(data)

    async def drip(self, data: bytes) -> None:
        """Send one byte at a time, each in a segment of its own."""
        for at in range(len(data)):
            await self.send(data[at : at + 1])

    async def finish(self) -> None:
        """Send FIN; a peer that has reset the connection does not matter."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def reset(self) -> None:
        """Send RST and forget the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    # -- receiving

    async def receive(self) -> bytes:
        """The next bytes. Raises :class:`Ended`."""
        if self.tls is None:
            return await self._receive_raw()
        while True:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.incoming.write(await self._receive_raw())
            except ssl.SSLZeroReturnError:
                raise Ended(Ending.FIN) from None
            else:
                if not data:
                    raise Ended(Ending.FIN)
                return data

    async def head(self) -> bytes:
        """The next HTTP head, with its empty line."""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += await self.receive()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer[:] = rest
        return head + b"\r\n\r\n"

    async def frame(self) -> Frame:
        """The next frame. Raises :class:`Ended`."""
        while (found := _parse(self.buffer)) is None:
            self.buffer += await self.receive()
        length, parsed = found
        del self.buffer[:length]
        return parsed

    async def frames(self, count: int) -> list[Frame]:
        """The next ``count`` frames."""
        return [await self.frame() for _ in range(count)]

    async def until_close(self) -> Frame:
        """The next Close; what comes before is dropped."""
        while (got := await self.frame()).opcode != CLOSE:
            pass
        return got

    async def end(self) -> Ending:
        """Read to the end of the bytes."""
        try:
            while True:
                await self.receive()
        except Ended as ended:
            return ended.ending

    async def goodbye(self) -> int | None:
        """The other side's Close, answered in kind: its code, once the connection has ended."""
        got = await self.until_close()
        await self.send(frame(CLOSE, got.payload, masked=self.is_client))
        await self.finish()
        await self.end()
        return got.close_code

    async def hang_up(self) -> None:
        """Leave when the other side says Close, without a word."""
        await self.until_close()
        await self.finish()

    async def _send_raw(self, data: bytes) -> None:
        rest = memoryview(data)
        with trio.fail_after(SOON_S):
            while rest:
                try:
                    rest = rest[await self.sock.send(rest) :]
                except (ConnectionResetError, BrokenPipeError):
                    return

    async def _receive_raw(self) -> bytes:
        with trio.fail_after(SOON_S):
            try:
                data = await self.sock.recv(65536)
            except ConnectionResetError:
                raise Ended(Ending.RESET) from None
        if not data:
            raise Ended(Ending.FIN)
        if len(self.seen) < 1 << 20:
            self.seen += data
        return data


@attrs.frozen
class Response:
    """An answer in HTTP."""

    status: int
    head: str
    body: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The response in ``data``, whose body ends with it."""
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 "), data[:200]
        return cls(int(head[9:12]), head.decode(), body)


def upgrade(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A WebSocket upgrade for ``path``; ``headers`` replace or add to the ordinary ones."""
    lines = {
        "Host": "relayd.test",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


def accepting(request: bytes) -> bytes:
    """The 101 that answers ``request``."""
    found = re.search(rb"(?i)sec-websocket-key: (\S+)", request)
    assert found is not None
    token = base64.b64encode(hashlib.sha1(found[1] + _GUID.encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {token}\r\n\r\n"
    ).encode()


def prefixes(data: bytes) -> Iterator[bytes]:
    """Every proper beginning of ``data``, the empty one too."""
    return (data[:end] for end in range(len(data)))


def _parse(buffer: bytearray) -> tuple[int, Frame] | None:
    """The frame at the front of ``buffer`` and its length on the wire, if it is whole."""
    if len(buffer) < 2:
        return None
    length, start = buffer[1] & 0x7F, 2
    if length >= 126:
        start = 4 if length == 126 else 10
        if len(buffer) < start:
            return None
        length = int.from_bytes(buffer[2:start], "big")
    mask = b""
    if buffer[1] & 0x80:
        mask = bytes(buffer[start : start + 4])
        start += 4
    if len(buffer) < start + length:
        return None
    payload = bytes(buffer[start : start + length])
    if mask:
        payload = xored(payload, mask)
    return start + length, Frame(buffer[0] & 0x0F, payload, bool(buffer[0] & 0x80))
