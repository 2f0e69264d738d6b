"""The public port's routes for devices, over servers whose every byte the test writes."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import h11
import pytest
import trio

from relayd.config.schema import Settings
from relayd.config.secret import Secret
from relayd.config.snapshot import Account, Key, Snapshot
from relayd.config.url import Url, parse_base_url
from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings
from relayd.core.hold import HoldBudget
from relayd.observe.bus import Bus, BusEvent
from relayd.routing.roster import Roster
from relayd.service.http.router import Router
from relayd.service.xiaozhi.api import OtaApi
from relayd.session.connecting import Connector
from relayd.session.xiaozhi.tokens import ServerTokens
from relayd.state.memory import MemoryStore
from relayd.transport import egress
from relayd.transport.errors import DialError, DialErrorKind
from relayd.transport.resolve import Resolver
from tests.service.http.stage import Client, Reply
from tests.service.http.stage import Stage as HttpStage

WALL = 1_800_000_000.0
SECRET = "s" * 32
DEVICE, CLIENT = "24:0a:c4:00:00:01", "c9"
IDS = (f"Device-Id: {DEVICE}", f"Client-Id: {CLIENT}")
KEY = Key(name="devices", tenant="team", digest=b"\x07" * 32)
SETTINGS = XiaozhiSettings(
    public_url="https://relay.test", token_secret=Secret(SECRET), key="devices"
)
SOCKET_URL = "wss://relay.test/xiaozhi/v1/"
HANDED_OUT: dict[str, Any] = {
    "server_time": {"timestamp": 1_800_000_000_000, "timezone_offset": 480},
    "firmware": {"version": "1.0.1", "url": ""},
    "websocket": {"url": "ws://10.0.0.5:8000/xiaozhi/v1/", "token": "canary-1", "version": 1},
}


def server(name: str, **given: object) -> Account:
    """A server of devices at ``<name>.test``."""
    settings: dict[str, Any] = {"ota_url": f"http://{name}.test/xiaozhi/ota/", **given}
    return Account(
        name=name,
        provider="xiaozhi",
        base_url=parse_base_url(f"ws://{name}.test/xiaozhi/v1/"),
        xiaozhi=DeviceServerSettings(**settings),
    )


@attrs.frozen
class Heard:
    """A question that reached a server."""

    host: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Heard], Awaitable[bytes | None]]
"""What a server sends, all of it; ``None`` hangs up."""


def answered(
    value: object, status: int = 200, content_type: str = "application/json; charset=utf-8"
) -> bytes:
    """A whole response; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nContent-Type: {content_type}"
    return head.encode() + b"\r\n\r\n" + body


def says(value: object, status: int = 200) -> Script:
    """A server that always answers the same."""

    async def script(heard: Heard) -> bytes:
        await trio.lowlevel.checkpoint()
        return answered(value, status)

    return script


@attrs.define(eq=False)
class Stage:
    """What the routes are made with; servers answer by their ``scripts``, by host."""

    nursery: trio.Nursery
    accounts: tuple[Account, ...] = attrs.field(factory=lambda: (server("kitchen"),))
    settings: XiaozhiSettings = SETTINGS
    keys: tuple[Key, ...] = (KEY,)
    scripts: dict[str, Script] = attrs.field(factory=dict)
    heard: list[Heard] = attrs.field(factory=list)
    bus: list[BusEvent] = attrs.field(factory=list)
    store: MemoryStore = attrs.field(factory=lambda: MemoryStore(lambda: WALL, forgets=True))
    wall: float = WALL
    _api: OtaApi | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The configuration."""
        keys = {key.digest: key for key in self.keys}
        return Snapshot(settings=Settings(xiaozhi=self.settings), keys=keys, accounts=self.accounts)

    @property
    def tokens(self) -> ServerTokens:
        """What servers gave."""
        return ServerTokens(self.store)

    @property
    def api(self) -> OtaApi:
        """Made when it is first used."""
        if self._api is None:
            bus = Bus()
            bus.subscribe(self.bus.append)
            connector = Connector(
                roster=Roster.of(self.accounts),
                resolver=Resolver(self.nursery),
                contexts={None: None},  # type: ignore[dict-item]  # no server here has TLS
                hold=HoldBudget(1000),
                bus=bus,
            )
            self._api = OtaApi(
                house=self,
                connector=connector,
                tokens=self.tokens,
                store=self.store,
                wall=lambda: self.wall,
            )
        return self._api

    async def ask(
        self, path: str = "/xiaozhi/ota/", *headers: str, method: str = "POST", body: bytes = b"{}"
    ) -> Reply:
        """One request, with the device's ids unless there are other headers."""
        http = HttpStage(handler=Router(self.api.routes()))
        async with http.client() as client:
            reply = await client.ask(method, path, body, *(headers or IDS))
        (self.facts,) = http.facts
        return reply

    facts: Any = None

    def play(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let relayd reach the scripted servers, and nothing else."""

        async def connect(url: Url, account: Account, **given: object) -> socket.socket:
            await trio.lowlevel.checkpoint()
            script = self.scripts.get(url.host)
            if script is None:
                raise DialError(DialErrorKind.CONNECTION_REFUSED, "nobody is there")
            near, far = socket.socketpair()
            near.setblocking(False)
            self.nursery.start_soon(self._serve, far, url.host, script)
            return near

        monkeypatch.setattr(egress, "connect", connect)

    async def _serve(self, sock: socket.socket, host: str, script: Script) -> None:
        with trio.socket.from_stdlib_socket(sock) as far:
            heard = await _heard(far, host)
            self.heard.append(heard)
            said = await script(heard)
            try:
                await Client(far).send(said or b"")
            except OSError:
                return  # relayd has heard enough


async def _heard(sock: trio.socket.SocketType, host: str) -> Heard:
    connection = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await sock.recv(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert request is not None
            headers = {name.decode(): value.decode() for name, value in request.headers}
            return Heard(host, request.method.decode(), request.target.decode(), headers, body)
