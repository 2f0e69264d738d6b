"""What the dashboard asks of relayd, answered from values that a test sets.

The tests of ``relayd.service.hub`` and ``relayd.session.hub`` say what relayd itself answers.

``python -m tests.web.traffic`` serves a made-up relay to look at the page with.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import attrs
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError

from relayd.service.hub.static import POLICY
from relayd.web.files import load_files
from tests.web.rows import empty_overview, rfc3339, session_row

KEY: Final = "operator-key"
SUBPROTOCOL: Final = "relayd.hub"

HEAD_MAX: Final = 16_384
REPLAY_MAX: Final = 2_000


Topic = tuple[str, str]
"""Tenant and name."""


@attrs.define(eq=False)
class Client:
    """One page's WebSocket."""

    stream: trio.SocketStream
    wire: WSConnection
    who: dict[str, Any]
    selectors: tuple[str, ...]
    skipped: frozenset[str]
    lock: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def is_operator(self) -> bool:
        """Whether it may follow all tenants."""
        return bool(self.who["role"] == "operator")

    async def send(self, text: str) -> None:
        """Send a message, whole."""
        async with self.lock:
            await self.send_locked(text)

    async def send_locked(self, text: str) -> None:
        """Likewise, for who holds the lock."""
        await self.stream.send_all(self.wire.send(TextMessage(data=text)))

    async def close(self, code: int) -> None:
        """Say goodbye, and hang up."""
        async with self.lock:
            await self.stream.send_all(self.wire.send(CloseConnection(code=code)))
        await self.stream.aclose()

    def shown(self, event: Event) -> str | None:
        """The envelope of an event, once, in the first of its topics that is followed."""
        for tenant, name in () if event.name in self.skipped else event.topics:
            seen = self.is_operator or tenant == self.who["tenant"]
            if seen and any(_matches(each, name) for each in self.selectors):
                return json.dumps({**event.envelope, "topic": name, "tenant": tenant})
        return None


@attrs.frozen
class Event:
    """What was published."""

    seq: int
    name: str
    topics: tuple[Topic, ...]
    envelope: dict[str, Any]


def _matches(selector: str, name: str) -> bool:
    return name.startswith(selector[:-1]) if selector.endswith("*") else name == selector


@attrs.define(eq=False)
class FakeRelayd:
    """The dashboard's side of a relay.

    Attributes:
        keys: Which key is whose: name, role, tenant.
        sessions: Rows of ``/api/v1/sessions``, by id.
        asked: The requests so far, such as ``GET /api/v1/me``.
        killed: What was ended over HTTP.
        refuses_kills: Answers a kill with an error.
        replays: Whether a client that comes back gets what it missed.
    """

    keys: dict[str, dict[str, Any]] = attrs.field(
        factory=lambda: {KEY: {"name": "ops", "role": "operator", "tenant": "ops"}}
    )
    overview: dict[str, Any] = attrs.field(factory=empty_overview)
    sessions: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    accounts: list[dict[str, Any]] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)
    killed: list[str] = attrs.field(factory=list)
    refuses_kills: bool = False
    replays: bool = True
    epoch: str = "00000000000000aa"
    clients: list[Client] = attrs.field(factory=list)
    _seq: int = 0
    _history: list[Event] = attrs.field(factory=list)

    # -- what a test does

    async def publish(
        self,
        event: str,
        data: object,
        session_id: str | None = None,
        topics: tuple[Topic, ...] = (("", "ops"),),
    ) -> None:
        """Send an event to every page that follows one of its topics."""
        self._seq += 1
        envelope = {
            "id": f"{self.epoch}:{self._seq}",
            "seq": self._seq,
            "ts": rfc3339(time.time()),
            "topic": "",
            "tenant": "",
            "event": event,
            "session_id": session_id,
            "node_id": None,
            "data": data,
        }
        made = Event(self._seq, event, topics, envelope)
        self._history = [*self._history[-REPLAY_MAX:], made]
        for client in tuple(self.clients):
            if (text := client.shown(made)) is not None:
                await self._send(client, text)

    async def tell(self, event: str, row: dict[str, Any], **more: object) -> None:
        """An event of a session: its facts, and what the event says."""
        facts = {name: row[name] for name in ("dialect", "key", "account", "model")}
        session_id, tenant = row["session_id"], row["tenant"]
        topics = ((tenant, f"session:{session_id}"), (tenant, f"tenant:{tenant}"), ("", "ops"))
        await self.publish(event, {**facts, **more}, session_id, topics)

    async def open_session(self, session_id: str, **fields: object) -> None:
        """A session begins."""
        self.sessions[session_id] = {**session_row(session_id), **fields}
        await self.tell("session.opened", self.sessions[session_id], connect_ms=80.5)

    async def end_session(self, session_id: str, reason: str = "client_closed") -> None:
        """A session ends."""
        row = self.sessions.pop(session_id)
        said = {name: row[name] for name in ("duration_s", "turns", "messages_up", "messages_down")}
        await self.tell("session.ended", row, reason=reason, fault="none", **said)

    async def drop_clients(self, code: int | None = None) -> None:
        """Lose every page's WebSocket, with a Close or without."""
        clients, self.clients = self.clients, []
        for client in clients:
            if code is None:
                await client.stream.aclose()
            else:
                await client.close(code)

    # -- serving

    async def serve(
        self, port: int = 0, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve on the loopback address; the port is what is started with."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
            task_status.started(listeners[0].socket.getsockname()[1])
            await trio.serve_listeners(self._serve_one, listeners, handler_nursery=nursery)

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                head = await read_head(stream)
                if head is not None:
                    await self._answer(stream, head)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the page went away

    async def _answer(self, stream: trio.SocketStream, head: bytes) -> None:
        method, target, headers = parse_head(head)
        url = urlsplit(target)
        self.asked.append(f"{method} {url.path}")
        if headers.get("upgrade") == "websocket":
            await self._hub(stream, head, url.query, headers)
            return
        killed_before = len(self.killed)
        status, content_type, body = self._http(method, url.path, headers)
        reply = (
            f"HTTP/1.1 {status} -\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nContent-Security-Policy: {POLICY}\r\n"
            "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        await stream.send_all(reply.encode() + body)
        for session_id in self.killed[killed_before:]:
            await self.end_session(session_id, "killed")

    def _http(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str, bytes]:
        if path == "/dashboard" or path.startswith("/dashboard/"):
            name = path.removeprefix("/dashboard").lstrip("/") or "index.html"
            content_type, body = load_files().get(name, ("", b""))
            return (200, content_type, body) if content_type else as_json(404, {})
        who = self.keys.get(headers.get("authorization", "").removeprefix("Bearer "))
        if who is None:
            return as_json(401, {"error": {"message": "The API key is not valid here."}})
        return as_json(*self._api(method, path, who))

    def _api(self, method: str, path: str, who: dict[str, Any]) -> tuple[int, Any]:
        operator, tenant = who["role"] == "operator", who["tenant"]
        match method, path.removeprefix("/api/v1/").split("/"):
            case "GET", ["me"]:
                return 200, {**who, "topics": None, "publish": [], "expires_at": None}
            case "GET", ["overview"]:
                seen = None if operator else tenant
                return 200, {**self.overview, "role": who["role"], "tenant": seen}
            case "GET", ["sessions"]:
                rows = self.sessions.values()
                shown = [row for row in rows if operator or row["tenant"] == tenant]
                return 200, {"data": shown, "next": None}
            case "GET", ["accounts"] if operator:
                return 200, {"data": self.accounts, "next": None}
            case "POST", ["sessions", session_id, "kill"] if operator:
                if self.refuses_kills or session_id not in self.sessions:
                    return 404, {"error": {"message": "There is no such session."}}
                self.killed.append(session_id)
                return 202, {"session_id": session_id, "reason": "killed"}
            case _:
                return 403, {"error": {"message": "This is for operators."}}

    async def _hub(
        self, stream: trio.SocketStream, head: bytes, query: str, headers: dict[str, str]
    ) -> None:
        wire = WSConnection(ConnectionType.SERVER)
        wire.receive_data(head)
        (request,) = wire.events()
        assert isinstance(request, Request)
        keys = [each.partition(".")[2] for each in request.subprotocols if each != SUBPROTOCOL]
        who = next((self.keys[key] for key in keys if key in self.keys), None)
        if who is None:
            await stream.send_all(wire.send(RejectConnection(status_code=401)))
            return
        await stream.send_all(wire.send(AcceptConnection(subprotocol=SUBPROTOCOL)))
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        topics = tuple(asked.get("topics", "*").split(","))
        client = Client(stream, wire, who, topics, frozenset(asked.get("except", "").split(",")))
        try:
            await self._welcome(client, asked.get("since"))
            await self._listen(client)
        finally:
            if client in self.clients:
                self.clients.remove(client)

    async def _welcome(self, client: Client, since: str | None) -> None:
        """Subscribe and replay in one step: what is published meanwhile waits for the lock."""
        epoch, _, seq = (since or "").partition("@")
        recovered = None if since is None else self.replays and epoch == self.epoch
        welcome = {"type": "welcome", "client": "c", "epoch": self.epoch, "seq": self._seq}
        async with client.lock:
            self.clients.append(client)
            missed = [each for each in self._history if recovered and each.seq > int(seq)]
            said = {**welcome, "topics": client.selectors, "recovered": recovered}
            await client.send_locked(json.dumps(said))
            for text in filter(None, map(client.shown, missed)):
                await client.send_locked(text)

    async def _listen(self, client: Client) -> None:
        async for chunk in client.stream:
            client.wire.receive_data(bytes(chunk))
            for event in client.wire.events():
                if isinstance(event, TextMessage) and json.loads(event.data)["type"] == "ping":
                    await client.send('{"type":"pong"}')
                elif isinstance(event, CloseConnection):
                    if client.wire.state is ConnectionState.REMOTE_CLOSING:  # else it answers ours
                        await client.stream.send_all(client.wire.send(event.response()))
                    return

    async def _send(self, client: Client, text: str) -> None:
        try:
            await client.send(text)
        except (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
            if client in self.clients:  # it went away, or has just said goodbye
                self.clients.remove(client)


def as_json(status: int, value: object) -> tuple[int, str, bytes]:
    """An answer of the API."""
    return status, "application/json", json.dumps(value).encode()


async def read_head(stream: trio.SocketStream) -> bytes | None:
    """A request's head with its empty line; a body is left unread. ``None``: none came."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < HEAD_MAX:
        chunk = await stream.receive_some(4096)
        if not chunk:
            return None
        data += bytes(chunk)
    return data


def parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, target, and header fields by their names in small letters."""
    first, *lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    fields = (line.partition(":") for line in lines)
    return method, target, {name.lower(): value.strip() for name, _, value in fields}
