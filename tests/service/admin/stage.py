"""An admin listener over made-up sessions and accounts, asked byte for byte."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import trio

from relayd.config.schema import Settings
from relayd.config.secret import Secret
from relayd.config.snapshot import Account, Key, Snapshot
from relayd.config.url import parse_base_url
from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.ledger.budgets import Budgets
from relayd.observe.bus import Bus, SessionFacts
from relayd.observe.metrics_text import TextFormat
from relayd.pool.statistics import AccountPool
from relayd.protocol.directions import ClientFlow
from relayd.routing.roster import Roster, Seat
from relayd.service.admin.listener import Admin
from relayd.service.admin.readiness import Readiness
from relayd.service.admin.state import Operations
from relayd.service.difference import ReloadOutcome
from relayd.service.http.service import RequestFacts
from relayd.session.attempts import AttemptFailed
from relayd.session.connecting import Connected, Connector, Wish
from relayd.session.limits import Limits
from relayd.session.reporter import Timing
from relayd.state.memory import MemoryStore
from relayd.transport.resolve import Resolver
from tests.service.admin.desk import PlayedDesk
from tests.service.http.stage import Client, Reply, pair

TOKEN = "canary-of-admin"
BEARER = f"Authorization: Bearer {TOKEN}"
LOOPBACK = "127.0.0.1:8766"
WALL = 1_800_000_000.0
READY = Readiness(draining=False, overloaded=False, ledger_failing=False)
KEY = Key(name="dev", tenant="team", digest=b"\x07" * 32)

ACCOUNTS = (
    Account(name="talk", provider="compatible", base_url=parse_base_url("wss://talk.test/v1")),
    Account(
        name="echo",
        provider="websocket",
        base_url=parse_base_url("ws://127.0.0.1:9"),
        sessions_max=2,
    ),
    Account(name="asleep", provider="sim:realtime", enabled=False),
)


@attrs.define
class PlayedMeter:
    """What a session has used."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: Decimal | None = Decimal(0)


@attrs.define
class PlayedReporter:
    facts: SessionFacts
    timing: Timing
    meter: PlayedMeter
    turns: int = 0


@attrs.define
class PlayedConversation:
    busy: bool = False


@attrs.define
class PlayedEndpoint:
    flow: ClientFlow | None = None


@attrs.define(eq=False)
class PlayedSession:
    """A session, as far as it is shown."""

    reporter: PlayedReporter
    conversation: PlayedConversation = attrs.field(factory=PlayedConversation)
    client: PlayedEndpoint = attrs.field(factory=PlayedEndpoint)
    upstream: PlayedEndpoint = attrs.field(factory=PlayedEndpoint)
    client_address: str = "192.0.2.7"
    leaving: Reason | None = None

    def kill(self) -> None:
        self.leaving = Reason.KILLED


@attrs.frozen(kw_only=True)
class PlayedConnector(Connector):
    """A connector whose attempts end as the test says."""

    failures: dict[str, AttemptFailed] = attrs.field(factory=dict)
    dialled: list[str] = attrs.field(factory=list)

    async def attempt(self, wish: Wish, seat: Seat, deadline: float) -> Connected:
        self.dialled.append(seat.account.name)
        await trio.lowlevel.checkpoint()
        if (failed := self.failures.get(seat.account.name)) is not None:
            raise failed
        return Connected(
            endpoint=_Closable(),  # type: ignore[arg-type]  # all that a probe does with it
            seat=seat,
            subprotocol=None,
            connect_ms=12.34,
            first_frame_ms=5.0 if wish.hears_first else None,
        )


class _Closable:
    def close(self) -> None: ...


@attrs.define(eq=False)
class Stage:
    """What the listener is made with, and what was done through it."""

    nursery: trio.Nursery
    readiness: Readiness = READY
    token: Secret | None = attrs.field(factory=lambda: Secret(TOKEN))
    sessions: dict[str, PlayedSession] = attrs.field(factory=dict)
    keys: tuple[Key, ...] = (KEY,)
    settings: Settings = attrs.field(factory=Settings)
    accounts: tuple[Account, ...] = ACCOUNTS
    pools: tuple[AccountPool, ...] = ()
    desk: PlayedDesk | None = attrs.field(factory=PlayedDesk)
    draining: bool = False
    outcome: ReloadOutcome = attrs.field(factory=ReloadOutcome)
    reload_waits_for: trio.Event | None = None
    money: Callable[[Key], tuple[int, int]] = lambda key: (0, 0)
    done: list[str] = attrs.field(factory=list)
    requests: list[RequestFacts] = attrs.field(factory=list)
    crashes: int = 0
    connector: PlayedConnector = attrs.field(init=False)
    limits: Limits = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connector = PlayedConnector(
            roster=Roster.of(self.accounts),
            resolver=Resolver(self.nursery),
            contexts={},
            hold=HoldBudget(1000),
            bus=Bus(),
        )
        store = MemoryStore(self.wall)
        self.limits = Limits(
            store=store,
            budgets=Budgets(store, _nothing_spent, self.wall),
            wall=self.wall,
            sessions_max=100,
            on_failure="open",
        )

    @property
    def roster(self) -> Roster:
        return self.connector.roster

    @property
    def snapshot(self) -> Snapshot:
        keys = {key.digest: key for key in self.keys}
        return Snapshot(settings=self.settings, keys=keys, accounts=self.accounts)

    def wall(self) -> float:
        return WALL

    def operations(self) -> Operations:
        return Operations(
            snapshot=lambda: self.snapshot,
            path=Path("/etc/relayd/relayd.toml"),
            loaded_at=lambda: WALL - 60,
            sessions=self.sessions,  # type: ignore[arg-type]  # played ones
            connector=self.connector,
            pools=lambda: self.pools,
            limits=self.limits,
            spent=self._spent,
            metrics=_metrics,
            draining=lambda: self.draining,
            drain=self._drain,
            reload=self._reload,
            wall=self.wall,
            devices=self.desk,  # type: ignore[arg-type]  # a played one
        )

    def admin(self, *, probes_only: bool = False) -> Admin:
        operations = None if probes_only else self.operations()
        return Admin(
            token=self.token,
            readiness=lambda: self.readiness,
            operations=operations,
            on_request=self.requests.append,
            on_crash=self._crashed,
        )

    @contextlib.asynccontextmanager
    async def client(
        self, *, tcp: bool = False, admin: Admin | None = None
    ) -> AsyncIterator[Client]:
        """A connected client; afterwards it leaves, and its connection has been served."""
        near, far = pair(tcp=tcp)
        near.setblocking(False)
        serving = admin or self.admin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving.serve, near, "unix")
            with trio.socket.from_stdlib_socket(far) as sock:
                yield Client(sock)
        assert near.fileno() == -1

    async def ask(self, method: str, path: str, *headers: str) -> Reply:
        """One request over a unix socket."""
        async with self.client() as client:
            return await client.ask(method, path, b"", *headers)

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON of an answer that is 200."""
        reply = await self.ask("GET", path)
        assert reply.status == 200, reply.body
        answer: dict[str, Any] = json.loads(reply.body)
        return answer

    def session(self, number: int, *, began_at: float = 0.0, **facts: str | None) -> PlayedSession:
        """One more running session, ``sess_<number>``."""
        given: dict[str, Any] = {
            "session_id": f"sess_{number}",
            "dialect": "realtime",
            "key": "dev",
            "tenant": "team",
            "account": "talk",
            "model": "gpt-realtime",
        }
        timing = Timing(
            accepted_at=began_at, started_at=began_at, connect_ms=1.0, first_frame_ms=None
        )
        made = PlayedSession(PlayedReporter(SessionFacts(**(given | facts)), timing, PlayedMeter()))
        self.sessions[made.reporter.facts.session_id] = made
        return made

    def _crashed(self) -> None:
        self.crashes += 1

    async def _spent(self, key: Key) -> tuple[int, int]:
        return self.money(key)

    def _drain(self) -> None:
        self.done.append("drain")
        self.draining = True

    async def _reload(self) -> ReloadOutcome:
        self.done.append("reload")
        if self.reload_waits_for is not None:
            await self.reload_waits_for.wait()
        return self.outcome


async def _nothing_spent(key: str, since: float, *, counted: Callable[[], None]) -> int:
    counted()
    return 0


async def _metrics(form: TextFormat) -> AsyncIterator[bytes]:
    yield b"# TYPE relayd_sessions gauge\n"
    yield b"relayd_sessions 3\n" + form.ending


def error_of(reply: Reply) -> Mapping[str, Any]:
    """The error object of a refusal."""
    error: Mapping[str, Any] = json.loads(reply.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error
