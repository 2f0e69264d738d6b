"""How a client begins in each dialect: what it asks, and when its session stands."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Final

from bench import frames, handshake
from bench.failures import RunFailed, UnexpectedAnswer
from bench.handshake import Dialect
from bench.pieces import PieceReader

if TYPE_CHECKING:
    from bench.relays import Address

PROBE_S: Final = 10.0

_QUESTION: Final = {
    "model": "bench",
    "stream": True,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "How long can the upper chamber delay a bill?"},
    ],
}
_END: Final = b"\r\n\r\n"


def request(host: str, secret: str, dialect: Dialect) -> bytes:
    """What a client sends first: an upgrade, or the question itself."""
    if dialect is not Dialect.CHAT:
        return handshake.upgrade_request(host, secret, os.urandom(16), dialect)
    body = json.dumps(_QUESTION, separators=(",", ":")).encode()
    return (
        b"POST %b HTTP/1.1\r\n"
        b"Host: %b\r\n"
        b"Authorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: %d\r\n"
        b"User-Agent: relayd-bench\r\n\r\n%b"
    ) % (dialect.value, host.encode(), secret.encode(), len(body), body)


def is_open(answer: bytes | bytearray, dialect: Dialect) -> bool:
    """Whether ``answer`` shows that the session stands: greeted, or with a first piece of text.

    Raises:
        UnexpectedAnswer: It is a refusal.
    """
    if dialect is not Dialect.CHAT:
        return handshake.is_greeted(answer, dialect)
    end = answer.find(_END)
    if end < 0:
        if len(answer) > handshake.HEAD_MAX_BYTES:
            raise UnexpectedAnswer("the answer's head has no end")
        return False
    if not answer.startswith(b"HTTP/1.1 200 "):
        said = bytes(answer[end + len(_END) :])[:300].decode("utf-8", "replace")
        raise UnexpectedAnswer(f"no 200 but {handshake.first_line(answer)}: {said}")
    return bool(PieceReader().read(bytes(answer[end + len(_END) :])))


def probe(address: Address, secret: str, dialect: Dialect) -> None:
    """Open one session and close it: does the relay stand, and does it accept the key?

    Raises:
        RunFailed: It does not; what it said instead.
    """
    answer = bytearray()
    try:
        with socket.create_connection(address, timeout=PROBE_S) as sock:
            sock.sendall(request(f"{address[0]}:{address[1]}", secret, dialect))
            while not is_open(answer, dialect):
                data = sock.recv(65536)
                if not data:
                    raise RunFailed("the relay closed the first session unanswered")
                answer += data
            if dialect is Dialect.CHAT:
                return  # its client leaves
            sock.sendall(frames.MASKED_CLOSE)
            while sock.recv(65536):
                pass
    except OSError as error:
        raise RunFailed(f"the first session through the relay: {error}") from error
