"""relayd in this process, on real sockets, between scripted clients and scripted upstreams."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import attrs
import trio

from relayd.config.accounts import AccountSettings, Timeouts
from relayd.config.kinds import TrustedProxy
from relayd.config.pricebook import PriceBook
from relayd.config.providers import Provider
from relayd.config.schema import (
    KeySettings,
    LedgerSettings,
    LimitSettings,
    ServerSettings,
    Settings,
    TlsSettings,
)
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Snapshot
from relayd.core.hold import HoldBudget
from relayd.observe.events import EVENTS, LogEvent
from relayd.service import app
from relayd.service.reload import Source
from tests.faults.wire import SOON_S, TEXT, Response, Wire, accepting, frame, upgrade

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Canaries: strings that must never be seen anywhere but where they belong. The words are broken
# by dashes so that no rule for secrets in general takes them out by luck.
CLIENT_KEY = "canary-of-client"
UPSTREAM_KEY = "canary-of-upstream"
ADMIN_TOKEN = "canary-of-admin"
CANARIES = (CLIENT_KEY, UPSTREAM_KEY, ADMIN_TOKEN)

PASSTHROUGH = "/relay/echo/"
REALTIME = "/v1/realtime?model=gpt-realtime"
BEARER = {"Authorization": f"Bearer {CLIENT_KEY}"}
CREATED = json.dumps({"type": "session.created", "event_id": "e1", "session": {}}).encode()
CREATE = b'{"type":"response.create"}'

LIMITS = LimitSettings(
    handshake_s=2.0,
    admission_s=2.0,
    stall_s=0.3,
    keepalive_s=10.0,
    keepalive_timeout_s=20.0,
    message_max_bytes=8 << 20,
)

TIMEOUTS = Timeouts(connect_s=1.0, first_frame_s=0.5)
KEY = KeySettings(name="dev", secret=KeyDigest.of(CLIENT_KEY))
IN_MEMORY = LedgerSettings(url="sqlite::memory:")


class Log(io.BytesIO):
    """The log as values, with a way to wait for a line."""

    def __init__(self) -> None:
        super().__init__()
        self._written = trio.Event()
        self.crashes_expected = 0

    def write(self, data: ReadableBuffer, /) -> int:
        count = super().write(data)
        self._written.set()
        self._written = trio.Event()
        return count

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def of(self, *events: LogEvent) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] in events]

    async def wait(self, event: LogEvent, count: int = 1) -> dict[str, Any]:
        """The ``count``-th line of ``event``, once it is there."""
        with trio.fail_after(SOON_S):
            while len(found := self.of(event)) < count:
                await self._written.wait()
        return found[count - 1]

    async def session_ended(self, count: int = 1) -> dict[str, Any]:
        return await self.wait(LogEvent.SESSION_ENDED, count)

    async def refused(self, count: int = 1) -> dict[str, Any]:
        return await self.wait(LogEvent.CONNECTION_REFUSED, count)

    def check(self) -> None:
        """What holds for every log: known fields, no canary, no bug."""
        for line in self.lines:
            fields = set(line) - {"ts", "level", "event"}
            assert fields == set(EVENTS[LogEvent(line["event"])].fields), line["event"]
        assert not [word for word in CANARIES if word.encode() in self.getvalue()]
        assert len(self.of(LogEvent.SESSION_CRASHED)) == self.crashes_expected


@attrs.define(eq=False)
class Upstream:
    """A listening socket whose connections the test plays by hand."""

    sock: trio.socket.SocketType
    wires: list[Wire] = attrs.field(factory=list)

    @classmethod
    async def listen(cls) -> Self:
        sock = trio.socket.socket()
        await sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        return cls(sock)

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    async def accept(self, *, receive_buffer: int | None = None) -> Wire:
        """The next connection."""
        with trio.fail_after(SOON_S):
            sock, _ = await self.sock.accept()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock, is_client=False)
        self.wires.append(wire)
        return wire

    async def accept_upgrade(self, behind: bytes = b"") -> Wire:
        """The next connection, past its 101; ``behind`` is sent in the same segment."""
        wire = await self.accept()
        request = await wire.head()
        await wire.send(accepting(request) + behind)
        return wire

    async def accept_realtime(self) -> Wire:
        """The next connection, past its ``session.created``."""
        return await self.accept_upgrade(frame(TEXT, CREATED, masked=False))

    def close(self) -> None:
        self.sock.close()
        for wire in self.wires:
            wire.close()


@attrs.define(eq=False)
class Relay:
    """A running relayd, the log it writes and those who talk to it."""

    running: app.Running
    log: Log
    hold: HoldBudget
    nursery: trio.Nursery
    over: trio.Event
    clients: list[Wire] = attrs.field(factory=list)

    async def client(self, *, source: str = "127.0.0.1", receive_buffer: int | None = None) -> Wire:
        """A connection that has said nothing yet."""
        address = self.running.addresses[0]
        wire = await Wire.to(address, source=source, receive_buffer=receive_buffer)
        self.clients.append(wire)
        return wire

    async def asking(
        self,
        path: str = PASSTHROUGH,
        *,
        source: str = "127.0.0.1",
        receive_buffer: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> Wire:
        """A connection that has asked for an upgrade."""
        wire = await self.client(source=source, receive_buffer=receive_buffer)
        await wire.send(upgrade(path, BEARER | (headers or {})))
        return wire

    async def session(
        self, upstream: Upstream, *, source: str = "127.0.0.1", receive_buffer: int | None = None
    ) -> tuple[Wire, Wire]:
        """A passthrough session: the client's end and the upstream's."""
        client = await self.asking(source=source, receive_buffer=receive_buffer)
        far = await upstream.accept_upgrade()
        await accepted(client)
        return client, far

    async def conversation(
        self, upstream: Upstream, *, headers: dict[str, str] | None = None
    ) -> tuple[Wire, Wire]:
        """A Realtime session whose client has seen ``session.created``."""
        client = await self.asking(REALTIME, headers=headers)
        far = await upstream.accept_realtime()
        await accepted(client)
        assert (await client.frame()).payload == CREATED
        return client, far

    async def refusal(self, wire: Wire) -> Response:
        """The refusal that ``wire`` gets."""
        await wire.end()
        return Response.parse(bytes(wire.seen))

    async def stopped(self) -> None:
        """Wait until relayd has ended by itself."""
        with trio.fail_after(SOON_S):
            await self.over.wait()


async def accepted(client: Wire) -> None:
    """Read the 101."""
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 101 "), head


def account(
    upstream: Upstream | int,
    name: str = "echo",
    *,
    provider: str = "websocket",
    models: tuple[str, ...] = ("*",),
    priority: int = 0,
    timeouts: Timeouts = TIMEOUTS,
    tls_ca: str | None = None,
    sessions_max: int = 0,
) -> AccountSettings:
    """An account at a scripted upstream, or at a port."""
    port = upstream if isinstance(upstream, int) else upstream.port
    return AccountSettings(
        name=name,
        provider=Provider(provider),
        base_url=f"{'wss' if tls_ca else 'ws'}://127.0.0.1:{port}",
        tls_ca=tls_ca,
        sessions_max=sessions_max,
        api_key=Secret(UPSTREAM_KEY),
        models=models,
        priority=priority,
        timeouts=timeouts,
    )


class Options(TypedDict, total=False):
    """What a test may want otherwise than usual."""

    limits: LimitSettings
    tls: TlsSettings | None
    admin: str
    drain_s: float
    trusted_proxies: tuple[TrustedProxy, ...]
    proxy_protocol: bool
    key: KeySettings
    prices: PriceBook
    ledger: LedgerSettings
    wall: Callable[[], float]
    source: Source | None


@attrs.define
class Stage:
    """What a test starts relayd with; the ``stage`` fixture closes everything."""

    folder: Path
    log: Log
    holds: list[HoldBudget]
    upstreams: list[Upstream] = attrs.field(factory=list)

    async def upstream(self) -> Upstream:
        made = await Upstream.listen()
        self.upstreams.append(made)
        return made

    def snapshot(self, *accounts: AccountSettings, **options: Unpack[Options]) -> Snapshot:
        """The configuration of one relayd with one key, whose secret is ``CLIENT_KEY``."""
        server = ServerSettings(
            listen=("127.0.0.1:0",),
            admin=options.get("admin", f"unix:{self.folder / 'admin.sock'}"),
            admin_token=Secret(ADMIN_TOKEN),
            drain_s=options.get("drain_s", 1.0),
            tls=options.get("tls"),
            trusted_proxies=options.get("trusted_proxies", ()),
            proxy_protocol=options.get("proxy_protocol", False),
        )
        settings = Settings(
            server=server,
            limits=options.get("limits", LIMITS),
            ledger=options.get("ledger", IN_MEMORY),
            keys=(options.get("key", KEY),),
            accounts=accounts,
            prices=options.get("prices", PriceBook()),
        )
        return Snapshot.of(settings)

    @asynccontextmanager
    async def relay(
        self, *accounts: AccountSettings, **options: Unpack[Options]
    ) -> AsyncIterator[Relay]:
        """relayd with these accounts. When it has stopped nothing of it is left."""
        snapshot = self.snapshot(*accounts, **options)
        async with trio.open_nursery() as nursery:
            before = descriptors()
            over = trio.Event()
            wall = options.get("wall", time.time)
            source = options.get("source")
            running = await nursery.start(_serve, snapshot, wall, over, source)
            relay = Relay(running, self.log, self.holds[-1], nursery, over)
            try:
                yield relay
            finally:
                self._close(relay)
            running.stop()
            with trio.fail_after(SOON_S):
                await over.wait()
            assert descriptors() == before
            assert relay.hold.bytes_held == 0
            for wire in relay.clients:
                assert not [word for word in CANARIES if word.encode() in wire.seen]
            for wire in (wire for upstream in self.upstreams for wire in upstream.wires):
                assert CLIENT_KEY.encode() not in wire.seen
                assert ADMIN_TOKEN.encode() not in wire.seen

    def _close(self, relay: Relay) -> None:
        for wire in relay.clients:
            wire.close()
        for upstream in self.upstreams:
            for wire in upstream.wires:
                wire.close()


async def _serve(
    snapshot: Snapshot,
    wall: Callable[[], float],
    over: trio.Event,
    source: Source | None,
    *,
    task_status: trio.TaskStatus[app.Running],
) -> None:
    try:
        await app.serve(snapshot, environ={}, source=source, wall=wall, task_status=task_status)
    finally:
        over.set()


def descriptors() -> dict[str, str]:
    """The descriptors of this process, and what each is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the one that listed them
    return found


def resident_bytes() -> int:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def one_end(log: Log) -> dict[str, Any]:
    """The one line that says how the one connection ended."""
    (line,) = log.of(LogEvent.SESSION_ENDED, LogEvent.CONNECTION_REFUSED)
    return line
