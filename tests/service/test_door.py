"""The front door: one answer and one line for each connection, whatever goes wrong on the way."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.accounts import AccountSettings
from relayd.config.schema import KeySettings, LimitSettings, Settings
from relayd.config.secret import KeyDigest
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.core.refusals import Refusal, RefusalCode
from relayd.ledger.database import Database
from relayd.observe.bus import Bus, SessionFacts
from relayd.observe.events import LogEvent
from relayd.routing.roster import Roster
from relayd.routing.scheduler import choose
from relayd.service.acceptor import SlowHeads
from relayd.service.door import Door
from relayd.service.hub.wiring import hub_of
from relayd.service.parts import open_books
from relayd.service.pooling import shared_of
from relayd.service.xiaozhi.wiring import devices_of
from relayd.session.books import Books
from relayd.session.chat.shared import chat_of
from relayd.session.connecting import Connected, Connector, Wish
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor
from relayd.transport.resolve import Resolver
from tests.conftest import LogLines
from tests.faults.wire import SOON_S, TEXT, Response, Wire, frame, upgrade

KEY = "canary-of-client"
BEARER = {"Authorization": f"Bearer {KEY}"}
ASK = upgrade("/relay/echo", BEARER)
ADDRESS = "127.0.0.2"
SNAPSHOT = Snapshot.of(
    Settings(
        limits=LimitSettings(handshake_s=10.0, admission_s=8.0),
        keys=(KeySettings(name="dev", secret=KeyDigest.of(KEY)),),
        accounts=(AccountSettings(name="echo", provider="websocket", base_url="ws://127.0.0.1:1"),),
    )
)

Play = Callable[["Stage"], Awaitable[None]]


async def at_once(stage: Stage) -> None:
    """The upstream is ready as soon as it is asked for."""


@attrs.frozen(kw_only=True)
class PlayedConnector(Connector):
    """A connector that reaches one end of a pair of sockets, when the test lets it."""

    stage: Stage

    async def connect(
        self, wish: Wish, *, facts: SessionFacts, deadline: float
    ) -> Connected | Refusal:
        self.stage.deadlines.append(deadline)
        await self.stage.play(self.stage)
        if self.stage.refusal is not None:
            return self.stage.refusal
        now = trio.current_time()
        seat = choose(self.roster, wish.demand, now=now, random_unit=0.0)
        assert seat is not None
        near, far = socket.socketpair()
        near.setblocking(False)
        self.stage.upstream = Wire(trio.socket.from_stdlib_socket(far), is_client=False)
        self.stage.endpoint = Endpoint(near, Side.UPSTREAM, self.hold, now)
        return Connected(
            endpoint=self.stage.endpoint,
            seat=seat,
            subprotocol=None,
            connect_ms=1.0,
            first_frame_ms=None,
        )


@attrs.define(eq=False)
class Stage:
    """A door with one client in front of it."""

    nursery: trio.Nursery
    log: LogLines
    reactor: Reactor = attrs.field(factory=Reactor)
    hold: HoldBudget = attrs.field(factory=lambda: HoldBudget(1 << 20))
    books: Books = attrs.field(factory=lambda: open_books(SNAPSHOT, Database.open(None), time.time))
    play: Play = at_once
    refusal: Refusal | None = None
    deadlines: list[float] = attrs.field(factory=list)
    upstream: Wire | None = None
    endpoint: Endpoint | None = None
    over: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _near: socket.socket | None = None
    _door: Door | None = None
    _client: Wire | None = None

    @property
    def door(self) -> Door:
        if self._door is None:
            connector = PlayedConnector(
                stage=self,
                roster=Roster.of(SNAPSHOT.accounts),
                resolver=Resolver(self.nursery),
                contexts={},
                hold=self.hold,
                bus=Bus(),
            )
            self._door = Door(
                responses=shared_of(
                    SNAPSHOT,
                    reactor=self.reactor,
                    books=self.books,
                    bus=Bus(),
                    hold=self.hold,
                    connector=connector,
                    tell=lambda event: None,
                ),
                chat=chat_of(
                    SNAPSHOT,
                    reactor=self.reactor,
                    books=self.books,
                    bus=Bus(),
                    hold=self.hold,
                    connector=connector,
                    crashed=lambda: None,
                ),
                hub=hub_of(
                    SNAPSHOT,
                    reactor=self.reactor,
                    books=self.books,
                    bus=Bus(),
                    hold=self.hold,
                    files={},
                ),
                devices=devices_of(
                    SNAPSHOT, reactor=self.reactor, books=self.books, connector=connector
                ),
                snapshot=SNAPSHOT,
                tls=None,
                reactor=self.reactor,
                connector=connector,
                quota=self.books.limits,
                books=self.books,
                bus=Bus(),
                hold=self.hold,
                slow_heads=SlowHeads(64),
            )
        return self._door

    def enter(self) -> Wire:
        """A client that was just accepted."""
        self._near, far = socket.socketpair()
        self._near.setblocking(False)
        self._client = Wire(trio.socket.from_stdlib_socket(far))
        self.nursery.start_soon(self._serve, self._near)
        return self._client

    async def _serve(self, near: socket.socket) -> None:
        with self.scope:
            await self.door.serve(near, ADDRESS)
        self.over.set()

    async def ended(self) -> dict[str, Any]:
        """The one line of the connection, once it is over; nothing is left of it."""
        with trio.fail_after(SOON_S):
            await self.over.wait()
        assert self._near is not None
        assert self._near.fileno() == -1
        assert self.endpoint is None or self.endpoint.sock.fileno() == -1
        assert len(self.reactor) == 0
        assert (self.hold.bytes_held, self.books.limits.live, len(self.door.slow_heads)) == (
            0,
            0,
            0,
        )
        assert sum(each.in_flight for each in self.door.connector.roster.statistics()) == 0
        assert self.door.sessions == {}
        (line,) = self.log.of(LogEvent.CONNECTION_REFUSED) + self.log.of(LogEvent.SESSION_ENDED)
        return line

    async def refused(self, request: bytes) -> tuple[Response, dict[str, Any]]:
        """The answer to ``request``, and its line."""
        client = self.enter()
        await client.send(request)
        await client.finish()
        await client.end()
        return Response.parse(bytes(client.seen)), await self.ended()

    def close(self) -> None:
        for wire in (self._client, self.upstream):
            if wire is not None:
                wire.close()
        self.reactor.close()


@pytest.fixture
async def stage(log_lines: LogLines) -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        made = Stage(nursery, log_lines)
        nursery.start_soon(made.reactor.run)
        yield made
        nursery.cancel_scope.cancel()
    made.close()
    assert KEY.encode() not in log_lines.stream.getvalue()


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason", "dialect", "key"),
    [
        (b"no http\r\n\r\n", 400, "malformed_request", None, None),
        (upgrade("/nowhere", BEARER), 404, "not_found", None, None),
        (upgrade("/relay/echo"), 401, "missing_api_key", "passthrough", None),
        (upgrade("/relay/nobody", BEARER), 404, "not_found", "passthrough", "dev"),
        (upgrade("/v1/realtime", BEARER), 400, "invalid_parameter", "realtime", "dev"),
        (
            upgrade("/relay/echo", BEARER | {"Sec-WebSocket-Version": "8"}),
            *(426, "websocket_version", "passthrough", None),
        ),
        (b"x" * 40_000, 431, "head_too_large", None, None),
        (ASK + b"early", 400, "early_bytes", "passthrough", None),
    ],
)
async def test_a_request_that_cannot_become_a_session_has_one_answer_and_one_line(
    stage: Stage,
    request_bytes: bytes,
    status: int,
    reason: str,
    dialect: str | None,
    key: str | None,
) -> None:
    response, line = await stage.refused(request_bytes)

    assert response.status == status
    assert json.loads(response.body)["error"]["code"] == reason
    assert (line["status"], line["reason"], line["client_address"]) == (status, reason, ADDRESS)
    assert (line["dialect"], line["key"]) == (dialect, key)
    assert stage.deadlines == [], "nothing was dialled"


async def test_a_draining_door_lets_nobody_in(stage: Stage) -> None:
    stage.door.draining = True

    response, line = await stage.refused(ASK)

    assert (response.status, line["reason"]) == (503, "draining")


async def test_a_drain_that_begins_during_the_dial_refuses_too(stage: Stage) -> None:
    async def drains(stage: Stage) -> None:
        stage.door.draining = True

    stage.play = drains
    client = stage.enter()
    await client.send(ASK)
    await client.end()

    assert Response.parse(bytes(client.seen)).status == 503
    await client.finish()
    assert (await stage.ended())["reason"] == "draining"


async def test_a_process_that_holds_too_much_takes_no_new_work(stage: Stage) -> None:
    stage.hold.take(stage.hold.bytes_max)
    client = stage.enter()

    await client.send(ASK)
    await client.end()
    await client.finish()
    stage.hold.give(stage.hold.bytes_max)

    assert (await stage.ended())["reason"] == "overload"
    assert Response.parse(bytes(client.seen)).status == 503


async def test_over_the_quota_nothing_is_dialled(stage: Stage) -> None:
    stage.books.limits.sessions_max = 0

    response, line = await stage.refused(ASK)

    assert (response.status, line["reason"], stage.deadlines) == (503, "overload", [])


async def test_what_the_connector_refuses_the_client_hears(stage: Stage) -> None:
    stage.refusal = Refusal(RefusalCode.UPSTREAM_REFUSED, "no", retry_after_s=3.0)
    client = stage.enter()

    await client.send(ASK)
    await client.end()
    await client.finish()

    response = Response.parse(bytes(client.seen))
    assert (response.status, "Retry-After: 3" in response.head) == (502, True)
    assert (await stage.ended())["reason"] == "upstream_refused"


async def test_a_bug_ends_one_connection_with_500_and_names_its_line(
    stage: Stage, log_lines: LogLines
) -> None:
    async def bug(stage: Stage) -> None:
        raise ZeroDivisionError("a bug")

    stage.play = bug
    client = stage.enter()
    await client.send(ASK)
    await client.end()
    await client.finish()

    line = await stage.ended()
    (crash,) = log_lines.of(LogEvent.SESSION_CRASHED)
    response = Response.parse(bytes(client.seen))
    assert (response.status, line["reason"]) == (500, "internal_error")
    assert crash["session_id"] in response.body.decode()
    assert "a bug" not in response.body.decode()
    assert "ZeroDivisionError: a bug" in crash["traceback"]
    assert stage.door.crashes == 1


# -- clients that do not wait


async def test_a_client_that_leaves_during_the_dial_cancels_it(stage: Stage) -> None:
    dialling = trio.Event()

    async def never(stage: Stage) -> None:
        dialling.set()
        await trio.sleep_forever()

    stage.play = never
    client = stage.enter()
    await client.send(ASK)
    await dialling.wait()
    await client.finish()

    line = await stage.ended()
    assert (line["status"], line["reason"]) == (0, "client_gone")
    await client.end()
    assert client.seen == b"", "nobody was left to answer"


async def test_frames_before_the_101_are_refused(stage: Stage) -> None:
    dialling = trio.Event()

    async def never(stage: Stage) -> None:
        dialling.set()
        await trio.sleep_forever()

    stage.play = never
    client = stage.enter()
    await client.send(ASK)
    await dialling.wait()
    await client.send(frame(TEXT, b"early"))
    await client.end()
    await client.finish()

    assert Response.parse(bytes(client.seen)).status == 400
    assert (await stage.ended())["reason"] == "early_bytes"


async def test_a_client_that_leaves_as_the_upstream_gets_ready_costs_nothing(
    stage: Stage,
) -> None:
    async def too_late(stage: Stage) -> None:
        with trio.CancelScope(shield=True):  # the upstream's answer was on its way already
            await client.finish()
            await wait_all_tasks_blocked()

    stage.play = too_late
    client = stage.enter()
    await client.send(ASK)

    line = await stage.ended()
    assert (line["status"], line["reason"]) == (0, "client_gone")


# -- time


async def test_a_head_that_does_not_arrive_in_time_gets_408(
    autojump_clock: MockClock, stage: Stage
) -> None:
    client = stage.enter()
    begin = trio.current_time()
    await client.send(ASK[:-2])
    await trio.sleep(9.0)
    assert not stage.over.is_set()

    await client.end()

    assert trio.current_time() - begin == 10.0
    assert Response.parse(bytes(client.seen)).status == 408
    await client.finish()
    assert (await stage.ended())["reason"] == "head_timeout"


async def test_the_time_of_admission_runs_from_the_accepted_connection(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.refusal = Refusal(RefusalCode.NO_ACCOUNT, "no")
    begin = trio.current_time()
    client = stage.enter()

    await trio.sleep(3.0)
    await client.send(ASK)
    await client.end()
    await client.finish()
    await stage.ended()

    assert stage.deadlines == [begin + 8.0]


async def test_cancelled_on_the_way_in_a_connection_is_told_that_relayd_stops(
    stage: Stage,
) -> None:
    client = stage.enter()
    await client.send(ASK[:20])
    await wait_all_tasks_blocked()

    stage.scope.cancel()

    line = await stage.ended()
    assert (line["status"], line["reason"]) == (503, "draining")
    await client.end()
    assert Response.parse(bytes(client.seen)).status == 503


# -- in


async def test_a_client_hears_the_101_when_its_upstream_is_ready_and_then_its_messages(
    stage: Stage,
) -> None:
    client = stage.enter()
    await client.send(ASK)

    assert (await client.head()).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    (session_id,) = stage.door.sessions
    assert session_id.startswith("sess_")
    upstream = stage.upstream
    assert upstream is not None
    await client.send(frame(TEXT, b"hello"))
    assert (await upstream.frame()).payload == b"hello"
    stage.door.sessions[session_id].kill()
    assert await client.goodbye() == 1008
    await upstream.goodbye()
    line = await stage.ended()
    assert (line["session_id"], line["reason"]) == (session_id, "killed")
