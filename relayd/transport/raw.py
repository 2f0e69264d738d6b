"""Sending and receiving on a bare non-blocking socket, for handshakes: before the byte path.

Plain and TLS sockets alike. A socket is either here or adopted by the reactor, never both.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

import trio

from relayd.transport.errors import DialError, DialErrorKind, from_errno

DROP_MAX_BYTES: Final = 1 << 20
"""What a peer that is being turned away may still send before it is cut off."""

_DROP_BYTES: Final = 16384


def receive_now(sock: socket.socket, max_bytes: int) -> bytes | None:
    """What has come already on a plain socket; ``None`` for nothing yet, empty at the end.

    Raises:
        DialError: The connection is lost.
    """
    try:
        return sock.recv(max_bytes)
    except BlockingIOError:
        return None
    except OSError as error:
        raise from_errno(error.errno or 0, "the peer") from None


async def receive(sock: socket.socket, max_bytes: int) -> bytes:
    """The next bytes, up to ``max_bytes``; empty at the end of the stream.

    Raises:
        DialError: The connection is lost.

    Cancelling it loses no byte: nothing is received before it is returned.
    """
    while True:
        try:
            return sock.recv(max_bytes)
        except (BlockingIOError, ssl.SSLWantReadError):
            await trio.lowlevel.wait_readable(sock)
        except ssl.SSLWantWriteError:
            await trio.lowlevel.wait_writable(sock)
        except ssl.SSLError as error:
            raise DialError(DialErrorKind.CONNECTION_LOST, _words(error)) from None
        except OSError as error:
            raise from_errno(error.errno or 0, "the peer") from None


async def drop_rest(sock: socket.socket) -> None:
    """Read and drop what a peer still sends, to its end, but no more than :data:`DROP_MAX_BYTES`.

    Closing a socket with unread bytes resets it, and the last answer with it. Other tasks run after
    every receive, however fast the peer is.

    Raises:
        DialError: The connection is lost.

    Cancelling it loses only what was to be dropped.
    """
    budget = DROP_MAX_BYTES
    while budget > 0:
        data = await receive(sock, _DROP_BYTES)
        if not data:
            return
        budget -= len(data)
        await trio.lowlevel.checkpoint()


def send_now(sock: socket.socket, data: bytes) -> int:
    """Offer ``data`` to the kernel once: how many bytes it has taken, from their beginning.

    What is left goes to :func:`send_all`, unchanged (TLS has perhaps encrypted it already).

    Raises:
        DialError: The connection is lost.
    """
    try:
        return sock.send(data)
    except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
        return 0
    except ssl.SSLError as error:
        raise DialError(DialErrorKind.CONNECTION_LOST, _words(error)) from None
    except OSError as error:
        raise from_errno(error.errno or 0, "the peer") from None


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send all of ``data``.

    Raises:
        DialError: The connection is lost.

    After cancelling it the socket is of no use: nobody knows how much was sent.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            await trio.lowlevel.wait_writable(sock)
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(sock)
        except ssl.SSLError as error:
            raise DialError(DialErrorKind.CONNECTION_LOST, _words(error)) from None
        except OSError as error:
            raise from_errno(error.errno or 0, "the peer") from None


def _words(error: ssl.SSLError) -> str:
    return f"TLS failed: {error.reason or 'the connection ended'}"
