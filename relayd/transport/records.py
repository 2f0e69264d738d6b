"""Receiving TLS records on a non-blocking socket, straight from OpenSSL on the descriptor."""

from __future__ import annotations

import enum
import functools
import socket
import ssl
from collections.abc import Callable
from typing import Final

RECORD_BYTES: Final = 16384
"""The payload of the longest TLS record (RFC 8446 section 5.1)."""


class More(enum.Enum):
    """What else there is to receive."""

    NOTHING = enum.auto()  # readiness will tell
    INSIDE = enum.auto()  # decrypted bytes that raise no readiness: receive again by hand
    AFTER_SEND = enum.auto()  # OpenSSL has to send first: receive again when writable


def receive_records(sock: ssl.SSLSocket, view: memoryview) -> tuple[int, More]:
    """Receive until ``view`` is full or no whole record is left.

    Returns:
        How many bytes were received, 0 at the end of the stream, -1 where nothing is whole yet;
        and what else there is.

    Raises:
        OSError: The connection is lost. Bytes that came before are returned first; the error is
            met again by the next call.
    """
    got = 0
    while got < len(view):
        try:
            count = sock.read(min(RECORD_BYTES, len(view) - got), view[got:])
        except ssl.SSLWantReadError:
            return got or -1, More.NOTHING
        except ssl.SSLWantWriteError:
            return got or -1, More.AFTER_SEND
        except OSError:
            if got:
                return got, More.INSIDE
            raise
        if not count:
            return got, More.NOTHING if not got else More.INSIDE
        got += int(count)
        if not sock.pending():
            return got, More.NOTHING
    return got, More.INSIDE


def below_tls(sock: socket.socket) -> Callable[[memoryview, int], int]:
    """Receive raw bytes: after the end nobody wants the plaintext, and OpenSSL might refuse it."""
    return functools.partial(socket.socket.recv_into, sock)
