"""The front door: from an accepted connection to a session, or to a refusal.

Everything before the 101 happens here, for every dialect and route: TLS, the strict head, one
authentication, admission, quota, the upstream. The client hears 101 only when an upstream is
ready, so whatever fails before has an HTTP status of its own. No input of a peer crosses the
boundary in :meth:`Door.serve`.
"""

from __future__ import annotations

import secrets
import socket
import ssl
from typing import Final

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.meter import CountingMeter
from relayd.observe.bus import Bus, SessionFacts
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.protocol.flow import Standing
from relayd.protocol.head import Head, HeadError, HeadReader
from relayd.protocol.outcomes import EndOfStream, Event
from relayd.protocol.upgrade import (
    UpgradeRequest,
    check_upgrade,
    refusal_response,
    response_101,
)
from relayd.service.acceptor import SlowHeads
from relayd.session.accounts import log_changes
from relayd.session.admission import Grant, Quota, admit
from relayd.session.connecting import Connected, Connector
from relayd.session.dialects import (
    answer_subprotocol,
    conversation_of,
    message_max_bytes,
    wish_of,
)
from relayd.session.reporter import Reporter, Timing
from relayd.session.routes import find_route
from relayd.session.session import Session
from relayd.transport import raw, tls
from relayd.transport.endpoint import Endpoint, prepare
from relayd.transport.errors import DialError
from relayd.transport.reactor import Reactor

log = get_logger()

SLOW_AFTER_S: Final = 1.0
"""A head that is not complete after this counts against its address."""

REFUSE_GRACE_S: Final = 1.0
"""How long a refused client gets to take its answer and hang up."""

_RECEIVE_BYTES: Final = 16384
_TOO_MANY_SLOW: Final = "Too many requests of this address are unfinished; this was the oldest."
_DRAINING: Final = Refusal(
    RefusalCode.DRAINING, "relayd is restarting; connect again.", retry_after_s=1.0
)


class Refused(Exception):
    """This connection is not accepted."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


@attrs.define
class _Visit:
    """One connection on its way in, and what is known of it so far."""

    sock: socket.socket
    address: str
    accepted_at: float
    session_id: str
    dialect: str | None = None
    key: str | None = None
    head_only: bool = False
    settled: bool = False  # its one line is written, or its session's will be


@attrs.define(eq=False, kw_only=True)
class Door:
    """Lets connections in.

    Attributes:
        snapshot: The configuration in force; each connection keeps the one it met.
        tls: For clients; ``None`` where they speak plain HTTP.
        sessions: By id, those whose 101 was written.
        draining: New connections are refused.
        crashes: Bugs caught at the boundary.
    """

    snapshot: Snapshot
    tls: ssl.SSLContext | None
    reactor: Reactor
    connector: Connector
    quota: Quota
    bus: Bus
    hold: HoldBudget
    slow_heads: SlowHeads
    sessions: dict[str, Session] = attrs.field(factory=dict, init=False)
    draining: bool = attrs.field(default=False, init=False)
    crashes: int = attrs.field(default=0, init=False)

    async def serve(self, sock: socket.socket, address: str) -> None:
        """Serve one accepted connection to its end. Owns ``sock``; raises nothing for a peer."""
        visit = _Visit(sock, address, trio.current_time(), f"sess_{secrets.token_hex(12)}")
        try:
            prepare(sock)
            await self._enter(visit)
        except Refused as refused:
            await _refuse(visit, refused.refusal)
        except Exception as error:  # noqa: BLE001 - the boundary of a connection: a bug here ends one connection
            self.crashes += 1
            log.error(
                LogEvent.SESSION_CRASHED,
                session_id=visit.session_id,
                dialect=visit.dialect,
                traceback=error,
            )
            message = f"A bug in relayd; its log has the details under {visit.session_id}."
            if not visit.settled:
                await _refuse(visit, Refusal(RefusalCode.INTERNAL_ERROR, message))
        finally:
            if not visit.settled:
                _cut_off(visit)
            visit.sock.close()

    async def _enter(self, visit: _Visit) -> None:
        head = await self._read_head(visit)
        request, grant = self._admit(visit, head)
        lease = await self.quota.take(grant)
        if isinstance(lease, Refusal):
            raise Refused(lease)
        try:
            await self._connect(visit, request, grant)
        finally:
            lease.release()

    # -- the head

    async def _read_head(self, visit: _Visit) -> Head:
        """TLS, then the request's head, within ``handshake_s``."""
        limits = self.snapshot.settings.limits
        reader = HeadReader(limits.request_head_max_bytes)
        deadline = visit.accepted_at + limits.handshake_s
        token = id(visit)
        try:
            with trio.CancelScope(deadline=deadline) as scope:
                slow_at = visit.accepted_at + SLOW_AFTER_S
                self.slow_heads.add(visit.address, token, scope, slow_at=slow_at)
                return await self._receive_head(visit, reader, deadline)
        finally:
            self.slow_heads.remove(visit.address, token)
        message = f"The request's head did not arrive within {limits.handshake_s:g} s."
        if trio.current_time() < deadline:
            message = _DRAINING.message if self.draining else _TOO_MANY_SLOW
        raise Refused(Refusal(RefusalCode.HEAD_TIMEOUT, message))

    async def _receive_head(self, visit: _Visit, reader: HeadReader, deadline: float) -> Head:
        gone = Refusal(RefusalCode.CLIENT_GONE, "The client left before its request was complete.")
        try:
            if self.tls is not None and not isinstance(visit.sock, ssl.SSLSocket):
                visit.sock = await tls.start_server(visit.sock, self.tls, deadline=deadline)
            while True:
                data = await raw.receive(visit.sock, _RECEIVE_BYTES)
                if not data:
                    raise Refused(gone)
                head = reader.feed(data)
                if head is not None:
                    visit.head_only = head.method == "HEAD"
                    return head
        except HeadError as error:
            raise Refused(error.refusal) from None
        except DialError:
            raise Refused(gone) from None

    # -- admission

    def _admit(self, visit: _Visit, head: Head) -> tuple[UpgradeRequest, Grant]:
        """Everything that can be decided at once."""
        route = find_route(head.path)
        if isinstance(route, Refusal):
            raise Refused(route)
        visit.dialect = route.dialect
        try:
            request = check_upgrade(head)
        except HeadError as error:
            raise Refused(error.refusal) from None
        granted = admit(request, visit.address, self.snapshot, trio.current_time())
        if isinstance(granted, Refusal):
            visit.key = granted.key_name
            raise Refused(granted)
        visit.key = granted.key.name
        if self.draining:
            raise Refused(_DRAINING)
        if self.hold.full:
            message = "relayd holds as many bytes as it may; try again later."
            raise Refused(Refusal(RefusalCode.OVERLOAD, message, retry_after_s=1.0))
        return request, granted

    async def _connect(self, visit: _Visit, request: UpgradeRequest, grant: Grant) -> None:
        """Find an upstream while the client is watched, then relay."""
        limits = self.snapshot.settings.limits
        client = Endpoint(visit.sock, Side.CLIENT, self.hold, trio.current_time())
        self.reactor.adopt(client)
        try:
            connected = await self._connect_watched(visit, client, grant, limits.admission_s)
            try:
                await self._relay(visit, request, grant, client, connected)
            finally:
                connected.seat.release()
                self.reactor.release(connected.endpoint)
                connected.endpoint.close()
        finally:
            self.reactor.release(client)
            client.keep_tail(None)

    async def _connect_watched(
        self, visit: _Visit, client: Endpoint, grant: Grant, admission_s: float
    ) -> Connected:
        wish = wish_of(grant, self.connector.roster)
        if isinstance(wish, Refusal):
            raise Refused(wish)
        events: list[Event] = []
        connected: Connected | Refusal | None = None
        with trio.CancelScope() as scope:

            def on_event(event: Event) -> None:
                events.append(event)
                scope.cancel(reason="the client did not wait")

            client.on_event = on_event
            self.reactor.arm(client, trio.current_time())
            deadline = visit.accepted_at + admission_s
            connected = await self.connector.connect(
                wish, session_id=visit.session_id, deadline=deadline
            )
        self.reactor.disarm(client)
        client.on_event = None
        if events:
            if isinstance(connected, Connected):  # ready in the very step in which it was given up
                connected.seat.release()
                connected.endpoint.close()
            raise Refused(_not_waiting(events[0]))
        assert connected is not None
        if isinstance(connected, Refusal):
            raise Refused(connected)
        return connected

    # -- the session

    async def _relay(
        self,
        visit: _Visit,
        request: UpgradeRequest,
        grant: Grant,
        client: Endpoint,
        connected: Connected,
    ) -> None:
        if self.draining:  # it began while the upstream was dialled
            raise Refused(_DRAINING)
        now = trio.current_time()
        account = connected.seat.account
        subprotocol = answer_subprotocol(grant, connected.subprotocol)
        client.sink.write([response_101(request.key, subprotocol)], Standing.BOUNDARY, now)
        visit.settled = True
        self.reactor.adopt(connected.endpoint)
        meter = CountingMeter()
        reporter = Reporter(
            facts=SessionFacts(
                session_id=visit.session_id,
                dialect=grant.dialect,
                key=grant.key.name,
                tenant=grant.key.tenant,
                account=account.name,
                model=grant.model,
            ),
            bus=self.bus,
            meter=meter,
            timing=Timing(
                accepted_at=visit.accepted_at,
                started_at=now,
                connect_ms=connected.connect_ms,
                first_frame_ms=connected.first_frame_ms,
            ),
            account_failed=lambda failure, at: log_changes(connected.seat.fail(failure, at)),
        )
        settings = self.snapshot.settings
        session = Session(
            client=client,
            upstream=connected.endpoint,
            reactor=self.reactor,
            hold=self.hold,
            conversation=conversation_of(grant, meter, reporter),
            reporter=reporter,
            limits=settings.limits,
            timeouts=account.timeouts,
            message_max_bytes=message_max_bytes(grant, settings.limits.message_max_bytes),
        )
        self.sessions[visit.session_id] = session
        try:
            await session.run()
        finally:
            del self.sessions[visit.session_id]


def _not_waiting(event: Event) -> Refusal:
    if isinstance(event, EndOfStream):
        return Refusal(RefusalCode.CLIENT_GONE, "The client left before the 101.")
    message = "Bytes followed the request; wait for the 101 before sending frames."
    return Refusal(RefusalCode.EARLY_BYTES, message)


async def _refuse(visit: _Visit, refusal: Refusal) -> None:
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
            # Closing a socket with unread bytes resets it, and the answer with it.
            visit.sock.shutdown(socket.SHUT_WR)
            while await raw.receive(visit.sock, _RECEIVE_BYTES):
                pass
        except (DialError, OSError):
            return  # it left without waiting for the answer


def _cut_off(visit: _Visit) -> None:
    """relayd stops at once: nothing is waited for, but the client hears what it can."""
    try:
        visit.sock.send(refusal_response(_DRAINING, head_only=visit.head_only))
    except OSError:
        _write_line(visit, _DRAINING, 0)
    else:
        _write_line(visit, _DRAINING, _DRAINING.status)


def _write_line(visit: _Visit, refusal: Refusal, status: int) -> None:
    visit.settled = True
    log.info(
        LogEvent.CONNECTION_REFUSED,
        status=status,
        reason=refusal.code.value,
        dialect=visit.dialect,
        key=visit.key,
        client_address=visit.address,
        message=refusal.message,
    )
