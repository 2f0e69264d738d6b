"""The hub's WebSockets on socket pairs: sessions as the door makes them, and clients.

Each client is a :class:`Client`: a wire, and the session at its other end.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_event import Publication
from relayd.dialect.hub_publish import Draft
from relayd.dialect.hub_streams import stream_of
from relayd.hub.bounds import Bounds
from relayd.hub.hub import Hub
from relayd.observe.bus import Bus, BusEvent
from relayd.observe.events import LogEvent
from relayd.protocol.head import HeadReader
from relayd.protocol.upgrade import check_upgrade, response_101
from relayd.session.admission import Grant, Lease
from relayd.session.hub.admission import HubGrant, admit
from relayd.session.hub.desk import Entry, HubDesk
from relayd.session.hub.session import HubSession, make_session
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor
from tests.conftest import LogLines
from tests.faults.wire import CLOSE, PING, PONG, SOON_S, TEXT, Frame, Wire, frame, upgrade
from tests.session.hub.signing import NOW
from tests.session.hub.test_identity import SNAPSHOT, USER

EPOCH = "00112233445566aa"
CENTRIFUGE = "/connection/websocket"
WORKFLOW = "workflow:w"

Json = dict[str, Any]


@attrs.define(eq=False)
class Places:
    """A quota that remembers for whom it gave which places."""

    taken: list[str] = attrs.field(factory=list)
    refuses: RefusalCode | None = None
    gate: trio.Event | None = None

    async def take(self, grant: Grant) -> Lease | Refusal:
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.refuses is not None:
            return Refusal(self.refuses, "not now")
        self.taken.append(grant.key.name)
        return Place(self, grant.key.name)


@attrs.define(eq=False)
class Place:
    places: Places
    name: str | None

    def release(self) -> None:
        if self.name is not None:
            self.places.taken.remove(self.name)
            self.name = None


@attrs.define(eq=False, kw_only=True)
class Client:
    """One end of a WebSocket; the session is at the other."""

    wire: Wire
    session: HubSession
    over: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _last_id: int = 0

    async def run(self) -> None:
        with self.scope:
            await self.session.run()
        self.over.set()

    async def send(self, *messages: Json | bytes) -> None:
        """Text messages, in one write."""
        texts = [
            each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages
        ]
        await self.wire.send(b"".join(frame(TEXT, text) for text in texts))

    async def text(self) -> Frame:
        """The next frame that is no ping, which is answered."""
        while (got := await self.wire.frame()).opcode == PING:
            await self.wire.send(frame(PONG, got.payload))
        return got

    async def json(self) -> Json:
        """The next message."""
        got = await self.text()
        assert got.opcode == TEXT, got
        found: Json = json.loads(got.payload)
        return found

    async def jsons(self, count: int) -> list[Json]:
        return [await self.json() for _ in range(count)]

    async def ask(self, **command: Any) -> Json:  # noqa: ANN401 - whatever a command has
        """The reply to a Centrifuge command; nothing else may come before it."""
        self._last_id += 1
        await self.send({"id": self._last_id} | command)
        reply = await self.json()
        assert reply.pop("id") == self._last_id
        return reply

    async def connect(self, token: str | None = None) -> Json:
        reply = await self.ask(connect={} if token is None else {"token": token})
        connected: Json = reply["connect"]
        return connected

    async def closed(self) -> tuple[int | None, str]:
        """Code and text of the Close that comes next, answered as a good client does."""
        with trio.fail_after(SOON_S):
            while (got := await self.wire.frame()).opcode != CLOSE:
                assert got.opcode != TEXT, got
            await self.wire.send(frame(CLOSE, got.payload))
            await self.wire.finish()
            await self.over.wait()
        return got.close_code, got.payload[2:].decode()


@attrs.define(eq=False, kw_only=True)
class Stage:
    """A hub with its delivery running, and what it told the log and the bus."""

    desk: HubDesk
    places: Places
    nursery: trio.Nursery
    log: LogLines
    events: list[BusEvent]
    clients: list[Client] = attrs.field(factory=list)
    paced: float = 0.0

    @property
    def hub(self) -> Hub:
        return self.desk.hub

    def publish(self, topic: str = WORKFLOW, event: str = "e", **more: Any) -> Publication:  # noqa: ANN401 - as a draft has it
        """Publish; ``data`` is any JSON value."""
        tenant = more.pop("tenant", "acme")
        data = json.dumps(more.pop("data", {})).encode()
        draft = Draft(topic=topic, event=event, data=data, stream=stream_of(event, data), **more)
        return self.hub.publish(tenant, draft, now=trio.current_time(), wall=self.desk.wall())

    async def client(
        self,
        path: str = "/ws",
        key: str | None = USER,
        *,
        send_buffer: int | None = None,
        **headers: str,
    ) -> Client:
        """A client past its 101."""
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            lines["Authorization"] = f"Bearer {key}"
        head = HeadReader(65536).feed(upgrade(path, lines))
        assert head is not None
        request, now = check_upgrade(head), trio.current_time()
        granted = admit(request, "127.0.0.1", self.desk.snapshot, now, self.desk.wall())
        assert isinstance(granted, HubGrant), granted
        entry = await self.desk.enter(granted.grant, is_stranger=granted.identity is None)
        assert isinstance(entry, Entry)
        near, far = socket.socketpair()
        near.setblocking(False)
        endpoint = Endpoint(near, Side.CLIENT, self.desk.hold, now)
        self.desk.reactor.adopt(endpoint)
        endpoint.sink.preface(response_101(request.key, granted.subprotocol))
        session = make_session(
            self.desk,
            granted,
            self.desk.snapshot,
            endpoint,
            entry,
            session_id=f"sess_{len(self.clients)}",
            accepted_at=now,
            now=now,
        )
        if send_buffer is not None:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        client = Client(wire=Wire(trio.socket.from_stdlib_socket(far)), session=session)
        self.clients.append(client)
        session.review(self.desk.snapshot)
        self.nursery.start_soon(client.run)
        assert (await client.wire.head()).startswith(b"HTTP/1.1 101 ")
        return client

    async def welcomed(self, path: str = "/ws", key: str = USER, **more: Any) -> Client:  # noqa: ANN401 - as above
        """A client of the hub's own wire that has read its welcome."""
        client = await self.client(path, key, **more)
        assert (await client.json())["type"] == "welcome"
        return client

    async def connected(self, key: str = USER, **more: Any) -> Client:  # noqa: ANN401 - as above
        """A client of the Centrifuge protocol that has connected."""
        client = await self.client(CENTRIFUGE, key, **more)
        await client.connect()
        return client

    def apply(self, snapshot: Snapshot) -> None:
        """As the door does at a reload."""
        self.desk.apply(snapshot)
        for client in self.clients:
            client.session.review(snapshot)

    async def line(self, client: Client) -> Json:
        """The line of a session that is over."""
        with trio.fail_after(SOON_S):
            await client.over.wait()
        name = client.session.reporter.facts.session_id
        (line,) = [
            each for each in self.log.of(LogEvent.SESSION_ENDED) if each["session_id"] == name
        ]
        return line

    async def finish(self) -> None:
        """End everybody; nothing of them is left."""
        for client in self.clients:
            client.session.kill()
            client.wire.close()
        for client in self.clients:
            await client.over.wait()
        desk = self.desk
        assert (len(desk.reactor), desk.hold.bytes_held) == (0, 0)
        assert (self.places.taken, desk.antechamber.waiting) == ([], 0)
        assert (desk.hub.listeners, desk.delivery.crashes) == (0, 0)


def make_desk(
    reactor: Reactor, places: Places, bus: Bus, snapshot: Snapshot, bounds: Bounds | None
) -> HubDesk:
    began = trio.current_time()
    return HubDesk(
        hub=Hub(EPOCH, bounds or Bounds()),
        reactor=reactor,
        hold=HoldBudget(64 << 20),
        bus=bus,
        quota=places,
        wall=lambda: NOW + trio.current_time() - began,
        pace=lambda tenant, count, now: 0.0,
        snapshot=snapshot,
    )


@contextmanager
def turning() -> Iterator[Reactor]:
    reactor = Reactor()
    try:
        yield reactor
    finally:
        reactor.close()


@asynccontextmanager
async def staged(
    log: LogLines, *, snapshot: Snapshot = SNAPSHOT, bounds: Bounds | None = None
) -> AsyncIterator[Stage]:
    """A stage; at its end all clients are ended and it is looked whether anything is left."""
    with turning() as reactor:
        bus, events, places = Bus(), list[BusEvent](), Places()
        bus.subscribe(events.append)
        desk = make_desk(reactor, places, bus, snapshot, bounds)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            nursery.start_soon(desk.delivery.run)
            stage = Stage(desk=desk, places=places, nursery=nursery, log=log, events=events)
            yield stage
            await stage.finish()
            nursery.cancel_scope.cancel()
