"""What a connection says first: who it comes for, TLS, and the head of its request.

All of it together has ``handshake_s``. Most heads have come by the time a connection is served;
those are taken without setting a deadline or noting that the address is slow.
"""

from __future__ import annotations

import ssl
from typing import Final, Protocol

import trio

from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head, HeadError
from relayd.protocol.http1 import RequestReader
from relayd.protocol.proxy_protocol import ProxyHeader, ProxyHeaderReader, ProxyProtocolError
from relayd.service.acceptor import SlowHeads
from relayd.service.visit import Refused, Visit
from relayd.session.client_address import client_address, proxy_header_due
from relayd.transport import raw, tls
from relayd.transport.errors import DialError, DialErrorKind, TlsError

SLOW_AFTER_S: Final = 1.0
"""A head that is not complete after this counts against its address."""

DRAINING: Final = Refusal(
    RefusalCode.DRAINING, "relayd is restarting; connect again.", retry_after_s=1.0
)

_RECEIVE_BYTES: Final = 16384
_TOO_MANY_SLOW: Final = "Too many requests of this address are unfinished; this was the oldest."
_GONE: Final = Refusal(RefusalCode.CLIENT_GONE, "The client left before its request was complete.")


class House(Protocol):
    """What the entrance belongs to."""

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """For clients; ``None`` where they speak plain HTTP."""

    @property
    def slow_heads(self) -> SlowHeads:
        """Connections whose head is not complete."""

    @property
    def draining(self) -> bool:
        """Whether new connections are refused."""


async def read_head(visit: Visit, house: House) -> Head:
    """Everything up to the end of the request's head; what follows it is in ``visit.leftover``.

    ``visit.sock`` speaks TLS afterwards where the listener does, and ``visit.client_address`` is
    the address that the client counts as.

    Raises:
        Refused: Too late, gone, or no request.
    """
    server, limits = house.snapshot.settings.server, house.snapshot.settings.limits
    due = proxy_header_due(visit.address, server)
    if isinstance(due, Refusal):
        raise Refused(due)
    reader = RequestReader(limits.request_head_max_bytes)
    if house.tls is None and not due:
        head = _head_at_hand(visit, reader)
        if head is not None:
            visit.client_address = client_address(visit.address, head, server)
            return head
    deadline = visit.accepted_at + limits.handshake_s
    token = id(visit)
    try:
        with trio.CancelScope(deadline=deadline) as scope:
            slow_at = visit.accepted_at + SLOW_AFTER_S
            house.slow_heads.add(visit.address, token, scope, slow_at=slow_at, number=visit.number)
            visit.proxied = await _proxied(visit) if due else None
            if house.tls is not None:
                visit.sock = await _secured(visit, house.tls, deadline)
            head = await _rest_of_head(visit, reader)
            visit.client_address = client_address(visit.address, head, server, visit.proxied)
            return head
    finally:
        house.slow_heads.remove(visit.address, token)
    message = f"The request's head did not arrive within {limits.handshake_s:g} s."
    if trio.current_time() < deadline:
        message = DRAINING.message if house.draining else _TOO_MANY_SLOW
    raise Refused(Refusal(RefusalCode.HEAD_TIMEOUT, message))


async def _proxied(visit: Visit) -> ProxyHeader:
    """The PROXY protocol header; not a byte behind it is read."""
    reader = ProxyHeaderReader()
    while True:
        try:
            data = await raw.receive(visit.sock, reader.wanted)
            header = reader.feed(data) if data else None
        except ProxyProtocolError as error:
            raise Refused(Refusal(RefusalCode.MALFORMED_REQUEST, str(error))) from None
        except DialError:
            raise Refused(_GONE) from None
        if not data:
            raise Refused(_GONE)
        if header is not None:
            return header


async def _secured(visit: Visit, context: ssl.SSLContext, deadline: float) -> ssl.SSLSocket:
    try:
        return await tls.start_server(visit.sock, context, deadline=deadline)
    except TlsError as error:
        gone = error.kind is DialErrorKind.CONNECTION_LOST
        code = RefusalCode.CLIENT_GONE if gone else RefusalCode.TLS_FAILED
        raise Refused(Refusal(code, f"TLS with the client: {error.message}.")) from None


def _head_at_hand(visit: Visit, reader: RequestReader) -> Head | None:
    """The head, where nothing of it has to be waited for; else what came of it is in ``reader``."""
    try:
        data = raw.receive_now(visit.sock, _RECEIVE_BYTES)
    except DialError:
        raise Refused(_GONE) from None
    return None if data is None else _fed(visit, reader, data)


async def _rest_of_head(visit: Visit, reader: RequestReader) -> Head:
    while True:
        try:
            data = await raw.receive(visit.sock, _RECEIVE_BYTES)
        except DialError:
            raise Refused(_GONE) from None
        head = _fed(visit, reader, data)
        if head is not None:
            return head


def _fed(visit: Visit, reader: RequestReader, data: bytes) -> Head | None:
    """The head, once ``data`` completes it."""
    if not data:
        raise Refused(_GONE)
    try:
        head = reader.feed(data)
    except HeadError as error:
        raise Refused(error.refusal) from None
    if head is not None:
        visit.head_only = head.method == "HEAD"
        visit.leftover = reader.leftover
    return head
