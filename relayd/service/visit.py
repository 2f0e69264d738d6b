"""A connection on its way in, and how it is turned away: one answer, one line."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.core.refusals import Refusal
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.protocol.proxy_protocol import ProxyHeader
from relayd.protocol.upgrade import refusal_response
from relayd.service.acceptor import Reading, read_within
from relayd.transport import raw
from relayd.transport.errors import DialError

log = get_logger()

REFUSE_GRACE_S: Final = 1.0
"""How long a refused client gets to take its answer and hang up."""


class Refused(Exception):
    """This connection is not accepted."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


OnRefused = Callable[[int, str, str | None], None]
"""Hears of a connection that ended before its 101: status, reason, dialect."""


def nobody(status: int, reason: str, dialect: str | None) -> None:
    """Where nobody counts refusals."""


@attrs.define
class Visit:
    """One connection on its way in, and what is known of it so far.

    Attributes:
        on_refused: Told if it is turned away.
        address: The peer's, by the socket.
        client_address: What the client counts as, once its head is read: a trusted proxy's word.
        proxied: The PROXY protocol header, where one is due.
        reading: What the heads of its later requests are read within.
        leftover: What followed the head.
        holdings: What gives back, last taken first, what this connection holds.
    """

    sock: socket.socket
    address: str
    number: int
    accepted_at: float
    session_id: str
    on_refused: OnRefused = nobody
    dialect: str | None = None
    key: str | None = None
    head_only: bool = False
    client_address: str = attrs.Factory(lambda self: self.address, takes_self=True)
    proxied: ProxyHeader | None = None
    reading: Reading = read_within
    leftover: bytes = b""
    settled: bool = False  # its one line is written, or its session's will be
    holdings: list[Callable[[], None]] = attrs.field(factory=list)

    def leave(self) -> None:
        """Give back everything but the socket. Calling again is fine."""
        while self.holdings:
            self.holdings.pop()()


async def refuse(visit: Visit, refusal: Refusal) -> None:
    """Write the line, answer, and give the client a moment to take the answer."""
    # A TLS handshake that failed has closed the socket.
    status = refusal.status if visit.sock.fileno() >= 0 else 0
    _write_line(visit, refusal, status)
    if status == 0:
        return
    response = refusal_response(refusal, head_only=visit.head_only)
    with trio.move_on_after(REFUSE_GRACE_S):
        try:
            await raw.send_all(visit.sock, response)
            visit.sock.shutdown(socket.SHUT_WR)
            await raw.drop_rest(visit.sock)
        except (DialError, OSError):
            return  # it left without waiting for the answer


def cut_off(visit: Visit, refusal: Refusal) -> None:
    """relayd stops at once: nothing is waited for, but the client hears what it can."""
    try:
        visit.sock.send(refusal_response(refusal, head_only=visit.head_only))
    except OSError:
        _write_line(visit, refusal, 0)
    else:
        _write_line(visit, refusal, refusal.status)


def _write_line(visit: Visit, refusal: Refusal, status: int) -> None:
    visit.settled = True
    visit.on_refused(status, refusal.code.value, visit.dialect)
    log.info(
        LogEvent.CONNECTION_REFUSED,
        status=status,
        reason=refusal.code.value,
        dialect=visit.dialect,
        key=visit.key,
        client_address=visit.client_address,
        message=refusal.message,
    )
