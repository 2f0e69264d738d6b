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
from collections.abc import Mapping
from functools import partial

import attrs
import trio

from relayd.config.providers import Dialect
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason, Side
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.meter import Refuse
from relayd.observe.bus import Bus
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.protocol.head import Head, HeadError
from relayd.protocol.upgrade import check_upgrade
from relayd.service.acceptor import SlowHeads
from relayd.service.chat import ChatApi
from relayd.service.entrance import DRAINING, read_head
from relayd.service.entries.entry import AnySession, Entry, Opening, entry_of
from relayd.service.entries.hub import HubOpening
from relayd.service.entries.relayed import RelayedOpening
from relayd.service.entries.responses import ResponsesOpening
from relayd.service.entries.xiaozhi import XiaozhiOpening
from relayd.service.hub.accounts import Accounts
from relayd.service.hub.api import HubApi
from relayd.service.hub.wiring import HubShared, api_of
from relayd.service.opening import Workshop
from relayd.service.pooling import pools_of
from relayd.service.public import PublicApi
from relayd.service.responses import ResponsesApi
from relayd.service.visit import OnRefused, Refused, Visit, cut_off, nobody, refuse
from relayd.service.xiaozhi.wiring import DevicesShared
from relayd.session import admission
from relayd.session.admission import Quota, RefusedAdmission
from relayd.session.books import Books
from relayd.session.chat.shared import ChatShared
from relayd.session.connecting import Connector
from relayd.session.hub import admission as hub_admission
from relayd.session.responses.shared import Shared
from relayd.session.routes import Route, find_route
from relayd.session.xiaozhi import admission as device_admission
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

log = get_logger()


@attrs.define(eq=False, kw_only=True)
class Door:
    """Lets connections in.

    Attributes:
        snapshot: The configuration in force; each connection keeps the one it met.
        tls: For clients; ``None`` where they speak plain HTTP.
        responses: What sessions of the responses dialect share.
        chat: What requests of the chat dialect share.
        hub: What clients of the event hub share.
        devices: What devices share.
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
    hub: HubShared
    devices: DevicesShared
    on_refused: OnRefused = nobody
    http: PublicApi = attrs.field(init=False)
    sessions: dict[str, AnySession] = attrs.field(factory=dict, init=False)
    draining: bool = attrs.field(default=False, init=False)
    crashes: int = attrs.field(default=0, init=False)
    _entries: Mapping[Dialect, Entry] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.http = PublicApi(
            house=self,
            hold=self.hold,
            wall=self.books.wall,
            responses=ResponsesApi(shared=self.responses, books=self.books, bus=self.bus),
            chat=ChatApi(shared=self.chat, books=self.books, bus=self.bus),
            hub=self._hub_api(),
            ota=self.devices.ota(self),
        )
        workshop = Workshop(
            reactor=self.reactor,
            books=self.books,
            bus=self.bus,
            hold=self.hold,
            responses=self.responses,
        )
        relayed = entry_of(admission.admit, partial(RelayedOpening, workshop, self.connector))
        self._entries = {
            Dialect.REALTIME: relayed,
            Dialect.PASSTHROUGH: relayed,
            Dialect.RESPONSES: entry_of(admission.admit, partial(ResponsesOpening, workshop)),
            Dialect.HUB: entry_of(hub_admission.admit, partial(HubOpening, self.hub.desk)),
            Dialect.XIAOZHI: entry_of(
                device_admission.admit, partial(XiaozhiOpening, self.devices.desk)
            ),
        }

    def _hub_api(self) -> HubApi:
        accounts = Accounts(
            roster=self.connector.roster,
            pools=lambda: pools_of(self.responses.pool, self.snapshot),
            wall=self.books.wall,
        )
        return api_of(
            self.hub,
            self,
            sessions=self.sessions,
            accounts=accounts,
            draining=lambda: self.draining,
        )

    @property
    def accepts_turns(self) -> bool:
        """Whether what turns cost can be written down."""
        return self.books.ledger.accepts_turns

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
        self.hub.apply(snapshot)
        self.devices.desk.apply(snapshot)
        self.http.hub.review(snapshot)
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

    async def _open(self, visit: Visit) -> AnySession | None:
        """From the first byte to the 101; what is held for it is in ``visit.holdings``.

        ``None`` where the connection was not for a session, and has been served.
        """
        head = await read_head(visit, self)
        snapshot = self.snapshot  # from here to the session's end
        if self.http.takes(head) and not _is_upgrade(head):
            visit.settled = True
            await self.http.serve(visit, head)
            return None
        return await self._admit(visit, head, snapshot).open(visit, self)

    def client(self, visit: Visit) -> Endpoint:
        """The accepted connection, adopted by the reactor until ``visit`` leaves."""
        client = Endpoint(visit.sock, Side.CLIENT, self.hold, trio.current_time())
        self.reactor.adopt(client)
        visit.holdings.append(lambda: self._forget(client))
        return client

    def _forget(self, client: Endpoint) -> None:
        self.reactor.release(client)
        client.on_event = None
        client.keep_tail(None)

    def _admit(self, visit: Visit, head: Head, snapshot: Snapshot) -> Opening:
        """Everything that can be decided at once."""
        route = find_route(head.path)
        if isinstance(route, Refusal):
            raise Refused(route)
        visit.dialect = route.dialect
        try:
            request = check_upgrade(head)
        except HeadError as error:
            raise Refused(error.refusal) from None
        admitted = self._entries[route.dialect](
            request, visit.client_address, snapshot, trio.current_time(), self.books.wall()
        )
        if isinstance(admitted, RefusedAdmission):
            visit.key = admitted.key_name
            raise Refused(admitted)
        visit.key = admitted.grant.key.name
        if self.draining:
            raise Refused(DRAINING)
        if self.hold.full:
            message = "relayd holds as many bytes as it may; try again later."
            raise Refused(Refusal(RefusalCode.OVERLOAD, message, retry_after_s=1.0))
        return admitted


def _is_upgrade(head: Head) -> bool:
    """Whether a path that serves both is asked for its WebSocket."""
    return head.method == "GET" and isinstance(find_route(head.path), Route)
