"""The front door: from an accepted connection to a session, or to a refusal.

Everything before the 101 happens here, for every dialect and route: TLS, the strict head, one
authentication, admission, quota, the upstream. The client hears 101 only when an upstream is
ready, so whatever fails before has an HTTP status of its own. No input of a peer crosses the
boundary in :meth:`Door.serve`.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason, Side
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.observe.bus import Bus, SessionFacts
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.protocol.head import Head, HeadError, HeadReader
from relayd.protocol.outcomes import EndOfStream, Event
from relayd.protocol.upgrade import (
    UpgradeRequest,
    check_upgrade,
    response_101,
)
from relayd.service.acceptor import SlowHeads
from relayd.service.visit import Refused, Visit, cut_off, refuse
from relayd.session.accounts import log_changes
from relayd.session.admission import Grant, Quota, admit
from relayd.session.connecting import Connected, Connector
from relayd.session.dialects import (
    answer_subprotocol,
    conversation_of,
    message_max_bytes,
    priced_model,
    wish_of,
)
from relayd.session.metering import LEDGER_UNAVAILABLE, Books, SessionMeter
from relayd.session.reporter import Reporter, Timing
from relayd.session.routes import find_route
from relayd.session.session import Session
from relayd.session.terms import KEY_REMOVED, Deadlines, removed, term_of
from relayd.transport import raw, tls
from relayd.transport.endpoint import Endpoint
from relayd.transport.errors import DialError, DialErrorKind, TlsError
from relayd.transport.reactor import Reactor

log = get_logger()

SLOW_AFTER_S: Final = 1.0
"""A head that is not complete after this counts against its address."""

_RECEIVE_BYTES: Final = 16384
_TOO_MANY_SLOW: Final = "Too many requests of this address are unfinished; this was the oldest."
_GONE: Final = Refusal(RefusalCode.CLIENT_GONE, "The client left before its request was complete.")
_DRAINING: Final = Refusal(
    RefusalCode.DRAINING, "relayd is restarting; connect again.", retry_after_s=1.0
)


_LEDGER_UNAVAILABLE: Final = Refusal(
    RefusalCode.LEDGER_UNAVAILABLE, LEDGER_UNAVAILABLE.message, retry_after_s=5.0
)


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
    books: Books
    bus: Bus
    hold: HoldBudget
    slow_heads: SlowHeads
    sessions: dict[str, Session] = attrs.field(factory=dict, init=False)
    draining: bool = attrs.field(default=False, init=False)
    crashes: int = attrs.field(default=0, init=False)

    def apply(self, snapshot: Snapshot) -> None:
        """Use a new configuration from now on; sessions whose key is no longer in it end.

        A session goes on under the configuration it was admitted by, but not without its key.
        """
        self.snapshot = snapshot
        for session in tuple(self.sessions.values()):
            if removed(session.key, snapshot):
                session.run_out(Reason.KEY_REMOVED, KEY_REMOVED)

    async def serve(self, sock: socket.socket, address: str, number: int = 0) -> None:
        """Serve one accepted connection to its end. Owns ``sock``; raises nothing for a peer."""
        session_id = f"sess_{os.urandom(12).hex()}"
        visit = Visit(sock, address, number, trio.current_time(), session_id)
        try:
            # What led to the session is forgotten when it begins: it may last an hour.
            session = await self._open(visit)
            self.sessions[visit.session_id] = session
            await session.run()
        except Refused as refused:
            visit.leave()
            await refuse(visit, refused.refusal)
        except Exception as error:  # noqa: BLE001 - the boundary of a connection: a bug here ends one connection
            visit.leave()
            await self._crashed(visit, error)
        finally:
            self.sessions.pop(visit.session_id, None)
            visit.leave()
            if not visit.settled:
                cut_off(visit, _DRAINING)
            visit.sock.close()

    async def _crashed(self, visit: Visit, error: Exception) -> None:
        self.crashes += 1
        log.error(
            LogEvent.SESSION_CRASHED,
            session_id=visit.session_id,
            dialect=visit.dialect,
            traceback=error,
        )
        if not visit.settled:
            message = f"A bug in relayd; its log has the details under {visit.session_id}."
            await refuse(visit, Refusal(RefusalCode.INTERNAL_ERROR, message))

    async def _open(self, visit: Visit) -> Session:
        """From the first byte to the 101; what is held for it is in ``visit.holdings``."""
        head = await self._read_head(visit)
        request, grant = self._admit(visit, head)
        lease = await self.quota.take(grant)
        if isinstance(lease, Refusal):
            raise Refused(lease)
        visit.holdings.append(lease.release)
        client = Endpoint(visit.sock, Side.CLIENT, self.hold, trio.current_time())
        self.reactor.adopt(client)
        visit.holdings.append(lambda: self._forget(client))
        connected = await self._connect(visit, client, grant)
        visit.holdings.append(connected.seat.release)
        visit.holdings.append(lambda: self._forget(connected.endpoint, close=True))
        if self.draining:  # it began while the upstream was dialled
            raise Refused(_DRAINING)
        return self._accept(visit, request, grant, client, connected)

    def _forget(self, endpoint: Endpoint, *, close: bool = False) -> None:
        self.reactor.release(endpoint)
        if close:
            endpoint.close()
        else:
            endpoint.on_event = None
            endpoint.keep_tail(None)

    # -- the head

    async def _read_head(self, visit: Visit) -> Head:
        """TLS, then the request's head, within ``handshake_s``."""
        limits = self.snapshot.settings.limits
        reader = HeadReader(limits.request_head_max_bytes)
        deadline = visit.accepted_at + limits.handshake_s
        token = id(visit)
        try:
            with trio.CancelScope(deadline=deadline) as scope:
                slow_at = visit.accepted_at + SLOW_AFTER_S
                self.slow_heads.add(
                    visit.address, token, scope, slow_at=slow_at, number=visit.number
                )
                return await self._receive_head(visit, reader, deadline)
        finally:
            self.slow_heads.remove(visit.address, token)
        message = f"The request's head did not arrive within {limits.handshake_s:g} s."
        if trio.current_time() < deadline:
            message = _DRAINING.message if self.draining else _TOO_MANY_SLOW
        raise Refused(Refusal(RefusalCode.HEAD_TIMEOUT, message))

    async def _receive_head(self, visit: Visit, reader: HeadReader, deadline: float) -> Head:
        try:
            if self.tls is not None and not isinstance(visit.sock, ssl.SSLSocket):
                visit.sock = await self._secured(visit.sock, self.tls, deadline)
            while True:
                data = await raw.receive(visit.sock, _RECEIVE_BYTES)
                if not data:
                    raise Refused(_GONE)
                head = reader.feed(data)
                if head is not None:
                    visit.head_only = head.method == "HEAD"
                    return head
        except HeadError as error:
            raise Refused(error.refusal) from None
        except DialError:
            raise Refused(_GONE) from None

    async def _secured(
        self, sock: socket.socket, context: ssl.SSLContext, deadline: float
    ) -> ssl.SSLSocket:
        try:
            return await tls.start_server(sock, context, deadline=deadline)
        except TlsError as error:
            gone = error.kind is DialErrorKind.CONNECTION_LOST
            code = RefusalCode.CLIENT_GONE if gone else RefusalCode.TLS_FAILED
            raise Refused(Refusal(code, f"TLS with the client: {error.message}.")) from None

    # -- admission

    def _admit(self, visit: Visit, head: Head) -> tuple[UpgradeRequest, Grant]:
        """Everything that can be decided at once."""
        route = find_route(head.path)
        if isinstance(route, Refusal):
            raise Refused(route)
        visit.dialect = route.dialect
        try:
            request = check_upgrade(head)
        except HeadError as error:
            raise Refused(error.refusal) from None
        granted = admit(
            request, visit.address, self.snapshot, trio.current_time(), self.books.wall()
        )
        if isinstance(granted, Refusal):
            visit.key = granted.key_name
            raise Refused(granted)
        visit.key = granted.key.name
        if self.draining:
            raise Refused(_DRAINING)
        if self.hold.full:
            message = "relayd holds as many bytes as it may; try again later."
            raise Refused(Refusal(RefusalCode.OVERLOAD, message, retry_after_s=1.0))
        if not self.books.ledger.accepts_turns:
            raise Refused(_LEDGER_UNAVAILABLE)
        return request, granted

    async def _connect(self, visit: Visit, client: Endpoint, grant: Grant) -> Connected:
        """Find an upstream, while the client is watched: it may leave, or not wait."""
        wish = wish_of(grant, self.connector.roster, self.snapshot.prices)
        if isinstance(wish, Refusal):
            raise Refused(wish)
        events: list[Event] = []
        with trio.CancelScope() as scope:

            def on_event(event: Event) -> None:
                events.append(event)
                scope.cancel(reason="the client did not wait")

            client.on_event = on_event
            self.reactor.arm(client, trio.current_time())
            connected = await self.connector.connect(
                wish,
                session_id=visit.session_id,
                deadline=visit.accepted_at + self.snapshot.settings.limits.admission_s,
            )
        # It stays armed: the session sets its flow before any other task runs.
        client.on_event = None
        if scope.cancelled_caught:
            raise Refused(_not_waiting(events[0]))
        if isinstance(connected, Refusal):
            raise Refused(connected)
        if events:
            connected.endpoint.close()
            connected.seat.release()
            raise Refused(_not_waiting(events[0]))
        return connected

    # -- the session

    def _accept(
        self,
        visit: Visit,
        request: UpgradeRequest,
        grant: Grant,
        client: Endpoint,
        connected: Connected,
    ) -> Session:
        """Write the 101 and put the session together."""
        now = trio.current_time()
        account, seat = connected.seat.account, connected.seat
        subprotocol = answer_subprotocol(grant, connected.subprotocol)
        visit.settled = True
        client.sink.preface(response_101(request.key, subprotocol))
        self.reactor.adopt(connected.endpoint)
        facts = SessionFacts(
            session_id=visit.session_id,
            dialect=grant.dialect,
            key=grant.key.name,
            tenant=grant.key.tenant,
            account=account.name,
            model=grant.model,
        )
        meter = SessionMeter(
            books=self.books,
            facts=facts,
            key=grant.key,
            prices=self.snapshot.prices,
            upstream_model=priced_model(grant, account),
            tag=grant.tag,
        )
        reporter = Reporter(
            facts=facts,
            bus=self.bus,
            meter=meter,
            timing=Timing(
                accepted_at=visit.accepted_at,
                started_at=now,
                connect_ms=connected.connect_ms,
                first_frame_ms=connected.first_frame_ms,
            ),
            account_failed=lambda failure, at: log_changes(seat.fail(failure, at)),
        )
        limits = self.snapshot.settings.limits
        session = Session(
            client=client,
            upstream=connected.endpoint,
            reactor=self.reactor,
            hold=self.hold,
            conversation=conversation_of(grant, account, meter, reporter, meter.may_use),
            reporter=reporter,
            deadlines=Deadlines(
                limits,
                account.timeouts,
                term_of(grant.key, now, limits.session_max_s, self.books.wall()),
            ),
            message_max_bytes=message_max_bytes(grant, limits.message_max_bytes),
            key=grant.key,
        )
        meter.leave = session.run_out
        return session


def _not_waiting(event: Event) -> Refusal:
    if isinstance(event, EndOfStream):
        return Refusal(RefusalCode.CLIENT_GONE, "The client left before the 101.")
    message = "Bytes followed the request; wait for the 101 before sending frames."
    return Refusal(RefusalCode.EARLY_BYTES, message)
