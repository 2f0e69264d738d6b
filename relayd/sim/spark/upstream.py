"""The simulated Spark: one connection from its first byte to its end."""

from __future__ import annotations

import contextlib
import email.utils
import secrets
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import attrs
import msgspec
import trio
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from relayd.sim.link import Link, PeerGone
from relayd.sim.spark import http_service
from relayd.sim.spark.desk import Desk, Terms
from relayd.sim.spark.errors import CLOSE_REASON
from relayd.sim.spark.first import begins_with_post
from relayd.sim.spark.frame_request import question_of, read_frame
from relayd.sim.spark.limits import Limits
from relayd.sim.spark.models import Model, models_at
from relayd.sim.spark.question import Question
from relayd.sim.spark.scenario import REFUSALS, Scenario
from relayd.sim.spark.signing import NO_ROUTE, Credential, Refusal, credential_of
from relayd.sim.spark.socket import Socket
from relayd.sim.spark.tally import Book, Record, Tally

IDLE_S: Final = 60.0
"""How long a socket may be silent before its request."""
IMPATIENT_S: Final = 1.0
CLOCK_SKEW_S: Final = 3600.0
MESSAGE_MAX_BYTES: Final = 16 * 1024 * 1024
RECORDS_MAX: Final = 10_000

SIMULATED: Final = Credential(
    app_id="simspark", api_key="simulated", api_secret="simulated", api_password="simulated"
)
"""The application that a simulated Spark knows, where nobody says which."""


@attrs.frozen
class Statistics:
    """A snapshot of what a simulated Spark has done.

    Attributes:
        handshakes: Upgrade requests read.
        refused: Those answered with an HTTP error.
        unused: Sockets that ended without having been sent a request.
        running: Connections open now, of both APIs.
        total: The sum over all requests that have ended.
        records: The last requests that have ended, the oldest first.
    """

    handshakes: int
    refused: int
    unused: int
    running: int
    total: Tally
    records: tuple[Record, ...]


@attrs.define
class SparkUpstream:
    """Plays the Spark API: the WebSocket paths, and the HTTP paths at the same address.

    Attributes:
        scenario: What connections that come are played; may be changed at any time.
        credentials: The applications it knows; no other key opens it.
        limits: What each application may ask; a scenario that limits goes before it.
        idle_s: How long a socket may be silent before its request, in seconds.
        clock_skew_s: How far its clock is ahead, in seconds; under ``CLOCK_SKEW`` an hour more.
        wall: Its clock otherwise, in Unix seconds.
        name: What makes its sids differ from those of other upstreams.
    """

    scenario: Scenario = Scenario.NORMAL
    credentials: Sequence[Credential] = attrs.field(default=(SIMULATED,), kw_only=True)
    limits: Limits = attrs.field(factory=Limits, kw_only=True)
    idle_s: float = attrs.field(default=IDLE_S, kw_only=True)
    clock_skew_s: float = attrs.field(default=0.0, kw_only=True)
    wall: Callable[[], float] = attrs.field(default=time.time, kw_only=True)
    name: str = attrs.field(factory=lambda: secrets.token_hex(4), kw_only=True)
    base_path: str = attrs.field(default="", init=False)
    _desk: Desk = attrs.field(init=False)
    _handshakes: int = attrs.field(default=0, init=False)
    _refused: int = attrs.field(default=0, init=False)
    _unused: int = attrs.field(default=0, init=False)
    _running: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._desk = Desk(self.name, Book(RECORDS_MAX))

    def statistics(self) -> Statistics:
        """What it has done so far."""
        book = self._desk.book
        counts = (self._handshakes, self._refused, self._unused, self._running)
        return Statistics(*counts, book.total, book.records())

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Play one connection until it is over; the stream is closed then.

        Cancelling this cuts the connection.
        """
        terms = self._terms()
        self._running += 1
        try:
            if terms.scenario is Scenario.SILENT_HANDSHAKE:
                await _swallow(stream)
                return
            is_post, stream = await begins_with_post(stream)
            if is_post:
                await http_service.serve(stream, self._desk, terms)
            else:
                await self._serve_socket(stream, terms)
        finally:
            self._running -= 1
            await trio.aclose_forcefully(stream)

    def _terms(self) -> Terms:
        """What holds for a connection that begins now."""
        ahead_s = self.clock_skew_s
        if self.scenario is Scenario.CLOCK_SKEW:
            ahead_s += CLOCK_SKEW_S
        wall = self.wall
        return Terms(
            scenario=self.scenario,
            credentials=self.credentials,
            limits=self.limits,
            wall=lambda: wall() + ahead_s,
        )

    async def _serve_socket(self, stream: trio.abc.Stream, terms: Terms) -> None:
        link = Link(stream, choose_subprotocol=lambda _: None, message_max_bytes=MESSAGE_MAX_BYTES)
        with contextlib.suppress(PeerGone):
            request = await link.request()
            self._handshakes += 1
            models = models_at(urlsplit(request.path).path)
            visitor = _visitor(request, terms) if models else NO_ROUTE
            if isinstance(visitor, Refusal):
                self._refused += 1
                await link.refuse(_response(visitor, terms.wall()))
            else:
                await link.accept(request)
                await self._converse(link, visitor, models, terms)
        await link.close(1000)

    async def _converse(
        self, link: Link, visitor: Credential, models: Sequence[Model], terms: Terms
    ) -> None:
        """Wait for the one request of a socket, and answer it.

        Raises:
            PeerGone: It never came.
        """
        idle_s = IMPATIENT_S if terms.scenario is Scenario.IMPATIENT else self.idle_s
        message: str | bytes | None = None
        try:
            with trio.move_on_after(idle_s):
                message = await link.receive()
        finally:
            self._unused += message is None
        if message is None:
            await link.close(1000, CLOSE_REASON)
        else:
            await self._answer(link, visitor, terms, message, models)

    async def _answer(
        self,
        link: Link,
        visitor: Credential,
        terms: Terms,
        message: str | bytes,
        models: Sequence[Model],
    ) -> None:
        running = self._desk.open(visitor)
        socket = Socket(link, running, self.idle_s)

        def ask() -> Question:
            return question_of(read_frame(message), models, visitor.app_id)

        try:
            leaving = await socket.speak(self._desk.begin(running, terms, ask))
        finally:
            self._desk.dismiss(running, is_cancelled=socket.is_gone)
        await socket.leave(leaving)


def _visitor(request: Request, terms: Terms) -> Credential | Refusal:
    """Whose connection it is, or why it is refused."""
    return REFUSALS.get(terms.scenario) or credential_of(
        request.path, request.headers.get("Host", ""), terms.credentials, wall=terms.wall()
    )


def _response(refusal: Refusal, wall: float) -> Response:
    """``refusal`` as the response that stands in for the 101; its date tells this clock."""
    body = msgspec.json.encode({"message": refusal.message})
    headers = Headers(
        [
            ("Date", email.utils.formatdate(wall, usegmt=True)),
            ("Content-Type", "application/json; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
    )
    return Response(refusal.status, HTTPStatus(refusal.status).phrase, headers, body)


async def _swallow(stream: trio.abc.Stream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while await stream.receive_some(4096):
            pass
