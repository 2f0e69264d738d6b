"""The simulated run-task upstream: whom it serves."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import attrs
import msgspec
import trio
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from relayd.sim.link import Link, PeerGone
from relayd.sim.runtask.connection import Connection
from relayd.sim.runtask.errors import ERRORS, HttpRefusal, TaskError
from relayd.sim.runtask.scenario import REFUSALS, Scenario
from relayd.sim.runtask.tally import Book, Record, Tally

PATH: Final = "/api-ws/v1/inference"
IDLE_S: Final = 60.0
"""How long a connection may be silent between tasks, or within an input."""
IMPATIENT_S: Final = 1.0
MESSAGE_MAX_BYTES: Final = 16 * 1024 * 1024
RECORDS_MAX: Final = 10_000

NOT_FOUND: Final = HttpRefusal(404, TaskError("NotFound", f"The WebSocket API is at {PATH}."))
NO_KEY: Final = HttpRefusal(401, ERRORS["InvalidApiKey"])


@attrs.frozen
class Statistics:
    """A snapshot of what a simulated upstream has done.

    Attributes:
        handshakes: Upgrade requests read.
        running: Connections open now.
        total: The sum over all tasks that have ended.
        records: The last tasks that have ended, the oldest first.
    """

    handshakes: int
    running: int
    total: Tally
    records: tuple[Record, ...]


@attrs.define
class RunTaskUpstream:
    """Plays text generation by tasks over a WebSocket. Any key will do, as long as one is given.

    Attributes:
        scenario: What connections that come are played; may be changed at any time.
        idle_s: How long a connection may be silent between tasks, in seconds.
    """

    scenario: Scenario = Scenario.NORMAL
    idle_s: float = attrs.field(default=IDLE_S, kw_only=True)
    base_path: str = attrs.field(default=PATH, init=False)
    _book: Book = attrs.field(factory=lambda: Book(RECORDS_MAX), init=False)
    _handshakes: int = attrs.field(default=0, init=False)
    _running: int = attrs.field(default=0, init=False)

    def statistics(self) -> Statistics:
        """What it has done so far."""
        book = self._book
        return Statistics(self._handshakes, self._running, book.total, book.records())

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Play one connection until it is over; the stream is closed then.

        Cancelling this cuts the connection.
        """
        scenario = self.scenario
        self._running += 1
        try:
            if scenario is Scenario.SILENT_HANDSHAKE:
                await _swallow(stream)
                return
            link = Link(
                stream, choose_subprotocol=lambda _: None, message_max_bytes=MESSAGE_MAX_BYTES
            )
            with contextlib.suppress(PeerGone):
                await self._serve_link(link, scenario)
            await link.close(1000)
        finally:
            self._running -= 1
            await trio.aclose_forcefully(stream)

    async def _serve_link(self, link: Link, scenario: Scenario) -> None:
        request = await link.request()
        self._handshakes += 1
        refusal = REFUSALS.get(scenario) or _refusal(request)
        if refusal is not None:
            await link.refuse(_response(refusal))
            return
        await link.accept(request)
        idle_s = IMPATIENT_S if scenario is Scenario.IMPATIENT else self.idle_s
        await Connection(link, scenario, idle_s, self._book).serve()


def _refusal(request: Request) -> HttpRefusal | None:
    """Why a request gets nothing, if so."""
    if urlsplit(request.path).path.rstrip("/") != PATH:
        return NOT_FOUND
    scheme, _, key = ",".join(request.headers.get_all("Authorization")).partition(" ")
    return None if scheme.lower() == "bearer" and key.strip() else NO_KEY


def _response(refusal: HttpRefusal) -> Response:
    """``refusal`` as the response that stands in for the 101."""
    about = {"code": refusal.error.code, "message": refusal.error.message}
    body = msgspec.json.encode(about)
    headers = Headers(
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
    )
    return Response(refusal.status, HTTPStatus(refusal.status).phrase, headers, body)


async def _swallow(stream: trio.abc.Stream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while await stream.receive_some(4096):
            pass
