"""The simulated xiaozhi server: one connection from its first byte to its end."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import attrs
import msgspec
import trio
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from relayd.sim.link import Link, PeerGone
from relayd.sim.spark.first import begins_with_post
from relayd.sim.spark.http_wire import ClientGone, HttpWire
from relayd.sim.xiaozhi import tokens
from relayd.sim.xiaozhi.connection import FROZEN_S, Connection
from relayd.sim.xiaozhi.ota import RUNNING, SETTINGS_PATH, SOCKET_PATH, Reply, Settings
from relayd.sim.xiaozhi.pongless import Pongless
from relayd.sim.xiaozhi.scenario import Scenario
from relayd.sim.xiaozhi.tally import Book, Record, Running, Tally
from relayd.sim.xiaozhi.visitor import Visitor, visitor_of

IDLE_S: Final = 120.0
"""How long a device may say nothing."""
MESSAGE_MAX_BYTES: Final = 1024 * 1024
RECORDS_MAX: Final = 10_000

TOKEN_REFUSED: Final = "认证失败"
NO_DEVICE: Final = "端口正常,如需测试连接,请使用test_page.html"

_GATEWAY_VERSION: Final = 2
_SPEAKERS: Final = 1 << 32


@attrs.frozen
class Statistics:
    """A snapshot of what a simulated xiaozhi server has done.

    Attributes:
        handshakes: Upgrade requests read.
        settings: Requests for settings and activations.
        running: Connections open now, of both kinds.
        total: The sum over all sockets that have ended.
        records: The last sockets that have ended, the oldest first.
    """

    handshakes: int
    settings: int
    running: int
    total: Tally
    records: tuple[Record, ...]


@attrs.define
class XiaozhiUpstream:
    """Plays a server of xiaozhi devices, and the settings over HTTP at the same address.

    Attributes:
        scenario: What connections that come are played; may be changed at any time.
        auth_key: What tokens are signed with; ``None``: none is looked at.
        protocol_version: The framing it speaks; ``None``: that which a device asks for. The
            gateway gets version 2 in any case.
        idle_s: How long a device may say nothing, in seconds.
        name: What it calls itself in its answers.
        wall: Its clock, in Unix seconds.
    """

    scenario: Scenario = Scenario.NORMAL
    auth_key: str | None = attrs.field(default=None, kw_only=True, repr=False)
    protocol_version: int | None = attrs.field(default=None, kw_only=True)
    idle_s: float = attrs.field(default=IDLE_S, kw_only=True)
    name: str = attrs.field(factory=lambda: f"sim-{secrets.token_hex(2)}", kw_only=True)
    wall: Callable[[], float] = attrs.field(default=time.time, kw_only=True)
    base_path: str = attrs.field(default=SOCKET_PATH, init=False)
    _settings: Settings = attrs.field(init=False)
    _book: Book = attrs.field(factory=lambda: Book(RECORDS_MAX), init=False)
    _handshakes: int = attrs.field(default=0, init=False)
    _asked: int = attrs.field(default=0, init=False)
    _running: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._settings = Settings(self.auth_key, self.protocol_version or 1)

    def statistics(self) -> Statistics:
        """What it has done so far."""
        counts = (self._handshakes, self._asked, self._running)
        return Statistics(*counts, self._book.total, self._book.records())

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Play one connection until it is over; the stream is closed then.

        Cancelling this cuts the connection.
        """
        self._running += 1
        try:
            if self.scenario is Scenario.SILENT_HANDSHAKE:
                await _swallow(stream)
                return
            is_post, stream = await begins_with_post(stream)
            if is_post:
                await self._serve_post(stream)
            else:
                await self._serve_get(stream)
        finally:
            self._running -= 1
            await trio.aclose_forcefully(stream)

    async def _serve_post(self, stream: trio.abc.Stream) -> None:
        wire = HttpWire(stream, self.wall())
        with contextlib.suppress(ClientGone):
            request = await wire.receive()
            visitor = visitor_of(request.target, request.headers)
            reply = await self._reply(visitor, request.headers.get("host", ""))
            await wire.answer(reply.status, reply.body)
            await wire.close()

    async def _serve_get(self, stream: trio.abc.Stream) -> None:
        if self.scenario is Scenario.PING_IGNORED:
            stream = Pongless(stream)
        link = Link(stream, choose_subprotocol=lambda _: None, message_max_bytes=MESSAGE_MAX_BYTES)
        with contextlib.suppress(PeerGone):
            request = await link.request()
            headers = {name.lower(): value for name, value in request.headers.raw_items()}
            visitor = visitor_of(request.path, headers)
            if visitor.path.startswith(SETTINGS_PATH.rstrip("/")):
                reply = await self._reply(visitor, headers.get("host", ""))
                await link.refuse(_response(reply))
            else:
                await self._serve_socket(link, request, visitor, headers.get("connection", ""))
        await link.close(1000)

    async def _reply(self, visitor: Visitor, host: str) -> Reply:
        self._asked += 1
        scenario = visitor.scenario(self.scenario)
        if scenario is Scenario.OTA_SILENT:
            await trio.sleep(FROZEN_S)
        return self._settings.answer(visitor, host, scenario, self.wall())

    async def _serve_socket(
        self, link: Link, request: Request, visitor: Visitor, connection: str
    ) -> None:
        self._handshakes += 1
        scenario = visitor.scenario(self.scenario)
        if scenario is Scenario.REFUSE_HTTP_500:
            await link.refuse(_response(Reply(500, "internal error\n")))
            return
        # A server compares the whole header: "keep-alive, Upgrade" is no upgrade to it.
        if scenario is Scenario.IS_RUNNING or connection.lower() != "upgrade":
            await link.refuse(_response(RUNNING))
            return
        await link.accept(request)
        version = visitor.version or 1 if self.protocol_version is None else self.protocol_version
        running = Running(visitor, _GATEWAY_VERSION if visitor.is_gateway else version)
        session_id = secrets.token_hex(16)
        served = Connection(
            link=link,
            running=running,
            scenario=scenario,
            name=self.name,
            session_id=session_id,
            idle_s=self.idle_s,
            speaker=int(session_id, 16) % _SPEAKERS,
        )
        try:
            refusal = self._refusal(visitor, scenario)
            if refusal is None:
                await served.serve()
            else:
                running.is_refused = True
                await link.send(refusal)
        finally:
            caller = served.caller
            self._book.add(running.record(tuple(caller.tools), len(caller.answers)))

    def _refusal(self, visitor: Visitor, scenario: Scenario) -> str | None:
        """What a device that may not stay is told, in plain text."""
        if scenario is Scenario.NO_DEVICE or not visitor.device_id:
            return NO_DEVICE
        if scenario is Scenario.TOKEN_REFUSED:
            return TOKEN_REFUSED
        if self.auth_key is None:
            return None
        who = (visitor.client_id, visitor.device_id)
        is_good = tokens.is_good(visitor.token, self.auth_key, *who, self.wall())
        return None if is_good else TOKEN_REFUSED


def _response(reply: Reply) -> Response:
    """``reply`` as the response that stands in for the 101."""
    is_text = isinstance(reply.body, str)
    body = reply.body.encode() if isinstance(reply.body, str) else msgspec.json.encode(reply.body)
    kind = "text/plain; charset=utf-8" if is_text else "application/json"
    headers = Headers(
        [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
    )
    if reply.location is not None:
        headers["Location"] = reply.location
    return Response(reply.status, HTTPStatus(reply.status).phrase, headers, body)


async def _swallow(stream: trio.abc.Stream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while await stream.receive_some(4096):
            pass
