"""Devices and servers played by hand, with real sessions between them on real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import trio

from relayd.config.accounts import AccountSettings
from relayd.config.pricebook import PriceBook
from relayd.config.providers import Dialect, Provider
from relayd.config.schema import KeySettings, LimitSettings, ServerSettings, Settings
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Key, Snapshot
from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.dialect.xiaozhi_identity import Identity
from relayd.ledger.budgets import Budgets
from relayd.ledger.database import Database
from relayd.ledger.rows import Row
from relayd.ledger.spill import RowReceipt
from relayd.ledger.writer import Ledger
from relayd.observe.bus import Bus, BusEvent
from relayd.pool.parting import Partings
from relayd.protocol.upgrade import response_101
from relayd.routing.roster import Roster
from relayd.session.admission import Grant
from relayd.session.books import Books
from relayd.session.connecting import Connector
from relayd.session.limits import Limits
from relayd.session.xiaozhi.admission import XiaozhiGrant
from relayd.session.xiaozhi.desk import DeviceDesk
from relayd.session.xiaozhi.making import make_session
from relayd.session.xiaozhi.session import XiaozhiSession
from relayd.state.memory import MemoryStore
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor
from relayd.transport.resolve import Resolver
from tests.faults.harness import Upstream
from tests.faults.wire import BINARY, CLOSE, KEY, PING, PONG, TEXT, Wire, close, frame

T = TypeVar("T")

WALL = 1_795_000_000.0
GOODBYES_S = 30.0
MAC = "aa:bb:cc:dd:ee:01"
CLIENT = "11111111-2222-3333-4444-555555555555"
CLIENT_KEY = "canary-of-client"
UPSTREAM_KEY = "canary-of-upstream"
OPUS = b"\x58hello-opus"  # one frame of 20 ms, by its first byte
HELLO: dict[str, Any] = {
    "type": "hello",
    "version": 1,
    "features": {"mcp": True},
    "transport": "websocket",
    "audio_params": {
        "format": "opus",
        "sample_rate": 16000,
        "channels": 1,
        "frame_duration": 60,
    },
}
LISTEN = {"session_id": "", "type": "listen", "state": "start", "mode": "auto"}
STOP = {"session_id": "", "type": "listen", "state": "stop"}
NO_DEVICES = XiaozhiSettings()
NO_PRICES = PriceBook()
NO_ACCOUNT = DeviceServerSettings()


def answer(session_id: str = "s-1") -> dict[str, Any]:
    """A server's hello."""
    audio = {"format": "opus", "sample_rate": 24000, "channels": 1, "frame_duration": 60}
    return {
        "type": "hello",
        "version": 1,
        "transport": "websocket",
        "session_id": session_id,
        "audio_params": audio,
    }


class AtOnce:
    """A worker that is done before anything else can happen."""

    async def __call__(self, call: Callable[[], T], /) -> T:
        return call()


class Kept(Ledger):
    """A ledger that also shows what was put."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, on_failure="refuse", worker=AtOnce())
        self.rows: list[Row] = []

    def put(self, row: Row) -> RowReceipt:
        self.rows.append(row)
        return super().put(row)


@attrs.define(eq=False)
class Peer:
    """A far end that speaks the protocol. Pings are answered when something is awaited."""

    wire: Wire
    pings: int = 0

    async def say(self, *messages: dict[str, Any]) -> None:
        """Send texts."""
        for message in messages:
            data = json.dumps(message).encode()
            await self.wire.send(frame(TEXT, data, masked=self.wire.is_client))

    async def play(self, *packets: bytes) -> None:
        """Send binary messages."""
        for packet in packets:
            await self.wire.send(frame(BINARY, packet, masked=self.wire.is_client))

    async def hear(self) -> dict[str, Any] | bytes:
        """The next message: a text's JSON, or a binary one's bytes."""
        while True:
            got = await self.wire.frame()
            if got.opcode == PING:
                self.pings += 1
                pong = frame(PONG, got.payload, masked=self.wire.is_client)
                await self.wire.send(pong)
                continue
            if got.opcode == PONG:
                continue
            assert got.opcode in {TEXT, BINARY}, got
            if got.opcode == BINARY:
                return got.payload
            said: dict[str, Any] = json.loads(got.payload)
            return said

    async def text(self) -> dict[str, Any]:
        """The next message, which is a text."""
        said = await self.hear()
        assert isinstance(said, dict), said
        return said

    async def audio(self) -> bytes:
        """The next message, which is audio."""
        said = await self.hear()
        assert isinstance(said, bytes), said
        return said

    async def closes(self) -> int | None:
        """The code of the Close that comes next, answered in kind."""
        while (got := await self.wire.frame()).opcode != CLOSE:
            assert got.opcode in {PING, PONG}, got
        await self.wire.send(frame(CLOSE, got.payload, masked=self.wire.is_client))
        await self.wire.finish()
        return got.close_code

    async def leave(self, code: int = 1000) -> None:
        """Close from this side."""
        await self.wire.send(close(code, masked=self.wire.is_client))


@attrs.define(eq=False)
class Device(Peer):
    """A device, and the session that it has."""

    session: XiaozhiSession = attrs.field(kw_only=True)
    over: trio.Event = attrs.field(factory=trio.Event, kw_only=True)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, kw_only=True)

    async def ended(self) -> str:
        """The word of its ending, once it has ended."""
        with trio.fail_after(60.0):
            await self.over.wait()
        assert self.session.verdict.reason is not None
        return self.session.verdict.reason.value


@attrs.define(eq=False, kw_only=True)
class Stage:
    """A process's share of what devices need, and the far ends."""

    nursery: trio.Nursery
    reactor: Reactor
    hold: HoldBudget
    ledger: Kept
    limits: Limits
    store: MemoryStore
    wall: Callable[[], float]
    upstreams: list[Upstream] = attrs.field(factory=list)
    accounts: list[AccountSettings] = attrs.field(factory=list)
    events: list[BusEvent] = attrs.field(factory=list)
    wires: list[Wire] = attrs.field(factory=list)
    settings: XiaozhiSettings = NO_DEVICES
    limit_settings: LimitSettings = attrs.field(factory=LimitSettings)
    prices: PriceBook = NO_PRICES
    key_settings: KeySettings = attrs.field(
        factory=lambda: KeySettings(name="dev", secret=KeyDigest.of(CLIENT_KEY))
    )
    tenant: str | None = None
    sessions: list[XiaozhiSession] = attrs.field(factory=list)
    _desk: DeviceDesk | None = None
    _count: int = 0

    async def server(
        self, name: str = "one", xiaozhi: DeviceServerSettings = NO_ACCOUNT, **more: object
    ) -> Upstream:
        """A server; those that come first are preferred."""
        made = await Upstream.listen()
        self.upstreams.append(made)
        given: dict[str, Any] = {
            "api_key": Secret(UPSTREAM_KEY),
            "priority": len(self.accounts),
            **more,
        }
        self.accounts.append(
            AccountSettings(
                name=name,
                provider=Provider.XIAOZHI,
                base_url=f"ws://127.0.0.1:{made.port}/xiaozhi/v1/",
                xiaozhi=xiaozhi,
                **given,
            )
        )
        return made

    @property
    def snapshot(self) -> Snapshot:
        settings = Settings(
            server=ServerSettings(listen=("127.0.0.1:0",)),
            limits=self.limit_settings,
            keys=(self.key_settings,),
            accounts=tuple(self.accounts),
            prices=self.prices,
            xiaozhi=self.settings,
        )
        return Snapshot.of(settings)

    @property
    def desk(self) -> DeviceDesk:
        """The desk, made when it is first needed."""
        if self._desk is None:
            bus = Bus()
            bus.subscribe(self.events.append)
            connector = Connector(
                roster=Roster.of(self.snapshot.accounts),
                resolver=Resolver(self.nursery),
                contexts={},
                hold=self.hold,
                bus=bus,
            )
            partings = Partings(self.reactor)
            self.nursery.start_soon(partings.run)
            self._desk = DeviceDesk.of(
                reactor=self.reactor,
                books=Books(self.ledger, self.limits, self.wall),
                connector=connector,
                partings=partings,
                store=self.store,
                snapshot=self.snapshot,
            )
        return self._desk

    @property
    def key(self) -> Key:
        (key,) = self.snapshot.keys.values()
        return key if self.tenant is None else attrs.evolve(key, tenant=self.tenant)

    def of(self, kind: type[T]) -> list[T]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def in_flight(self) -> list[int]:
        """Seats that are taken, by account."""
        return [each.in_flight for each in self.desk.means.connector.roster.statistics()]

    async def device(
        self, *, version: int = 1, device_id: str = MAC, receive_buffer: int | None = None
    ) -> Device:
        """A device that has had its 101."""
        near, far = _connected(receive_buffer)
        now = trio.current_time()
        endpoint = Endpoint(near, Side.CLIENT, self.hold, now)
        self.reactor.adopt(endpoint)
        endpoint.sink.preface(response_101(KEY, None))
        granted = XiaozhiGrant(
            grant=Grant(
                key=self.key,
                dialect=Dialect.XIAOZHI,
                client_address="192.0.2.1",
                granted_at=now,
                wall_granted_at=self.wall(),
            ),
            identity=Identity(device_id, CLIENT),
            version=version,
            from_gateway=False,
            by_token=False,
            subprotocol=None,
        )
        self._count += 1
        session = make_session(
            self.desk,
            granted,
            self.snapshot,
            endpoint,
            session_id=f"sess_{self._count}",
            accepted_at=now,
            now=now,
        )
        self.sessions.append(session)
        wire = Wire(trio.socket.from_stdlib_socket(far))
        self.wires.append(wire)
        device = Device(wire, session=session)
        self.nursery.start_soon(self._run, device)
        head = await wire.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        return device

    async def _run(self, device: Device) -> None:
        with device.scope:
            try:
                await device.session.run()
            finally:
                device.over.set()

    async def accept(self, upstream: Upstream) -> Peer:
        """The next connection of a server, past its 101."""
        return Peer(await upstream.accept_upgrade())

    async def talking(
        self,
        upstream: Upstream,
        *,
        session_id: str = "s-1",
        version: int = 1,
        receive_buffer: int | None = None,
    ) -> tuple[Device, Peer]:
        """A device whose server has answered its hello."""
        device = await self.device(version=version, receive_buffer=receive_buffer)
        await device.say(HELLO)
        server = await self.accept(upstream)
        await server.text()
        await server.say(answer(session_id))
        assert (await device.text())["type"] == "hello"
        return device, server

    def close(self) -> None:
        """Close the far ends."""
        for upstream in self.upstreams:
            upstream.close()
        for wire in self.wires:
            wire.close()


def _connected(receive_buffer: int | None) -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.socket()
        if receive_buffer is not None:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        far.connect(server.getsockname())
        near, _ = server.accept()
    for each in (near, far):
        each.setblocking(False)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """A stage. When it is left nothing is held, adopted or taken any more."""
    store, ledger, hold = MemoryStore(lambda: WALL), Kept(Database.open(None)), HoldBudget(64 << 20)
    limits = Limits(
        store=store,
        budgets=Budgets(store, ledger.spent, lambda: WALL),
        wall=lambda: WALL,
        sessions_max=100,
        on_failure="open",
    )
    reactor = Reactor()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        nursery.start_soon(ledger.run)
        nursery.start_soon(limits.run)
        made = Stage(
            nursery=nursery,
            reactor=reactor,
            hold=hold,
            ledger=ledger,
            limits=limits,
            store=store,
            wall=lambda: WALL,
        )
        yield made
        made.close()
        for session in tuple(made.sessions):
            session.kill()
        await trio.sleep(GOODBYES_S)
        assert len(reactor) == 0
        assert hold.bytes_held == 0
        assert not any(made.in_flight)
        assert len(made.desk) == 0
        nursery.cancel_scope.cancel()
    reactor.close()
