"""What a connection says first: who it comes for, TLS, and the head of its request.

All of it together has ``handshake_s``. Most heads have come by the time a connection is served;
those are taken without setting a deadline or noting that the address is slow.
"""

from __future__ import annotations

import ssl
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from relayd.config.kinds import UNIX_PEER
from relayd.config.networks import is_within
from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head, HeadError
from relayd.protocol.http1 import RequestReader
from relayd.protocol.proxy_protocol import ProxyHeader, ProxyHeaderReader, ProxyProtocolError
from relayd.service.acceptor import RESTARTING, SlowHeads
from relayd.service.visit import Refused, Visit
from relayd.session.client_address import client_address, proxy_header_due
from relayd.transport import raw, tls
from relayd.transport.errors import DialError, DialErrorKind, TlsError

if TYPE_CHECKING:
    from relayd.config.schema import ServerSettings

DRAINING: Final = Refusal(RefusalCode.DRAINING, RESTARTING, retry_after_s=1.0)

_RECEIVE_BYTES: Final = 16384
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


async def read_head(visit: Visit, house: House) -> Head:
    """Everything up to the end of the request's head; what follows it is in ``visit.leftover``.

    ``visit.sock`` speaks TLS afterwards where the listener does, ``visit.client_address`` is the
    address that the client counts as, and ``visit.reading`` is for the heads that follow.

    Raises:
        Refused: Too late, gone, or no request.
    """
    server, limits = house.snapshot.settings.server, house.snapshot.settings.limits
    due = proxy_header_due(visit.address, server)
    if isinstance(due, Refusal):
        raise Refused(due)

    def reading(address: str | None) -> AbstractContextManager[None]:
        return house.slow_heads.reading(
            address, limits.handshake_s, begun_at=visit.accepted_at, number=visit.number
        )

    try:
        if due:
            with reading(None):
                visit.proxied = await _proxied(visit)
        address = _counted_address(visit, server)
        visit.reading = partial(house.slow_heads.reading, address)
        reader = RequestReader(limits.request_head_max_bytes)
        head = _head_at_hand(visit, reader) if house.tls is None else None
        if head is None:
            with reading(address):
                if house.tls is not None:
                    deadline = visit.accepted_at + limits.handshake_s
                    visit.sock = await _secured(visit, house.tls, deadline)
                head = await _rest_of_head(visit, reader)
    except HeadError as error:
        raise Refused(error.refusal) from None
    visit.client_address = client_address(visit.address, head, server, visit.proxied)
    return head


def _counted_address(visit: Visit, server: ServerSettings) -> str | None:
    """Whom slow heads of this connection count against: ``None`` for nobody.

    It goes by who opened the connection, at this end or at a proxy's that is believed. A proxy's
    own connections carry many clients: counted together, all of them would be turned away for one.
    """
    sender = visit.address
    if visit.proxied is not None:
        if visit.proxied.address is None:
            return None  # the proxy's own, as to see whether relayd is well
        sender = visit.proxied.address
    if sender == UNIX_PEER:
        return None if UNIX_PEER in server.trusted_proxies else sender
    networks = (each for each in server.trusted_proxies if not isinstance(each, str))
    return None if is_within(sender, networks) else sender


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
    """The head, once ``data`` completes it. Raises ``HeadError`` where it cannot."""
    if not data:
        raise Refused(_GONE)
    head = reader.feed(data)
    if head is not None:
        visit.head_only = head.method == "HEAD"
        visit.leftover = reader.leftover
    return head
