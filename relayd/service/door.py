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

from relayd.config.providers import Dialect
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason, Side
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode, not_fatal
from relayd.dialect.meter import Refuse
from relayd.observe.bus import Bus
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.protocol.head import Head, HeadError
from relayd.protocol.outcomes import EndOfStream, Event
from relayd.protocol.upgrade import (
    UpgradeRequest,
    check_upgrade,
    response_101,
)
from relayd.service.acceptor import SlowHeads
from relayd.service.chat import ChatApi
from relayd.service.entrance import DRAINING, read_head
from relayd.service.opening import Workshop
from relayd.service.public import PublicApi
from relayd.service.responses import ResponsesApi
from relayd.service.visit import OnRefused, Refused, Visit, cut_off, nobody, refuse
from relayd.session.admission import Grant, Quota, admit
from relayd.session.books import LEDGER_UNAVAILABLE, Books
from relayd.session.chat.shared import ChatShared
from relayd.session.connecting import Connected, Connector
from relayd.session.dialects import answer_subprotocol, wish_of
from relayd.session.responses.session import ResponsesSession
from relayd.session.responses.shared import Shared
from relayd.session.routes import Route, find_route
from relayd.session.session import Session
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

log = get_logger()

_LEDGER_UNAVAILABLE: Final = Refusal(
    RefusalCode.LEDGER_UNAVAILABLE, LEDGER_UNAVAILABLE.message, retry_after_s=5.0
)


@attrs.define(eq=False, kw_only=True)
class Door:
    """Lets connections in.

    Attributes:
        snapshot: The configuration in force; each connection keeps the one it met.
        tls: For clients; ``None`` where they speak plain HTTP.
        responses: What sessions of the responses dialect share.
        chat: What requests of the chat dialect share.
        on_refused: Hears of every connection that becomes no session.
        http: What is answered without an upgrade.
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
    responses: Shared
    chat: ChatShared
    on_refused: OnRefused = nobody
    http: PublicApi = attrs.field(init=False)
    sessions: dict[str, Session | ResponsesSession] = attrs.field(factory=dict, init=False)
    draining: bool = attrs.field(default=False, init=False)
    crashes: int = attrs.field(default=0, init=False)
    _workshop: Workshop = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.http = PublicApi(
            house=self,
            hold=self.hold,
            wall=self.books.wall,
            responses=ResponsesApi(shared=self.responses, books=self.books, bus=self.bus),
            chat=ChatApi(shared=self.chat, books=self.books, bus=self.bus),
        )
        self._workshop = Workshop(
            reactor=self.reactor,
            books=self.books,
            bus=self.bus,
            hold=self.hold,
            responses=self.responses,
        )

    def drain(self, *, deadline: float, refuse: Refuse) -> None:
        """Let nobody in any more; sessions end as their responses do, by ``deadline``."""
        self.draining = True
        self.http.drain()
        self.responses.pool.drain()
        self.chat.drain()
        for session in tuple(self.sessions.values()):
            session.leave(Reason.DRAIN, at=deadline, refuse=refuse)

    def apply(self, snapshot: Snapshot) -> None:
        """Use a new configuration from now on; sessions whose key or account it lacks end.

        Others go on under the configuration they were admitted by.
        """
        self.snapshot = snapshot
        for session in tuple(self.sessions.values()):
            session.review(snapshot)

    async def serve(self, sock: socket.socket, address: str, number: int = 0) -> None:
        """Serve one accepted connection to its end. Owns ``sock``; raises nothing for a peer."""
        session_id = f"sess_{os.urandom(12).hex()}"
        visit = Visit(sock, address, number, trio.current_time(), session_id, self.on_refused)
        try:
            # What led to the session is forgotten when it begins: it may last an hour.
            session = await self._open(visit)
            if session is not None:
                self.sessions[visit.session_id] = session
                session.review(self.snapshot)  # it may be another than the one that admitted it
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
                cut_off(visit, DRAINING)
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

    async def _open(self, visit: Visit) -> Session | ResponsesSession | None:
        """From the first byte to the 101; what is held for it is in ``visit.holdings``.

        ``None`` where the connection was not for a session, and has been served.
        """
        head = await read_head(visit, self)
        snapshot = self.snapshot  # from here to the session's end
        if self.http.takes(head) and not _is_upgrade(head):
            visit.settled = True
            await self.http.serve(visit, head)
            return None
        request, grant = self._admit(visit, head, snapshot)
        lease = await self.quota.take(grant)
        if isinstance(lease, Refusal):
            raise Refused(not_fatal(lease) if grant.dialect is Dialect.RESPONSES else lease)
        visit.holdings.append(lease.release)
        client = Endpoint(visit.sock, Side.CLIENT, self.hold, trio.current_time())
        self.reactor.adopt(client)
        visit.holdings.append(lambda: self._forget(client))
        if grant.dialect is Dialect.RESPONSES:
            return self._accept_responses(visit, request, grant, client, snapshot)
        connected = await self._connect(visit, client, grant, snapshot)
        visit.holdings.append(connected.seat.release)
        visit.holdings.append(lambda: self._forget(connected.endpoint, close=True))
        if self.draining:  # it began while the upstream was dialled
            raise Refused(DRAINING)
        return self._accept(visit, request, grant, client, connected, snapshot)

    def _forget(self, endpoint: Endpoint, *, close: bool = False) -> None:
        self.reactor.release(endpoint)
        if close:
            endpoint.close()
        else:
            endpoint.on_event = None
            endpoint.keep_tail(None)

    # -- admission

    def _admit(self, visit: Visit, head: Head, snapshot: Snapshot) -> tuple[UpgradeRequest, Grant]:
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
            request, visit.client_address, snapshot, trio.current_time(), self.books.wall()
        )
        if isinstance(granted, Refusal):
            visit.key = granted.key_name
            raise Refused(granted)
        visit.key = granted.key.name
        if self.draining:
            raise Refused(DRAINING)
        if self.hold.full:
            message = "relayd holds as many bytes as it may; try again later."
            raise Refused(Refusal(RefusalCode.OVERLOAD, message, retry_after_s=1.0))
        if not self.books.ledger.accepts_turns:
            raise Refused(_LEDGER_UNAVAILABLE)
        return request, granted

    async def _connect(
        self, visit: Visit, client: Endpoint, grant: Grant, snapshot: Snapshot
    ) -> Connected:
        """Find an upstream, while the client is watched: it may leave, or not wait."""
        wish = wish_of(grant, self.connector.roster, snapshot.prices)
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
                deadline=visit.accepted_at + snapshot.settings.limits.admission_s,
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
        snapshot: Snapshot,
    ) -> Session:
        """Write the 101 and put the session together."""
        now = trio.current_time()
        subprotocol = answer_subprotocol(grant, connected.subprotocol)
        visit.settled = True
        client.sink.preface(response_101(request.key, subprotocol))
        self.reactor.adopt(connected.endpoint)
        return self._workshop.make(
            grant,
            snapshot,
            client,
            connected,
            session_id=visit.session_id,
            accepted_at=visit.accepted_at,
            now=now,
        )

    def _accept_responses(
        self,
        visit: Visit,
        request: UpgradeRequest,
        grant: Grant,
        client: Endpoint,
        snapshot: Snapshot,
    ) -> ResponsesSession:
        """Likewise a session whose turns find their upstreams when they are asked for."""
        if self.draining:  # it began while the quota was asked
            raise Refused(DRAINING)
        now = trio.current_time()
        visit.settled = True
        client.sink.preface(response_101(request.key, answer_subprotocol(grant, None)))
        return self._workshop.make_responses(
            grant,
            snapshot,
            client,
            session_id=visit.session_id,
            accepted_at=visit.accepted_at,
            now=now,
        )


def _is_upgrade(head: Head) -> bool:
    """Whether a path that serves both is asked for its WebSocket."""
    return head.method == "GET" and isinstance(find_route(head.path), Route)


def _not_waiting(event: Event) -> Refusal:
    if isinstance(event, EndOfStream):
        return Refusal(RefusalCode.CLIENT_GONE, "The client left before the 101.")
    message = "Bytes followed the request; wait for the 101 before sending frames."
    return Refusal(RefusalCode.EARLY_BYTES, message)
