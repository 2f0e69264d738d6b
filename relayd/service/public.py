"""What the public port answers without an upgrade, over the HTTP server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import attrs
import trio

from relayd.config.providers import Dialect
from relayd.config.snapshot import Account, Key, Snapshot
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head
from relayd.service.chat import CHAT_PATHS, ChatApi
from relayd.service.http.connection import HttpConnection
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json, Response
from relayd.service.http.router import Route, Router
from relayd.service.http.service import (
    HttpLimits,
    OnRequest,
    RequestFacts,
    Service,
    log_request,
    nobody,
)
from relayd.service.hub.api import HubApi
from relayd.service.responses import ResponsesApi
from relayd.service.visit import Visit
from relayd.service.xiaozhi.api import OtaApi
from relayd.session.admission import check_key
from relayd.session.authentication import authenticate
from relayd.session.client_address import client_address
from relayd.session.origin import check_origin
from relayd.session.routes import DIALECT_PATHS

RESPONSES_PATHS: Final = tuple(
    path for path, dialect in DIALECT_PATHS.items() if dialect is Dialect.RESPONSES
)
"""The same as those of its WebSocket: clients that get none there send a POST to them."""

OPEN_MAX: Final = 1024
"""Connections beside sessions; over it, those that wait for a next request are ended."""

OWNED_BY: Final = "relayd"
"""Who a client is told owns a model: which account serves it is not for clients to know."""


class House(Protocol):
    """What the API belongs to."""

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""

    @property
    def draining(self) -> bool:
        """Whether connections end with the response in progress."""


@attrs.define(eq=False, kw_only=True)
class PublicApi:
    """The routes, and the connections that are being served.

    Attributes:
        house: Whose they are.
        hold: Where the bytes of bodies are counted.
        wall: Seconds since the epoch.
        on_request: Hears of every request that has ended.
    """

    house: House
    hold: HoldBudget
    wall: Callable[[], float]
    responses: ResponsesApi
    chat: ChatApi
    hub: HubApi
    ota: OtaApi
    on_request: OnRequest = nobody
    router: Router = attrs.field(init=False)
    _open: set[HttpConnection] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.router = Router(
            [
                *(
                    Route("POST", path, self._responses, f"create_response_{number}", "A response.")
                    for number, path in enumerate(RESPONSES_PATHS, 1)
                ),
                *(
                    Route("POST", path, self._chat, f"create_chat_{number}", "A chat completion.")
                    for number, path in enumerate(CHAT_PATHS, 1)
                ),
                Route("GET", "/v1/models", self._models, "list_models", "The models of the key."),
                *self.hub.routes(),
                *self.ota.routes(),
            ]
        )

    def takes(self, head: Head) -> bool:
        """Whether ``head`` is for one of the routes' paths."""
        found = self.router.find(head.method, head.path)
        return not (isinstance(found, Refusal) and found.code is RefusalCode.NOT_FOUND)

    async def serve(self, visit: Visit, head: Head) -> None:
        """Serve a connection whose first request is ``head`` to its end. Raises nothing."""
        limits = self.house.snapshot.settings.limits
        connection = HttpConnection(
            sock=visit.sock,
            client_address=partial(self._address, visit),
            service=Service(
                limits=HttpLimits(
                    head_max_bytes=limits.request_head_max_bytes,
                    body_max_bytes=limits.request_body_max_bytes,
                    head_s=limits.handshake_s,
                    stall_s=limits.stall_s,
                ),
                handler=self.router,
                hold=self.hold,
                closing=lambda: self.house.draining,
                tell=self._told,
            ),
            reading=visit.reading,
        )
        if len(self._open) - len(self.hub.streams) >= OPEN_MAX:
            self._close_idle()
        self._open.add(connection)
        try:
            await connection.serve(head, visit.leftover)
        finally:
            self._open.discard(connection)

    def _address(self, visit: Visit, head: Head | None) -> str:
        """Where a request comes from; a proxy may send those of several clients."""
        if head is None:
            return visit.client_address
        server = self.house.snapshot.settings.server
        return client_address(visit.address, head, server, visit.proxied)

    def drain(self) -> None:
        """End the connections that only wait for a next request, and those that have no end."""
        self.hub.drain()
        self._close_idle()

    def _close_idle(self) -> None:
        for connection in tuple(self._open):
            connection.close_if_idle()

    def _told(self, facts: RequestFacts) -> None:
        """A request has ended: its line, and its share in the metrics."""
        log_request(facts)
        self.on_request(facts)

    def _authenticated(self, request: Request) -> Key:
        """The key of a request. Raises :class:`HttpRefused`."""
        head, allowed = request.head, self.house.snapshot.settings.server.allowed_origins
        foreign = check_origin(head.get("origin"), head.get("host") or "", allowed)
        if foreign is not None:
            raise HttpRefused(foreign)
        key = authenticate(head, self.house.snapshot)
        if isinstance(key, Refusal):
            raise HttpRefused(key)
        request.key = key.name
        refusal = check_key(key, request.client_address, self.wall())
        if refusal is not None:
            raise HttpRefused(refusal)
        return key

    async def _responses(self, request: Request) -> Response:
        """``POST /v1/responses``."""
        return await self.responses.create(
            request, self._authenticated(request), self.house.snapshot
        )

    async def _chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        return await self.chat.create(request, self._authenticated(request), self.house.snapshot)

    async def _models(self, request: Request) -> Response:
        """``GET /v1/models`` in OpenAI's shape: the names that the key may ask for."""
        key = self._authenticated(request)
        names = {
            name
            for account in self.house.snapshot.accounts
            if account.enabled
            for name in _named(account)
            if key.permits_model(name)
        }
        await trio.lowlevel.checkpoint()
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": OWNED_BY}
            for name in sorted(names)
        ]
        return Json({"object": "list", "data": data})


def _named(account: Account) -> tuple[str, ...]:
    """The names that an account serves; patterns name nothing that could be listed."""
    return (*(name for name in account.models if "*" not in name), *account.model_map)
