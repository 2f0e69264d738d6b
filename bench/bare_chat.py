"""The least that a Trio program can do as a chat gateway: frames in, server-sent events out.

It is run as a program of its own, and stands beside relayd where chunks of answers are measured.
Each request has an upstream socket for itself, dialled when it comes, and two tasks: one waits for
its client to leave, the other makes an event of each frame, those together that come together.
There is no key, limit, deadline, second attempt, ledger or log, and one shape of frame.

Usage: bare_chat.py LISTENING_DESCRIPTOR HOST PORT
"""

from __future__ import annotations

import re
import socket
import sys
from typing import Final

import msgspec
import trio

RECEIVE_BYTES: Final = 65536

UPGRADE: Final = (
    b"GET /v3.5/chat HTTP/1.1\r\nHost: upstream\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
QUESTION: Final = b'\x81\x90\x00\x00\x00\x00{"question":"x"}'
"""A text frame of 16 bytes under a mask of zeros, which RFC 6455 allows."""

CLOSE: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
"""Code 1000, under such a mask."""

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
EVENT_HEAD: Final = (
    b'data: {"id":"chatcmpl-bare","object":"chat.completion.chunk","created":0,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":'
)
EVENT_TAIL: Final = b'},"logprobs":null,"finish_reason":null}]}\n\n'

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_LONG: Final = 126  # RFC 6455 section 5.2: two bytes of length follow

Address = tuple[str, int]


class _Text(msgspec.Struct):
    content: str


class _Choices(msgspec.Struct):
    text: tuple[_Text, ...]


class _Payload(msgspec.Struct):
    choices: _Choices


class _Frame(msgspec.Struct):
    payload: _Payload


_decode: Final = msgspec.json.Decoder(_Frame).decode
_encode: Final = msgspec.json.Encoder().encode


async def serve(listener: trio.socket.SocketType, upstream: Address) -> None:
    """Answer every client of ``listener`` out of ``upstream``, until cancelled."""
    async with trio.open_nursery() as nursery:
        while True:
            client, _ = await listener.accept()
            nursery.start_soon(answer, client, upstream)


async def answer(client: trio.socket.SocketType, address: Address) -> None:
    """Answer one request until either side ends; both sockets are closed then."""
    with client, trio.socket.socket() as upstream:
        for sock in (client, upstream):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await _read_request(client)
            await upstream.connect(address)
            await _send(upstream, UPGRADE)
            await _read_head(upstream)
            await _send(upstream, QUESTION)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_for_end, client, nursery.cancel_scope)
                nursery.start_soon(_translate, upstream, client, nursery.cancel_scope)
            await _send(upstream, CLOSE)
        except* OSError:  # a reset is an end like any other
            pass


async def _read_head(sock: trio.socket.SocketType) -> tuple[bytes, bytes]:
    """A head, and what came behind it. Raises ``OSError`` where there is none."""
    received = b""
    while _END not in received:
        data = await sock.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("it ended in its head")
        received += data
    head, _, rest = received.partition(_END)
    return head, rest


async def _read_request(client: trio.socket.SocketType) -> None:
    head, body = await _read_head(client)
    length = _LENGTH.search(head)
    missing = 0 if length is None else int(length[1]) - len(body)
    while missing > 0 and (data := await client.recv(missing)):
        missing -= len(data)


async def _translate(
    upstream: trio.socket.SocketType, client: trio.socket.SocketType, over: trio.CancelScope
) -> None:
    received, head = b"", HEAD
    while data := await upstream.recv(RECEIVE_BYTES):
        events, received = events_of(received + data)
        if events:
            await _send(client, b"%b%x\r\n%b\r\n" % (head, len(events), events))
            head = b""
    over.cancel()


def events_of(data: bytes) -> tuple[bytes, bytes]:
    """The events of all whole frames in ``data``, and what is left behind them."""
    events, start = [], 0
    while len(data) >= start + 4:
        size, body = data[start + 1], start + 2
        if size == _LONG:
            size, body = int.from_bytes(data[body : body + 2], "big"), body + 2
        if len(data) < body + size:
            break
        said = _decode(data[body : body + size]).payload.choices.text
        events += [b"%b%b%b" % (EVENT_HEAD, _encode(each.content), EVENT_TAIL) for each in said]
        start = body + size
    return b"".join(events), data[start:]


async def _wait_for_end(client: trio.socket.SocketType, over: trio.CancelScope) -> None:
    while await client.recv(RECEIVE_BYTES):
        pass
    over.cancel()


async def _send(sock: trio.socket.SocketType, data: bytes) -> None:
    sent = await sock.send(data)
    while sent < len(data):
        sent += await sock.send(memoryview(data)[sent:])


def main() -> None:
    """Serve on the descriptor that was handed over."""
    descriptor, host, port = sys.argv[1:]
    listener = trio.socket.from_stdlib_socket(socket.socket(fileno=int(descriptor)))
    trio.run(serve, listener, (host, int(port)))


if __name__ == "__main__":
    main()
