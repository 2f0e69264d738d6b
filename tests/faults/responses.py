"""Responses clients between a relayd in this process and simulated, or scripted, upstreams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, Unpack, cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.accounts import AccountSettings, UpstreamMode
from relayd.config.dialects import DialectSettings, ResponsesSettings
from relayd.config.pools import PoolSettings
from relayd.config.providers import Provider
from relayd.config.schema import LedgerSettings
from relayd.config.secret import Secret
from relayd.config.snapshot import Snapshot
from relayd.ledger.database import open_read_only
from relayd.observe.events import LogEvent
from relayd.service import app, parts
from relayd.session.responses.shared import Shared
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.upstream import ResponsesUpstream
from relayd.sim.server import SimServer, serve
from tests.faults import harness, wire
from tests.faults.harness import (
    BEARER,
    LIMITS,
    TIMEOUTS,
    UPSTREAM_KEY,
    Options,
    Relay,
    Stage,
    Upstream,
    _serve,
    accepted,
    descriptors,
)
from tests.faults.wire import CLOSE, PING, PONG, TEXT, Response, Wire, frame

PATH = "/v1/responses"
MODEL = "gpt-5.2"
LARGE = attrs.evolve(LIMITS, message_max_bytes=64 << 20)
TERMINALS = frozenset({"response.completed", "response.failed", "response.incomplete"})
LAST = TERMINALS | {"error"}

Event = dict[str, Any]


def asked(given: object = "hello", **fields: object) -> Event:
    """A ``response.create``."""
    return {"type": "response.create", "model": MODEL, "input": given, **fields}


def playing(scenario: Scenario, **metadata: str) -> Event:
    """The fields of a create whose turn plays ``scenario``."""
    return {"metadata": {"sim": scenario.value, **metadata}}


def output(call_id: str, text: str = "done") -> Event:
    """What a tool answers."""
    return {"type": "function_call_output", "call_id": call_id, "output": text}


SHELL: Event = {
    "type": "function",
    "name": "shell",
    "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
}
CALLING: Event = {"tools": [SHELL], "tool_choice": "required"}
"""The fields of a create whose turn calls a tool."""


class Closed(Exception):
    """relayd has closed the session."""

    def __init__(self, code: int | None, reason: bytes) -> None:
        super().__init__(code, reason)
        self.code = code


@attrs.define(eq=False)
class Client:
    """A client's WebSocket past its 101.

    Attributes:
        seen: Every event that came.
        pings: How many pings came, each answered.
    """

    wire: Wire
    seen: list[Event] = attrs.field(factory=list)
    pings: int = 0

    @classmethod
    async def of(cls, relay: Relay, headers: Mapping[str, str] | None = None) -> Self:
        """A new one."""
        opened = await relay.asking(PATH, headers=dict(headers or {}))
        await accepted(opened)
        return cls(opened)

    async def say(self, message: Mapping[str, object] | str | bytes) -> None:
        """Send one text message."""
        match message:
            case bytes():
                data = message
            case str():
                data = message.encode()
            case _:
                data = json.dumps(message).encode()
        await self.wire.send(frame(TEXT, data))

    async def ask(self, given: object = "hello", **fields: object) -> None:
        """Ask for a response."""
        await self.say(asked(given, **fields))

    async def event(self) -> Event:
        """The next event. Raises :class:`Closed` for a Close in its place."""
        whole = b""
        while True:
            got = await self.wire.frame()
            if got.opcode == PING:
                self.pings += 1
                await self.wire.send(frame(PONG, got.payload))
                continue
            if got.opcode == CLOSE:
                raise Closed(got.close_code, got.payload[2:])
            whole += got.payload
            if got.fin:
                break
        told: Event = json.loads(whole)
        check_event(told)
        self.seen.append(told)
        return told

    async def until(self, *kinds: str) -> list[Event]:
        """The events up to and with the next of one of ``kinds``."""
        events = [await self.event()]
        while events[-1]["type"] not in kinds:
            events.append(await self.event())
        return events

    async def answer(self, lane: str | None = None) -> Event:
        """The event that ends the turn of ``lane``."""
        while True:
            told = await self.event()
            if told["type"] in LAST and told.get("stream_id") == lane:
                return told

    async def turn(self, given: object = "hello", **fields: object) -> Event:
        """Ask, and read to the end of the turn."""
        await self.ask(given, **fields)
        lane = fields.get("stream_id")
        return await self.answer(None if lane is None else str(lane))

    async def error(self) -> Event:
        """The error that the next event is, after those that are no end."""
        told = (await self.until(*LAST))[-1]
        assert told["type"] == "error", told
        return told

    async def closed(self) -> int | None:
        """The code of the Close that comes next, answered; events before it are kept."""
        while True:
            got = await self.wire.frame()
            if got.opcode == TEXT and got.fin:
                told = json.loads(got.payload)
                check_event(told)
                self.seen.append(told)
            if got.opcode == PING:
                await self.wire.send(frame(PONG, got.payload))
            if got.opcode == CLOSE:
                await self.wire.send(frame(CLOSE, got.payload))
                await self.wire.finish()
                await self.wire.end()
                return got.close_code


def check_event(told: Event) -> None:
    """An error says all that clients need."""
    if told["type"] != "error":
        return
    assert told["status"] in range(400, 600), told
    error = told.get("error") or told
    assert error["message"], told
    assert error.get("type"), told


def check_terminals(events: Sequence[Event], *, cut: bool = False) -> None:
    """Each ``response.created`` that was seen has exactly one end, by terminal or by error.

    Args:
        events: All that a client has seen.
        cut: Whether it left before the end.
    """
    running: dict[str | None, str] = {}
    ended: set[str] = set()
    for event in events:
        lane, kind = event.get("stream_id"), event["type"]
        if kind == "response.created":
            assert lane not in running, f"a second response begins in {lane}"
            running[lane] = event["response"]["id"]
        elif kind in TERMINALS:
            assert running.pop(lane) == event["response"]["id"], "the end of another response"
            assert event["response"]["id"] not in ended
            ended.add(event["response"]["id"])
        elif kind == "error":
            ended.add(running.pop(lane, ""))
        elif kind == "response.in_progress" and lane in running:
            assert event["response"]["id"] == running[lane]
    assert cut or not running, f"never ended: {running}"


class Wishes(Options, total=False):
    """What a test may want of relayd, its pool and its accounts."""

    pool: PoolSettings
    times: ResponsesSettings
    lanes: bool
    websocket: UpstreamMode
    sessions_max: int


@attrs.define(eq=False)
class Scene:
    """relayd between its clients and its upstreams."""

    relay: Relay
    shared: Shared
    servers: list[SimServer[ResponsesUpstream]]

    async def client(self, **headers: str) -> Client:
        """A client past its 101; an underscore in a header's name stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await Client.of(self.relay, named)

    @property
    def sim(self) -> ResponsesUpstream:
        """The first upstream."""
        return self.servers[0].upstream

    async def post(self, body: Event | bytes, **headers: str) -> Response:
        """``POST /v1/responses``, and its whole response."""
        posted = await self.posting(body, **headers)
        await posted.end()
        return Response.parse(bytes(posted.seen))

    async def posting(self, body: Event | bytes, **headers: str) -> Wire:
        """A connection that has sent ``POST /v1/responses``."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {
            "Host": "relayd.test",
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            "Connection": "close",
            **BEARER,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        posted = await self.relay.client()
        await posted.send(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + data)
        return posted

    async def turns_ended(self, count: int) -> list[dict[str, Any]]:
        """The lines of all turns, which are ``count``."""
        if count:
            await self.relay.log.wait(LogEvent.TURN_ENDED, count)
        lines = self.relay.log.of(LogEvent.TURN_ENDED)
        assert len(lines) == count, lines
        return lines

    async def turn_ended(self) -> dict[str, Any]:
        """The line of the only turn."""
        (line,) = await self.turns_ended(1)
        return line

    async def at_rest(self) -> None:
        """Wait until no socket is leased, opened or waited for, and no seat is taken."""
        with trio.fail_after(wire.SOON_S):
            while any(
                account.sv_active or account.sv_login or account.cl_waiting
                for account in self.shared.pool.statistics()
            ) or any(account.in_flight for account in self.shared.connector.roster.statistics()):
                await trio.lowlevel.checkpoint()


@attrs.define
class ResponsesStage:
    """What a test of the responses dialect starts relayd with.

    Attributes:
        made: What each relayd was made of, in their order.
    """

    stage: Stage
    made: list[parts.Parts]

    @classmethod
    def of(cls, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Self:
        """From the fixtures of a test."""
        made: list[parts.Parts] = []

        def build(*args: Any) -> parts.Parts:  # noqa: ANN401 - whatever the parts are built from
            made.append(parts.build(*args))
            return made[-1]

        monkeypatch.setattr(app, "build", build)
        return cls(stage, made)

    def snapshot(
        self, addresses: Sequence[SimServer[ResponsesUpstream] | Upstream], **wishes: Unpack[Wishes]
    ) -> Snapshot:
        """One account for each upstream, tried in this order."""
        accounts = [
            AccountSettings(
                name=f"account-{number}",
                provider=Provider.COMPATIBLE,
                base_url=f"ws://127.0.0.1:{server.port}/v1",
                api_key=Secret(UPSTREAM_KEY),
                models=("gpt-5*",),
                priority=number,
                timeouts=TIMEOUTS,
                lanes=wishes.get("lanes", True),
                websocket=wishes.get("websocket", UpstreamMode.POOL),
                sessions_max=wishes.get("sessions_max", 0),
            )
            for number, server in enumerate(addresses, 1)
        ]
        others = {name: wishes[name] for name in wishes if name in Options.__annotations__}  # type: ignore[literal-required] # the names are its own
        options = cast("Options", {"limits": LARGE, **others})
        made = self.stage.snapshot(*accounts, **options).settings
        return Snapshot.of(
            attrs.evolve(
                made,
                pool=wishes.get("pool", PoolSettings()),
                dialects=DialectSettings(responses=wishes.get("times", ResponsesSettings())),
            )
        )

    @asynccontextmanager
    async def serving(
        self, *upstreams: ResponsesUpstream | Upstream, **wishes: Unpack[Wishes]
    ) -> AsyncIterator[Scene]:
        """relayd before these upstreams. When it has stopped nothing of it is left."""
        async with trio.open_nursery() as nursery:
            before = descriptors()
            async with trio.open_nursery() as playing:
                servers: list[Any] = [
                    each if isinstance(each, Upstream) else await playing.start(serve, each)
                    for each in upstreams or (ResponsesUpstream(),)
                ]
                snapshot = self.snapshot(servers, **wishes)
                over, wall = trio.Event(), wishes.get("wall", _wall)
                running = await nursery.start(_serve, snapshot, wall, over, None)
                log, hold = self.stage.log, self.stage.holds[-1]
                relay = Relay(running, log, hold, nursery, over)
                sims = [each for each in servers if isinstance(each, SimServer)]
                try:
                    yield Scene(relay, self.made[-1].responses, sims)
                finally:
                    for client in relay.clients:
                        client.close()
                running.stop()
                with trio.fail_after(wire.SOON_S):
                    await over.wait()
                assert not any(each.crashes for each in sims)
                playing.cancel_scope.cancel()
            for each in self.stage.upstreams:
                each.close()
            left = descriptors()
            assert relay.hold.bytes_held == 0
            assert not left.items() - before.items()


def _wall() -> float:
    return 1_800_000_000.0


def patient_clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """A clock that jumps when nothing has happened for a while, sockets included.

    The time that clients wait by is the same, so they wait for as long as it takes.
    """
    for module in (wire, harness):
        monkeypatch.setattr(module, "SOON_S", 1e6)
    return MockClock(autojump_threshold=0.005)


def in_file(folder: Path) -> LedgerSettings:
    """A ledger that :func:`rows` can read."""
    return LedgerSettings(url=f"sqlite:{folder / 'ledger.db'}")


def rows(folder: Path) -> list[dict[str, Any]]:
    """What a ledger has of turns, in their order."""
    connection = open_read_only(folder / "ledger.db")
    try:
        found = connection.execute("SELECT * FROM rows ORDER BY rowid")
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]
    finally:
        connection.close()
