"""A :class:`Measuring` over sources that the test holds in its hand."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import attrs

from relayd.config.pricebook import PriceBook
from relayd.config.providers import Provider
from relayd.config.schema import Settings
from relayd.config.snapshot import Account, Snapshot
from relayd.core.hold import HoldBudget
from relayd.hub.answers import Totals
from relayd.hub.bounds import Bounds
from relayd.hub.hub import Hub
from relayd.observe.bus import (
    SessionEnded,
    SessionFacts,
    SessionOpened,
    TurnEnded,
    UsageCharged,
)
from relayd.observe.metrics_text import TextFormat
from relayd.pool.ready_counts import AccountReady
from relayd.pool.statistics import AccountPool
from relayd.protocol.directions import ClientFlow, UpstreamFlow
from relayd.protocol.flow import Flow
from relayd.routing.breaker import BreakerState
from relayd.routing.roster import AccountStatistics
from relayd.service.http.service import Outcome, RequestFacts
from relayd.service.measuring import Measuring
from relayd.service.measuring_samples import Sources

FACTS = SessionFacts(
    session_id="sess_1",
    dialect="realtime",
    key="dev",
    tenant="t",
    account="main",
    model="gpt-realtime",
)
MAIN = Account(name="main", provider=Provider.OPENAI, models=("gpt-realtime",))
ECHO = Account(name="echo", provider=Provider.WEBSOCKET)


def snapshot_of(*accounts: Account, prices: PriceBook | None = None) -> Snapshot:
    return Snapshot(settings=Settings(), keys={}, accounts=accounts, prices=prices or PriceBook())


def statistics_of(name: str = "main", /, **changes: object) -> AccountStatistics:
    resting = AccountStatistics(
        name=name,
        enabled=True,
        in_flight=0,
        sessions_max=0,
        breaker=BreakerState.CLOSED,
        cooled_until=0.0,
        disabled_by=None,
        error_average=0.0,
        first_frame_ms=None,
    )
    return attrs.evolve(resting, **changes)  # type: ignore[arg-type]  # passed on as given


def pool_of(account: str = "main", **changes: float) -> AccountPool:
    empty = AccountPool(
        account=account,
        cl_active=0,
        cl_waiting=0,
        sv_active=0,
        sv_idle=0,
        sv_tested=0,
        sv_login=0,
        maxwait_s=0.0,
        slots_max=128,
        leases=0,
        reused=0,
    )
    return attrs.evolve(empty, **changes)  # type: ignore[arg-type]  # passed on as given


@attrs.define(eq=False)
class FakeEndpoint:
    flow: Flow | None


@attrs.frozen
class FakeReporter:
    facts: SessionFacts


@attrs.define(eq=False)
class FakeSession:
    """As much of a session as is looked at."""

    reporter: FakeReporter
    client: FakeEndpoint
    upstream: FakeEndpoint

    @classmethod
    def of(cls, facts: SessionFacts) -> FakeSession:
        hold = HoldBudget(0)
        up = ClientFlow(message_max_bytes=0, hold=hold, reader=None)
        down = UpstreamFlow(message_max_bytes=0, hold=hold, reader=None)
        return cls(FakeReporter(facts), FakeEndpoint(up), FakeEndpoint(down))

    def relay(self, *, up: tuple[int, int] = (0, 0), down: tuple[int, int] = (0, 0)) -> None:
        """So many messages and bytes more in each direction."""
        for endpoint, (messages, size) in ((self.client, up), (self.upstream, down)):
            assert endpoint.flow is not None
            endpoint.flow.messages += messages
            endpoint.flow.bytes += size

    def ended(self) -> SessionEnded:
        up, down = self.client.flow, self.upstream.flow
        assert up is not None
        assert down is not None
        return attrs.evolve(
            ENDED,
            session=self.reporter.facts,
            messages_up=up.messages,
            messages_down=down.messages,
            bytes_up=up.bytes,
            bytes_down=down.bytes,
        )


@attrs.define
class FakeLedger:
    rows_written: int = 0
    rows_lost: int = 0
    pending: int = 0
    failing: bool = False


@attrs.define(eq=False)
class World:
    """Everything that is looked at."""

    snapshot: Snapshot = attrs.field(factory=lambda: snapshot_of(MAIN, ECHO))
    sessions: dict[str, FakeSession] = attrs.field(factory=dict)
    sessions_max: int = 1000
    accounts: tuple[AccountStatistics, ...] = ()
    pools: tuple[AccountPool, ...] = ()
    ready: tuple[AccountReady, ...] = ()
    hub: Totals = attrs.field(factory=lambda: Hub("0" * 16, Bounds()).totals())
    ledger: FakeLedger = attrs.field(factory=FakeLedger)
    hold: HoldBudget = attrs.field(factory=lambda: HoldBudget(1000))
    draining: bool = False
    bugs: int = 0
    lines_lost: int = 0
    wall: float = 1_000.0

    def sources(self) -> Sources:
        return Sources(
            snapshot=lambda: self.snapshot,
            sessions=lambda: self.sessions,
            sessions_max=lambda: self.sessions_max,
            accounts=lambda: self.accounts,
            pools=lambda: self.pools,
            ready=lambda: self.ready,
            hub=lambda: self.hub,
            ledger=self.ledger,
            hold=self.hold,
            draining=lambda: self.draining,
            bugs=lambda: self.bugs,
            lines_lost=lambda: self.lines_lost,
            wall=lambda: self.wall,
        )

    def measuring(self) -> Measuring:
        return Measuring(self.sources())

    def open(self, session_id: str, **facts: str) -> FakeSession:
        session = FakeSession.of(attrs.evolve(FACTS, session_id=session_id, **facts))
        self.sessions[session_id] = session
        return session


async def text_of(measuring: Measuring, form: TextFormat = TextFormat.PLAIN) -> str:
    return b"".join([piece async for piece in measuring.scrape(form)]).decode()


async def shown(measuring: Measuring, name: str) -> Mapping[str, float]:
    """What a scrape says of one sample, by its labels as they are written."""
    lines = [line for line in (await text_of(measuring)).splitlines() if line.startswith(name)]
    pairs = [line.rsplit(" ", 1) for line in lines]
    return {
        labels.removeprefix(name): float(value)
        for labels, value in pairs
        if labels.removeprefix(name)[:1] in {"", "{"}
    }


OPENED = SessionOpened(session=FACTS, admission_ms=120.0, connect_ms=80.0, first_frame_ms=30.0)
ENDED = SessionEnded(
    session=FACTS,
    reason="client_closed",
    fault="none",
    duration_s=12.5,
    turns=1,
    messages_up=0,
    messages_down=0,
    bytes_up=0,
    bytes_down=0,
    tokens_in=0,
    tokens_out=0,
    cost_usd=None,
)
TURN = TurnEnded(
    session=FACTS,
    turn_id="resp_1",
    reason="completed",
    ttft_ms=250.0,
    duration_ms=2500.0,
    tokens_in=None,
    tokens_out=None,
    cost_usd=None,
)
CHARGED = UsageCharged(
    session=FACTS,
    source="response",
    upstream_model="gpt-realtime",
    tokens_in=100,
    tokens_out=60,
    tokens_in_text=40,
    tokens_in_audio=50,
    tokens_in_image=10,
    tokens_in_cached_text=15,
    tokens_in_cached_audio=5,
    tokens_in_cached_image=0,
    tokens_out_text=20,
    tokens_out_audio=40,
    cost_usd=Decimal("0.25"),
)
REQUEST = RequestFacts(
    request_id="req_1",
    method="GET",
    route="/v1/models",
    status=200,
    outcome=Outcome.COMPLETE,
    reason=None,
    key="dev",
    client_address="192.0.2.1",
    duration_ms=250,
    bytes_in=0,
    bytes_out=300,
)
