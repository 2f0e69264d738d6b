"""The admin listener: its connections, who may ask, and which handler answers.

It stands on the same HTTP server as the public port, with its own small bounds: it must still
answer when clients have used up everything else.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import attrs
import msgspec
import trio

from relayd.config.address import TcpAddress
from relayd.config.secret import Secret
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.observe.metrics_text import TextFormat
from relayd.protocol.head import Head, HeadError
from relayd.protocol.http1 import RequestReader
from relayd.service.admin import paging
from relayd.service.admin.access import refuse_access
from relayd.service.admin.actions import Actions
from relayd.service.admin.configuration import config_view
from relayd.service.admin.devices import device_routes
from relayd.service.admin.readiness import Readiness, account_checks, descriptor_check
from relayd.service.admin.routes import OPERATIONS
from relayd.service.admin.shapes import Live, Ready
from relayd.service.admin.state import Operations
from relayd.service.admin.views import NO_STORE, Views, answer
from relayd.service.http.connection import HttpConnection
from relayd.service.http.exchange import UNWELCOME
from relayd.service.http.refusals import HttpRefused, refused_response
from relayd.service.http.request import Request
from relayd.service.http.responses import Json, Response, Stream, encode_whole
from relayd.service.http.router import Route, Router
from relayd.service.http.service import (
    Handler,
    HttpLimits,
    OnRequest,
    Outcome,
    RequestFacts,
    Service,
    log_request,
    new_request_id,
    nobody,
)
from relayd.transport import raw
from relayd.transport.errors import DialError

log = get_logger()

REQUEST_S: Final = 10.0
"""For a request's head, and for a client that takes nothing of its answer."""

HEAD_MAX_BYTES: Final = 16384
BODY_MAX_BYTES: Final = 65536
"""No route reads a body; one up to this long is passed over."""

CONNECTIONS_MAX: Final = 64
"""Over it, those that are between requests, or in the middle of a head, are ended."""

CONNECTIONS_REFUSED_FROM: Final = 2 * CONNECTIONS_MAX
"""With so many requests being answered, further connections are closed unread."""

PART_S: Final = 1.0
"""How long a client gets to take the refusal of what became no request, and hang up."""

_RECEIVE_BYTES: Final = 16384
_TIMEOUT: Final = Refusal(
    RefusalCode.HEAD_TIMEOUT, f"The request's head did not arrive within {REQUEST_S:g} s."
)


@attrs.define(eq=False)
class _Visitor:
    """One connection."""

    connection: HttpConnection
    reading: trio.CancelScope

    def leave_if_waiting(self) -> None:
        """End it, unless a request of its is being answered."""
        self.reading.cancel(reason="too many connections")
        self.connection.close_if_idle()


@attrs.define(eq=False, kw_only=True)
class Admin:
    """Serves the connections of the admin listener.

    Attributes:
        token: Demanded of TCP clients; without one none of them is let in. May be replaced.
        own: What TCP clients may call the listener beside its loopback names; see
            :func:`relayd.service.admin.access.own_addresses`.
        readiness: Asked for each ``/readyz``.
        operations: What else can be asked and done; ``None`` serves the probes alone.
        on_request: Hears of every request that has ended, and of what became none.
        on_crash: Told of a bug that ended a whole connection.
    """

    token: Secret | None
    readiness: Callable[[], Readiness]
    operations: Operations | None = None
    own: tuple[TcpAddress, ...] = ()
    on_request: OnRequest = nobody
    on_crash: Callable[[], None] = lambda: None
    router: Router = attrs.field(init=False)
    _actions: Actions | None = attrs.field(default=None, init=False)
    _hold: HoldBudget = attrs.field(factory=lambda: HoldBudget(BODY_MAX_BYTES), init=False)
    _visitors: set[_Visitor] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        """Join the table of routes and its handlers."""
        handlers = self._handlers()
        routes = [
            Route(each.method, each.pattern, handlers[each.name], each.name, each.summary)
            for each in OPERATIONS
            if each.is_probe or self.operations is not None
        ]
        if self.operations is not None:
            routes += device_routes(self.operations)
        self.router = Router(routes)

    async def serve(self, sock: socket.socket, address: str, number: int = 0) -> None:
        """Serve one accepted connection to its end. Owns ``sock``; raises nothing for a peer."""
        tcp = sock.family != socket.AF_UNIX
        connection = HttpConnection(
            sock=sock, client_address=lambda _: address, service=self._service(tcp=tcp)
        )
        visitor = _Visitor(connection, trio.CancelScope())
        with sock:
            if len(self._visitors) >= CONNECTIONS_MAX:
                for other in tuple(self._visitors):
                    other.leave_if_waiting()
            if len(self._visitors) >= CONNECTIONS_REFUSED_FROM:
                return
            self._visitors.add(visitor)
            try:
                await self._serve(visitor)
            except Exception as error:  # noqa: BLE001 - the boundary of an admin connection: a bug here ends one
                self.on_crash()
                log.error(LogEvent.REQUEST_CRASHED, traceback=error)
            finally:
                self._visitors.discard(visitor)

    async def _serve(self, visitor: _Visitor) -> None:
        reader = RequestReader(HEAD_MAX_BYTES)
        head: Head | None = None
        refusal: Refusal | None = None
        visitor.reading.deadline = trio.current_time() + REQUEST_S
        sock = visitor.connection.sock
        with visitor.reading:
            try:
                while head is None:
                    data = await raw.receive(sock, _RECEIVE_BYTES)
                    if not data:
                        return
                    head = reader.feed(data)
            except HeadError as error:
                refusal = error.refusal
            except DialError:
                return
        if head is not None:
            await visitor.connection.serve(head, reader.leftover)
        else:
            await self._turn_away(visitor.connection, refusal or _TIMEOUT)

    async def _turn_away(self, connection: HttpConnection, refusal: Refusal) -> None:
        """Answer what became no request, and let the client take the answer."""
        request_id, response = new_request_id(), refused_response(refusal)
        data = encode_whole(response, request_id=request_id, close=True, head_only=False)
        outcome = Outcome.STOPPED
        try:
            with trio.move_on_after(PART_S):
                await raw.send_all(connection.sock, data)
                outcome = Outcome.COMPLETE
                connection.sock.shutdown(socket.SHUT_WR)
                await raw.drop_rest(connection.sock)
        except (DialError, OSError):
            if outcome is Outcome.STOPPED:  # else it left without hearing the end
                outcome = Outcome.CLIENT_GONE
        finally:
            self._told(
                RequestFacts(
                    request_id=request_id,
                    method=None,
                    route=None,
                    status=response.status,
                    outcome=outcome,
                    reason=refusal.code.value,
                    key=None,
                    client_address=connection.client_address(None),
                    duration_ms=0,
                    bytes_in=0,
                    bytes_out=len(data) if outcome is Outcome.COMPLETE else 0,
                )
            )

    def _service(self, *, tcp: bool) -> Service:
        limits = HttpLimits(
            head_max_bytes=HEAD_MAX_BYTES,
            body_max_bytes=BODY_MAX_BYTES,
            head_s=REQUEST_S,
            stall_s=REQUEST_S,
        )

        async def handle(request: Request) -> Response:
            refusal = refuse_access(request.head, self.token, tcp=tcp, own=self.own)
            if refusal is not None:
                raise HttpRefused(refusal)
            return await self.router(request)

        return Service(
            limits=limits, handler=handle, hold=self._hold, closing=lambda: False, tell=self._told
        )

    def _told(self, facts: RequestFacts) -> None:
        """A request has ended: its line, its metrics, and what was to wait for its answer."""
        log_request(facts, quiet=_is_quiet(facts))
        self.on_request(facts)
        if self._actions is not None and self._actions.wants_drain:
            self._actions.wants_drain = False
            self._actions.operations.drain()

    # -- handlers

    def _handlers(self) -> dict[str, Handler]:
        """Every operation's handler, by its name."""
        probes: dict[str, Handler] = {"live": self._live, "ready": self._ready}
        operations = self.operations
        if operations is None:
            return probes
        views = Views(operations)
        actions = self._actions = Actions(operations, views)

        async def metrics(request: Request) -> Stream:
            paging.parameters(request, ())
            form = TextFormat.accepted(request.head.get("accept"))
            return Stream(operations.metrics(form), content_type=form.value, headers=NO_STORE)

        async def show_config(request: Request) -> Json:
            paging.parameters(request, ())
            return answer(await config_view(operations))

        return probes | {
            "metrics": metrics,
            "list_sessions": views.list_sessions,
            "show_session": views.show_session,
            "kill_session": actions.kill_session,
            "list_accounts": views.list_accounts,
            "enable_account": actions.enable_account,
            "disable_account": actions.disable_account,
            "list_pools": views.list_pools,
            "list_keys": views.list_keys,
            "show_config": show_config,
            "drain": actions.drain,
            "reload": actions.reload,
        }

    async def _live(self, request: Request) -> Json:
        """``GET /livez``: it needs nothing but the loop that runs this."""
        return answer(Live(live=True))

    async def _ready(self, request: Request) -> Json:
        """``GET /readyz``."""
        verbose = "verbose" in paging.parameters(request, ("verbose",))
        state = self.readiness()
        checks = state.checks()
        if self.operations is not None:
            checks += await account_checks(self.operations.connector.roster)
            if verbose:
                checks.append(await descriptor_check())
        ready = all(check.ok or not check.required for check in checks)
        said = Ready(
            ready=ready,
            draining=state.draining,
            overloaded=state.overloaded,
            ledger_failing=state.ledger_failing,
            checks=tuple(checks) if verbose else msgspec.UNSET,
        )
        return answer(said, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _is_quiet(facts: RequestFacts) -> bool:
    """Whether a request's line can be at level debug: it changed nothing, nobody was kept out."""
    acted = facts.method == "POST" and facts.route is not None
    return not acted and facts.status not in UNWELCOME
