"""A crowd of clients of the Responses WebSocket, as a program: ``python -m``.

Each has some turns in a row, going on from what was answered before and storing nothing; every
second one names its session in its headers, every fourth pair of them uses two lanes at once. Every
event is read, and what may not be is noted. Prints one JSON object.
Usage: responses_crowd.py ADDRESS KEY CLIENTS TURNS
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import attrs
import msgspec
import trio
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

ANSWER_S: Final = 120.0
"""Longer than any turn may take; one that does take as long was forgotten."""

REPEATS_MAX: Final = 200
"""How often one turn may begin anew because its chain was cut."""

SPENT: Final = "websocket_connection_limit_reached"
CHAIN_CODES: Final = frozenset({"previous_response_not_found", SPENT})
"""On these a client sends its whole input once more."""

BUSY: Final = 503
BUSY_S: Final = 1.0
"""How long a client waits with its next turn after a 503, as real ones do."""

TERMINALS: Final = {
    "response.completed": "completed",
    "response.failed": "failed",
    "response.incomplete": "incomplete",
}
_LIVES: Final = frozenset({"response.created", "error", *TERMINALS})
"""What begins or ends a turn."""

KEEPALIVES: Final = frozenset({"codex.keepalive", "response.in_progress"})


class _Error(msgspec.Struct):
    type: str | None = None
    code: str | None = None
    message: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None


class _Event(msgspec.Struct):
    type: str
    stream_id: str | None = None
    status: int | None = None
    error: _Error | None = None
    response: _Response | None = None


_decode: Final = msgspec.json.Decoder(_Event).decode


class Closed(Exception):
    """The connection has ended.

    Attributes:
        code: With which it was closed.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@attrs.define(eq=False)
class Connection:
    """One WebSocket: a socket and the protocol without I/O.

    Attributes:
        is_spent: Whether relayd has said that it takes no further request.
    """

    stream: trio.SocketStream
    protocol: ClientProtocol
    is_spent: bool = False
    sending: trio.Lock = attrs.field(factory=trio.Lock)

    @classmethod
    async def open(cls, address: str, headers: dict[str, str]) -> Connection:
        """Connect and upgrade; it is a mistake of relayd's to refuse that."""
        host, _, port = address.rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        protocol = ClientProtocol(parse_uri(f"ws://{address}/v1/responses"), max_size=None)
        request = protocol.connect()
        request.headers.update(Headers(headers))
        protocol.send_request(request)
        connection = cls(stream, protocol)
        await connection.flush()
        while protocol.state is State.CONNECTING:
            await connection._receive()
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc
        return connection

    @property
    def is_open(self) -> bool:
        """Whether neither side has said goodbye."""
        return self.protocol.state is State.OPEN

    async def send(self, message: bytes) -> None:
        """Send one text message."""
        self.protocol.send_text(message)
        await self.flush()

    async def messages(self) -> list[bytes]:
        """The next messages, at least one. Raises :class:`Closed`."""
        while True:
            found = list(self._assembled())
            if found:
                return found
            if not self.is_open:
                close = self.protocol.close_rcvd
                raise Closed(1006 if close is None else close.code)
            await self._receive()

    async def close(self) -> None:
        """Say goodbye and leave."""
        if self.is_open:
            self.protocol.send_close(1000)
            await self.flush()
        with trio.move_on_after(5.0):
            while self.protocol.state is not State.CLOSED:
                await self._receive()
        await trio.aclose_forcefully(self.stream)

    async def flush(self) -> None:
        """Send what the protocol has to say."""
        async with self.sending:
            for data in self.protocol.data_to_send():
                try:
                    if data:
                        await self.stream.send_all(data)
                    else:
                        await self.stream.send_eof()
                except trio.BrokenResourceError:
                    return

    async def _receive(self) -> None:
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        await self.flush()

    _parts: list[bytes] = attrs.field(factory=list, init=False)

    def _assembled(self) -> Iterator[bytes]:
        for event in self.protocol.events_received():
            match event:
                case Response():
                    continue
                case Frame(opcode=opcode, data=data, fin=fin) if opcode < 8:
                    assert opcode in {Opcode.CONT, Opcode.TEXT}, "relayd sends text"
                    self._parts.append(bytes(data))
                    if fin:
                        yield b"".join(self._parts)
                        self._parts.clear()


@attrs.define(eq=False)
class Lane:
    """One conversation.

    Attributes:
        name: Its ``stream_id``; ``None`` is the default lane.
        running: Whether an answer is waited for.
        response_id: What the client goes on from.
        connection: Where it was last asked.
        strays: Events of a response that has ended, which an upstream may have said too late.
    """

    name: str | None
    running: bool = False
    response_id: str | None = None
    connection: Connection | None = None
    strays: int = 0
    _created_id: str | None = None
    _answer: dict[str, object] | None = None
    _over: trio.Event = attrs.field(factory=trio.Event)

    def begin(self, connection: Connection) -> None:
        """A request is about to be sent."""
        self.connection = connection
        self.running, self._created_id, self._answer = True, None, None
        self._over = trio.Event()

    async def answer(self) -> dict[str, object]:
        """How it ended."""
        with trio.move_on_after(ANSWER_S):
            await self._over.wait()
        if self._answer is None:
            self.running = False
            return {"outcome": "silence", "response_id": self._created_id}
        return self._answer

    def hear(self, event: _Event) -> str | None:
        """What is wrong with ``event`` here and now, if something is."""
        if event.type not in _LIVES:
            if self._created_id is None or not self.running:
                self.strays += event.type not in KEEPALIVES
            return None
        if not self.running:
            return f"{event.type} while no turn runs"
        if event.type == "response.created":
            return self._created(event)
        if event.type == "error":
            return self._refused(event)
        return self._ended(event)

    def lose(self, connection: Connection, code: int) -> None:
        """The connection has ended, and what was remembered on it.

        A request that has met relayd's goodbye on its way has no answer, and begins nothing.
        """
        if self.connection is connection:
            self.response_id = None
            if self.running:
                has_crossed = connection.is_spent and code == 1000 and self._created_id is None
                self._end(outcome="crossed" if has_crossed else "closed", status=code)

    def _created(self, event: _Event) -> str | None:
        if self._created_id is not None:
            return "response.created twice"
        self._created_id = None if event.response is None else event.response.id
        return None if self._created_id else "response.created without an id"

    def _refused(self, event: _Event) -> str | None:
        error = event.error or _Error()
        if error.code == SPENT and self.connection is not None:
            self.connection.is_spent = True
        self._end(outcome="error", status=event.status, code=error.code, kind=error.type)
        self.response_id = None
        # The simulator's own quota of codes has one without; relayd's have all of them.
        lacks = [name for name in ("type", "message") if not getattr(error, name)]
        lacks += [] if event.status else ["status"]
        return f"an error without {lacks}" if lacks else None

    def _ended(self, event: _Event) -> str | None:
        said = None if event.response is None else event.response.id
        self._end(outcome=TERMINALS[event.type])
        self.response_id = said if event.type == "response.completed" else None
        return None if said == self._created_id else f"{event.type} of another response"

    def _end(self, **answer: object) -> None:
        self.running = False
        self._answer = {**answer, "response_id": self._created_id}
        self._over.set()


@attrs.define(eq=False)
class Client:
    """One of the crowd.

    Attributes:
        requests: What became of each request.
        violations: What may not be.
        connections: How many it has opened.
        closes: The codes with which relayd has closed some of them.
    """

    number: int
    address: str
    key: str
    requests: list[dict[str, object]] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    connections: int = 0
    closes: list[int] = attrs.field(factory=list)
    lanes: list[Lane] = attrs.field(init=False)
    _connection: Connection | None = None
    _opening: trio.Lock = attrs.field(factory=trio.Lock)

    def __attrs_post_init__(self) -> None:
        names = ("left", "right") if self.number % 8 < 2 else (None,)
        self.lanes = [Lane(name) for name in names]

    @property
    def headers(self) -> dict[str, str]:
        """Of its upgrade."""
        named = {"session-id": f"session-{self.number}"} if self.number % 2 else {}
        return {"Authorization": f"Bearer {self.key}", **named}

    async def run(self, turns: int) -> None:
        """All turns, shared among the lanes."""
        async with trio.open_nursery() as reading:
            async with trio.open_nursery() as talking:
                for index, lane in enumerate(self.lanes):
                    share = len(range(index, turns, len(self.lanes)))
                    talking.start_soon(self._talk, lane, share, reading)
            reading.cancel_scope.cancel()
        if self._connection is not None:
            await self._connection.close()

    async def _talk(self, lane: Lane, turns: int, reading: trio.Nursery) -> None:
        for turn in range(turns):
            for repeat in range(REPEATS_MAX):
                answer = await self._ask(lane, turn, reading)
                self.requests.append({"turn": turn, "repeat": repeat, **answer})
                if answer.get("code") not in CHAIN_CODES and answer["outcome"] != "crossed":
                    break
            else:
                self.violations.append(f"turn {turn} never began")
            if answer.get("status") == BUSY:
                await trio.sleep(BUSY_S)  # by the clock, since nothing tells a client to go on

    async def _ask(self, lane: Lane, turn: int, reading: trio.Nursery) -> dict[str, object]:
        began = time.monotonic()
        connection = await self._open(reading)
        create: dict[str, object] = {
            "type": "response.create",
            "model": "gpt-5.2",
            "store": False,
            "input": f"client {self.number} turn {turn}",
        }
        if lane.name is not None:
            create["stream_id"] = lane.name
        if lane.response_id is not None:
            create["previous_response_id"] = lane.response_id
        lane.begin(connection)
        await connection.send(msgspec.json.encode(create))
        answer = await lane.answer()
        return {
            "lane": lane.name,
            "chained": "previous_response_id" in create,
            "named": bool(self.number % 2),
            "seconds": round(time.monotonic() - began, 4),
            **answer,
        }

    async def _open(self, reading: trio.Nursery) -> Connection:
        async with self._opening:
            current = self._connection
            if current is None or current.is_spent or not current.is_open:
                current = self._connection = await Connection.open(self.address, self.headers)
                self.connections += 1
                reading.start_soon(self._read, current)
            return current

    async def _read(self, connection: Connection) -> None:
        lanes = {lane.name: lane for lane in self.lanes}
        try:
            while True:
                for message in await connection.messages():
                    self._hear(lanes, connection, message)
        except Closed as closed:
            self.closes.append(closed.code)
            for lane in self.lanes:
                lane.lose(connection, closed.code)
            await connection.close()

    def _hear(self, lanes: dict[str | None, Lane], connection: Connection, message: bytes) -> None:
        event = _decode(message)
        lane = lanes.get(event.stream_id)
        wrong: str | None = "on a lane that nobody opened"
        if lane is not None:
            wrong = lane.hear(event) if lane.connection is connection else "on an old connection"
        if wrong is not None:
            told = message[:300].decode(errors="replace")
            self.violations.append(f"client {self.number} {event.stream_id}: {wrong}: {told}")


async def main(address: str, key: str, count: int, turns: int) -> None:
    clients = [Client(number, address, key) for number in range(count)]
    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.run, turns)
    result = {
        "seconds": round(time.monotonic() - began, 2),
        "connections": sum(client.connections for client in clients),
        "strays": sum(lane.strays for client in clients for lane in client.lanes),
        "closes": Counter(code for client in clients for code in client.closes),
        "requests": [request for client in clients for request in client.requests],
        "violations": [wrong for client in clients for wrong in client.violations],
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
