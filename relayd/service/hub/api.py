"""The hub's routes on the public port: who asks is found out first, by one function for all.

The admin API is not among them: what an operator can do here is to look, and to end a session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs

from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Response
from relayd.service.http.router import Route
from relayd.service.hub import cross_origin
from relayd.service.hub.events import EventStreams
from relayd.service.hub.live import Live
from relayd.service.hub.publish import Publisher
from relayd.service.hub.static import StaticFiles
from relayd.session.hub.identity import Identity, identify

Known = Callable[[Request, Identity], Awaitable[Response]]
"""Answers a request whose sender is known."""


class House(Protocol):
    """What the API belongs to."""

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""


@attrs.frozen(kw_only=True)
class HubApi:
    """Makes the routes.

    Attributes:
        house: Whose they are.
        wall: Seconds since the epoch.
        publisher: Takes events.
        streams: Sends them.
        live: Shows what runs.
        files: The dashboard.
    """

    house: House
    wall: Callable[[], float]
    publisher: Publisher
    streams: EventStreams
    live: Live
    files: StaticFiles

    def routes(self) -> tuple[Route, ...]:
        """All of them, for the public port's :class:`~relayd.service.http.router.Router`."""
        live = self.live
        asked = (
            self._route("POST", "publish", self.publisher.publish, "Publish events."),
            self._route("GET", "events", self.streams.open, "Follow topics, by SSE."),
            self._route("GET", "me", live.me, "Who asks, and what that allows."),
            self._route("GET", "sessions", live.list_sessions, "The running sessions."),
            self._route("GET", "overview", live.overview, "What was done, in numbers."),
            self._route("GET", "accounts", live.list_accounts, "How the accounts are doing."),
            self._route("POST", "sessions/{session_id}/kill", live.kill, "End a session."),
        )
        return (
            *asked,
            *(self._options(route) for route in asked),
            Route("GET", "/dashboard", self.files.index, "dashboard", "The dashboard."),
            Route("GET", "/dashboard/", self.files.moved, "dashboard_moved", "Where that is."),
            Route("GET", "/dashboard/{file}", self.files.file, "dashboard_file", "Its files."),
        )

    def drain(self) -> None:
        """End the streams of events: their clients come back, to whoever takes over.

        Publishing goes on for as long as there is a connection to publish by.
        """
        self.streams.drain()

    def review(self, snapshot: Snapshot) -> None:
        """End the streams of those whom ``snapshot`` allows something else now, or nothing."""
        self.streams.review(snapshot)

    def _route(self, method: str, path: str, handle: Known, summary: str) -> Route:
        """A route for those alone who say who they are."""

        async def handler(request: Request) -> Response:
            shown = cross_origin.headers_for(request.head, self._allowed_origins)
            try:
                response = await handle(request, self._identified(request))
            except HttpRefused as refused:
                raise cross_origin.refusal_with(refused.refusal, shown) from None
            return cross_origin.answer_with(response, shown)

        name = f"hub_{'kill' if path.endswith('kill') else path}"
        return Route(method, f"/api/v1/{path}", handler, name, summary)

    def _options(self, route: Route) -> Route:
        """The same path, as browsers ask for it before they do."""
        methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)

        async def handler(request: Request) -> Response:
            return await cross_origin.answer_options(request, self._allowed_origins, methods)

        name, summary = f"{route.name}_options", "Who may ask, and how."
        return Route("OPTIONS", route.pattern, handler, name, summary)

    @property
    def _allowed_origins(self) -> tuple[str, ...]:
        return self.house.snapshot.settings.server.allowed_origins

    def _identified(self, request: Request) -> Identity:
        """Who asks. Raises :class:`HttpRefused`: 401, or 403."""
        who = identify(request.head, request.client_address, self.house.snapshot, self.wall())
        if isinstance(who, Refusal):
            raise HttpRefused(who)
        request.key = who.name
        return who
