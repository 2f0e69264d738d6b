"""One session's meter: what it writes down, what it tells the limits, what it costs."""

from __future__ import annotations

import datetime
import math
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import TypeVar

import attrs
import pytest
import trio
import trio.testing

from relayd.config.pricebook import Price, PriceBook
from relayd.config.snapshot import Key
from relayd.core.endings import Reason
from relayd.dialect.meter import Refuse, Ticket, Turn, TurnAsk, Usage, Wait
from relayd.ledger.budgets import Budgets
from relayd.ledger.database import Database
from relayd.ledger.rows import Row
from relayd.ledger.spill import RowReceipt
from relayd.ledger.writer import Ledger
from relayd.observe.bus import SessionFacts
from relayd.observe.events import LogEvent
from relayd.session.books import Books
from relayd.session.limits import Limits
from relayd.session.metering import ID_MAX_CHARS, SLICE_S, SessionMeter
from relayd.state.memory import MemoryStore
from tests.conftest import LogLines

T = TypeVar("T")

WALL = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC).timestamp()
KEY = Key(name="dev", tenant="t", digest=bytes(32))
WITH_BUDGET = attrs.evolve(KEY, budget_nano=10**9)
FACTS = SessionFacts(
    session_id="sess_1", dialect="realtime", key="dev", tenant="t", account="main", model="voice"
)
TEXT_USAGE = Usage(
    source="response", input_text=100, output_text=10, input_total=100, output_total=10
)
TURN = Turn(
    number=1,
    turn_id="resp_1",
    reason="completed",
    asked_at=10.0,
    first_output_at=10.25,
    ended_at=12.5,
    usage=TEXT_USAGE,
)
ASK = TurnAsk(now=10.0, expected=Usage(source="response", estimated=True), audio=False)


def price(*models: str, **rates: str) -> Price:
    figures = {name: Decimal(rate) for name, rate in rates.items()}
    unpriced = Price(models=models, date=datetime.date(2026, 1, 1), source="a test")
    return attrs.evolve(unpriced, **figures)  # type: ignore[arg-type]  # passed on as given


PRICES = PriceBook(
    (
        price("gpt-realtime*", text_in="4", text_out="16"),
        price("whisper-1", per_second="0.0001"),
        price("grok-voice", per_second="0.001", per_request="0.004"),
        price("relay/echo", per_second="0.01", per_request="0.5"),
    )
)


class AtOnce:
    """A worker that is done before anything else can happen."""

    async def __call__(self, call: Callable[[], T], /) -> T:
        return call()


class Kept(Ledger):
    """A ledger that also shows what was put, and that can be told to refuse."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, on_failure="refuse", worker=AtOnce())
        self.rows: list[Row] = []
        self.refusing = False

    @property
    def accepts_turns(self) -> bool:
        return not self.refusing and super().accepts_turns

    def put(self, row: Row) -> RowReceipt:
        self.rows.append(row)
        return super().put(row)


@attrs.define(eq=False)
class Desk:
    """What meters are made of."""

    ledger: Kept
    limits: Limits
    books: Books
    left: list[tuple[Reason, Refuse, bool]] = attrs.field(factory=list)

    def meter(
        self, key: Key = KEY, upstream_model: str | None = "gpt-realtime", dialect: str = "realtime"
    ) -> SessionMeter:
        meter = SessionMeter(
            books=self.books,
            facts=attrs.evolve(FACTS, dialect=dialect),
            key=key,
            prices=PRICES,
            upstream_model=upstream_model,
            tag="a-tag",
            leave=self._leave,
        )
        meter.opened(0.0)
        return meter

    def _leave(self, reason: Reason, refuse: Refuse, *, told: bool = False) -> None:
        self.left.append((reason, refuse, told))

    @property
    def row(self) -> Row:
        (row,) = self.ledger.rows
        return row

    async def spent(self, key: Key) -> int:
        return await self.ledger.spent(key.name, 0.0, counted=lambda: None)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    database = Database.open(None)
    store = MemoryStore(lambda: WALL)
    ledger = Kept(database)
    limits = Limits(
        store=store,
        budgets=Budgets(store, ledger.spent, lambda: WALL),
        wall=lambda: WALL,
        sessions_max=10,
        on_failure="closed",
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limits.run)
        yield Desk(ledger, limits, Books(ledger, limits, lambda: WALL))
        nursery.cancel_scope.cancel()
    database.close()


async def allowed(meter: SessionMeter, ask: TurnAsk = ASK) -> Ticket:
    """The ticket of a turn, whether it has to be waited for or not."""
    answer = meter.turn_asked(ask)
    if isinstance(answer, Wait):
        answer = await answer.decision.wait()
    assert not isinstance(answer, Refuse)
    return answer


async def applied() -> None:
    """Until the bookkeeper has applied what was noted."""
    await trio.testing.wait_all_tasks_blocked()


# -- turns


async def test_a_turn_is_one_row_with_all_that_is_known_of_it(desk: Desk) -> None:
    meter = desk.meter()

    charge = (await allowed(meter)).settle(TURN)

    assert charge.cost_usd == Decimal("0.00056")
    assert charge.usage is TEXT_USAGE
    assert desk.row == Row(
        session_id="sess_1",
        entry="response:resp_1",
        source="response",
        ended_at=WALL,
        dialect="realtime",
        transport="websocket",
        key="dev",
        tenant="t",
        account="main",
        model="voice",
        upstream_model="gpt-realtime",
        tag="a-tag",
        upstream_id="resp_1",
        reason="completed",
        tokens_in=100,
        tokens_out=10,
        tokens_in_text=100,
        tokens_out_text=10,
        cost_nano=560_000,
        ttft_ms=250.0,
        duration_ms=2500.0,
    )
    assert (meter.tokens_in, meter.tokens_out, meter.cost_usd) == (100, 10, Decimal("0.00056"))


async def test_a_turn_without_an_id_is_known_by_its_number(desk: Desk) -> None:
    (await allowed(desk.meter())).settle(attrs.evolve(TURN, turn_id=None, number=7))

    assert (desk.row.entry, desk.row.upstream_id) == ("turn:7", None)


async def test_an_endless_id_is_cut(desk: Desk) -> None:
    (await allowed(desk.meter())).settle(attrs.evolve(TURN, turn_id="x" * 100_000))

    assert desk.row.upstream_id == "x" * ID_MAX_CHARS


async def test_a_turn_cut_short_is_written_down_and_costs_nothing(desk: Desk) -> None:
    meter = desk.meter(WITH_BUDGET)
    ticket = await allowed(meter)

    ticket.settle(attrs.evolve(TURN, usage=None, reason="client_gone"))
    await applied()

    assert (desk.row.cost_nano, desk.row.tokens_in, desk.row.reason) == (0, 0, "client_gone")
    assert await desk.limits.budgets.exhausted(WITH_BUDGET) is False


async def test_what_has_no_price_costs_nobody_knows_what_and_is_told_once(
    desk: Desk, log_lines: LogLines
) -> None:
    meter = desk.meter(upstream_model="nobody-knows")

    for _ in range(2):
        charge = (await allowed(meter)).settle(TURN)

    assert charge.cost_usd is None
    assert desk.ledger.rows[0].cost_nano is None
    assert meter.cost_usd is None
    (line,) = log_lines.of(LogEvent.MODEL_UNPRICED)
    assert (line["model"], line["account"]) == ("nobody-knows", "main")


async def test_the_key_s_factor_is_part_of_the_cost(desk: Desk) -> None:
    meter = desk.meter(attrs.evolve(KEY, price_factor=Decimal("1.5")))

    assert (await allowed(meter)).settle(TURN).cost_usd == Decimal("0.00084")


async def test_a_ledger_that_takes_no_rows_refuses_turns(desk: Desk) -> None:
    desk.ledger.refusing = True

    answer = desk.meter().turn_asked(ASK)

    assert isinstance(answer, Refuse)
    assert answer.code == "ledger_unavailable"


async def test_a_key_without_limits_is_not_kept_waiting(desk: Desk) -> None:
    assert not isinstance(desk.meter().turn_asked(ASK), Wait)


# -- budgets


async def test_a_turn_that_does_not_fit_is_refused_and_ends_the_session(desk: Desk) -> None:
    meter = desk.meter(attrs.evolve(WITH_BUDGET, budget_nano=1000))
    answer = meter.turn_asked(ASK)
    assert isinstance(answer, Wait)

    refuse = await answer.decision.wait()

    assert isinstance(refuse, Refuse)
    assert refuse.code == "insufficient_quota"
    assert desk.left == [(Reason.BUDGET_EXHAUSTED, refuse, True)]
    assert desk.ledger.rows == []


async def test_a_turn_that_spends_the_budget_ends_the_session_after_it(desk: Desk) -> None:
    meter = desk.meter(attrs.evolve(WITH_BUDGET, budget_nano=70_000_000))
    ticket = await allowed(meter)
    dear = attrs.evolve(TEXT_USAGE, output_text=10_000, output_total=10_000)

    ticket.settle(attrs.evolve(TURN, usage=dear))
    await applied()

    ((reason, refuse, told),) = desk.left
    assert (reason, refuse.code, told) == (Reason.BUDGET_EXHAUSTED, "insufficient_quota", False)


async def test_a_turn_that_the_upstream_began_counts_too(desk: Desk) -> None:
    key = attrs.evolve(WITH_BUDGET, budget_nano=100_000)
    meter = desk.meter(key)

    ticket = meter.turn_begun(ASK)
    await applied()

    assert [reason for reason, _, _ in desk.left] == [Reason.BUDGET_EXHAUSTED]
    ticket.settle(TURN)
    await applied()
    assert await desk.spent(key) == 560_000


async def test_a_voided_ticket_leaves_no_row_and_no_reserve(desk: Desk) -> None:
    key = attrs.evolve(WITH_BUDGET, budget_nano=70_000_000)  # one turn of 4,096 tokens fits
    meter = desk.meter(key)
    for _ in range(3):
        (await allowed(meter)).void()
        await applied()

    assert desk.ledger.rows == []
    assert desk.left == []


async def test_a_turn_whose_cost_is_unknown_costs_a_budget_what_was_set_aside(desk: Desk) -> None:
    key = attrs.evolve(WITH_BUDGET, budget_nano=100_000_000)  # one turn fits, two do not
    meter = desk.meter(key)
    ticket = await allowed(meter)
    heard = attrs.evolve(TEXT_USAGE, input_audio=9)  # which has no rate

    charge = ticket.settle(attrs.evolve(TURN, usage=heard))
    await applied()

    assert charge.cost_usd is None
    assert desk.row.cost_nano is None
    assert [(reason, refuse.code) for reason, refuse, _ in desk.left] == [
        (Reason.POLICY, "model_not_priced")
    ]
    answer = desk.meter(key).turn_asked(ASK)
    assert isinstance(answer, Wait)
    assert isinstance(await answer.decision.wait(), Refuse)


async def test_a_transcription_whose_cost_is_unknown_costs_a_budget_what_is_known(
    desk: Desk,
) -> None:
    assert not await desk.limits.budgets.exhausted(WITH_BUDGET)  # as when the session was let in
    meter = desk.meter(WITH_BUDGET)
    heard = Usage(source="transcription", input_text=100, input_audio=9, input_total=109)
    meter.told("gpt-realtime", "gpt-realtime")

    assert meter.transcribed(heard, 11.0).cost_usd is None
    await applied()

    assert (await desk.limits.budgets.look(WITH_BUDGET))[0] == 400_000


async def test_a_turn_that_the_upstream_begins_while_the_ledger_refuses_is_the_last(
    desk: Desk,
) -> None:
    desk.ledger.refusing = True

    desk.meter().turn_begun(ASK)

    assert [(reason, refuse.code) for reason, refuse, _ in desk.left] == [
        (Reason.OVERLOAD, "ledger_unavailable")
    ]


async def test_an_unpriced_model_starts_nothing_under_a_budget(desk: Desk) -> None:
    answer = desk.meter(WITH_BUDGET, upstream_model=None).turn_asked(ASK)

    assert isinstance(answer, Refuse)
    assert answer.code == "model_not_priced"


# -- what the upstream says the models are


async def test_the_upstream_s_own_word_is_priced_where_it_has_a_price(desk: Desk) -> None:
    meter = desk.meter(upstream_model="nobody-knows")

    meter.told("gpt-realtime-2026-08-28", None)

    assert (await allowed(meter)).settle(TURN).cost_usd == Decimal("0.00056")
    assert desk.row.upstream_model == "gpt-realtime-2026-08-28"


@pytest.mark.parametrize("key", [KEY, WITH_BUDGET])
async def test_a_longer_name_without_a_price_changes_nothing(desk: Desk, key: Key) -> None:
    meter = desk.meter(key)

    meter.told("our-deployment-of-realtime", None)

    assert (await allowed(meter)).settle(TURN).cost_usd == Decimal("0.00056")
    assert desk.left == []


async def test_what_the_operator_has_priced_counts_whatever_the_upstream_calls_itself(
    desk: Desk,
) -> None:
    meter = desk.meter(upstream_model="gpt-realtime-mini")

    meter.told("grok-voice", None)

    (await allowed(meter)).settle(TURN)
    assert desk.row.upstream_model == "gpt-realtime-mini"


async def test_a_model_that_is_changed_later_is_the_one_that_is_paid_for(desk: Desk) -> None:
    meter = desk.meter()
    meter.told("gpt-realtime", None)

    meter.told("nobody-knows", None)

    assert (await allowed(meter)).settle(TURN).cost_usd is None


@pytest.mark.parametrize(
    ("upstream_model", "told"),
    [(None, ("nobody-knows", None)), ("gpt-realtime", ("gpt-realtime", "nobody-knows"))],
    ids=["the session's", "the transcription's"],
)
async def test_an_unpriced_model_that_turns_up_later_ends_a_session_with_a_budget(
    desk: Desk, upstream_model: str | None, told: tuple[str, str | None]
) -> None:
    meter = desk.meter(WITH_BUDGET, upstream_model=upstream_model)

    meter.told(*told)

    ((reason, refuse, _),) = desk.left
    assert (reason, refuse.code) == (Reason.POLICY, "model_not_priced")


async def test_without_a_budget_an_unpriced_model_ends_nothing(desk: Desk) -> None:
    desk.meter().told("nobody-knows", "neither-this")

    assert desk.left == []


# -- transcriptions


async def test_a_transcription_is_a_row_at_its_own_model_s_price(desk: Desk) -> None:
    meter = desk.meter()
    meter.told("gpt-realtime", "whisper-1")

    charge = meter.transcribed(
        Usage(source="transcription", upstream_id="item_1:0", seconds=12.5), 11.0
    )

    assert charge.cost_usd == Decimal("0.00125")
    row = desk.row
    assert (row.entry, row.source, row.seconds) == (
        "transcription:item_1:0",
        "transcription",
        12.5,
    )
    assert (row.model, row.upstream_model) == ("whisper-1", "whisper-1")


async def test_transcriptions_without_ids_are_counted(desk: Desk) -> None:
    meter = desk.meter()
    for _ in range(2):
        meter.transcribed(Usage(source="transcription", seconds=1.0), 11.0)

    assert [row.entry for row in desk.ledger.rows] == ["transcription:#1", "transcription:#2"]


# -- time


async def test_a_model_billed_by_time_is_billed_by_the_minute(desk: Desk) -> None:
    meter = desk.meter(upstream_model="grok-voice")

    assert meter.look(0.0) == SLICE_S
    assert meter.look(130.0) == 180.0
    meter.ended("client_closed", 150.0)

    assert [(row.entry, row.seconds, row.cost_nano, row.reason) for row in desk.ledger.rows] == [
        ("time:1", 60.0, 60_000_000, "running"),
        ("time:2", 60.0, 60_000_000, "running"),
        ("time:3", 30.0, 30_000_000, "client_closed"),
    ]
    assert meter.cost_usd == Decimal("0.15")


async def test_a_model_billed_by_tokens_has_no_rows_of_time(desk: Desk) -> None:
    meter = desk.meter()

    assert meter.look(1000.0) == math.inf
    meter.ended("client_closed", 1000.0)

    assert desk.ledger.rows == []


async def test_a_passthrough_session_is_a_request_and_its_time(desk: Desk) -> None:
    meter = desk.meter(upstream_model="relay/echo", dialect="passthrough")
    (first,) = desk.ledger.rows

    receipt = meter.ended("client_closed", 10.0)

    assert (first.entry, first.seconds, first.cost_nano) == ("time:1", 0.0, 500_000_000)
    last = desk.ledger.rows[-1]
    assert (last.entry, last.seconds, last.cost_nano) == ("time:2", 10.0, 100_000_000)
    assert isinstance(receipt, RowReceipt)
    assert receipt.row is last


async def test_a_passthrough_session_without_a_price_is_written_down_all_the_same(
    desk: Desk,
) -> None:
    meter = desk.meter(upstream_model="relay/other", dialect="passthrough")

    meter.ended("upstream_lost", 10.0)

    assert (desk.row.cost_nano, desk.row.seconds, desk.row.reason) == (None, 10.0, "upstream_lost")
