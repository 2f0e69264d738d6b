"""One bill for each turn: what is asked, what is written, what a session comes to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest

from relayd.config.pricebook import PriceBook
from relayd.config.providers import Provider
from relayd.config.snapshot import Account
from relayd.dialect.meter import Refuse, TurnAsk, Usage
from relayd.dialect.responses_turns import Running, Terminal
from relayd.dialect.responses_usage import ToldUsage
from relayd.ledger.rows import Row
from relayd.observe.bus import Bus, BusEvent, TurnEnded, TurnRefused, UsageCharged
from relayd.observe.events import LogEvent
from relayd.session.books import Books
from relayd.session.responses.accounting import Bill, Purse, Totals, usage_of
from relayd.session.turn_lines import Place, TurnLines
from tests.conftest import LogLines
from tests.session.test_metering import FACTS, KEY, PRICES, WITH_BUDGET

MAIN = Account(name="main", provider=Provider.OPENAI)
SPARE = attrs.evolve(MAIN, name="spare", model_map={"m": "gpt-realtime"})
ASK = TurnAsk(now=10.0, expected=Usage(source="response", estimated=True), audio=False)
USED = Usage(source="response", input_text=5, output_text=2, input_total=5, output_total=2)


@attrs.define
class Written:
    """A ledger that keeps its rows in a list."""

    rows: list[Row] = attrs.field(factory=list)
    accepts_turns: bool = True

    def put(self, row: Row) -> None:
        self.rows.append(row)


class NoLimits:
    """Limits that stand against nobody."""

    def needs_asking(self, key: object) -> bool:
        return False


@attrs.define
class Scene:
    """A session's purse, and what it has told."""

    ledger: Written
    purse: Purse
    heard: list[BusEvent]


@pytest.fixture
def scene() -> Scene:
    heard: list[BusEvent] = []
    bus = Bus()
    bus.subscribe(heard.append)
    ledger: Any = Written()
    limits: Any = NoLimits()
    books = Books(ledger, limits, lambda: 1_000.0)
    facts = attrs.evolve(FACTS, dialect="responses", account="", model=None)
    purse = Purse(books=books, base=facts, key=KEY, prices=PRICES, tag=None, lines=TurnLines(bus))
    return Scene(ledger, purse, heard)


async def bill_of(scene: Scene, account: Account = MAIN) -> Bill:
    bill = await scene.purse.take("m", account, ASK)
    assert isinstance(bill, Bill)
    return bill


async def test_a_turn_ends_in_one_row_and_one_line_however_often(
    scene: Scene, log_lines: LogLines
) -> None:
    bill = await bill_of(scene)
    bill.place = Place(lane="a", slot=3, generation=2, reused=True)
    for reason in ("completed", "client_gone"):
        bill.close(reason, now=12.0, turn_id="resp_1", first_output_at=11.0, usage=USED)

    assert bill.ended
    (row,) = scene.ledger.rows
    assert (row.account, row.upstream_id, row.reason, row.tokens_in) == (
        "main",
        "resp_1",
        "completed",
        5,
    )
    (line,) = log_lines.of(LogEvent.TURN_ENDED)
    assert (line["lane"], line["slot"], line["generation"], line["reused"]) == ("a", 3, 2, True)
    assert (line["ttft_ms"], line["duration_ms"], line["reason"]) == (1000.0, 2000.0, "completed")
    kinds = [type(event) for event in scene.heard]
    assert kinds == [UsageCharged, TurnEnded]


async def test_turns_without_an_id_are_told_apart_by_their_number(scene: Scene) -> None:
    bills = [await bill_of(scene) for _ in range(2)]
    for bill in reversed(bills):
        bill.close("upstream_closed", now=12.0)

    assert [bill.number for bill in bills] == [1, 2]
    assert sorted(row.entry for row in scene.ledger.rows) == ["turn:1", "turn:2"]
    assert {row.tokens_in for row in scene.ledger.rows} == {0}


async def test_a_turn_that_goes_elsewhere_is_charged_there(scene: Scene) -> None:
    bill = await bill_of(scene)
    bill.moved(MAIN)
    bill.moved(SPARE)
    bill.close("completed", now=12.0, turn_id="resp_1", usage=USED)

    (row,) = scene.ledger.rows
    assert (row.account, row.model, row.upstream_model) == ("spare", "m", "gpt-realtime")
    assert row.cost_nano == 5 * 4_000 + 2 * 16_000


async def test_a_successor_has_a_row_of_its_own(scene: Scene) -> None:
    bill = await bill_of(scene)
    bill.place = attrs.evolve(bill.place, tool_calls=2)
    bill.close("incomplete", now=12.0, turn_id="resp_1", usage=USED)
    bill.succeeded_by(13.0, Usage(source="response"))
    assert (bill.ended, bill.number, bill.asked_at) == (False, 2, 13.0)
    bill.close("completed", now=14.0, turn_id="resp_2", usage=USED)

    assert [row.upstream_id for row in scene.ledger.rows] == ["resp_1", "resp_2"]
    assert bill.place.tool_calls is None
    assert scene.purse.lines.turns == 2


async def test_a_turn_that_is_refused_has_neither_row_nor_line(
    scene: Scene, log_lines: LogLines
) -> None:
    scene.ledger.accepts_turns = False
    answer = await scene.purse.take("m", MAIN, ASK)

    assert isinstance(answer, Refuse)
    assert answer.code == "ledger_unavailable"
    assert (scene.ledger.rows, log_lines.all, scene.purse.numbers) == ([], [], 0)
    (told,) = scene.heard
    assert isinstance(told, TurnRefused)


async def test_under_a_budget_a_model_needs_a_price(scene: Scene) -> None:
    scene.purse.key, scene.purse.prices = WITH_BUDGET, PriceBook()
    answer = await scene.purse.take("m", MAIN, ASK)

    assert isinstance(answer, Refuse)
    assert answer.code == "model_not_priced"


async def test_a_session_comes_to_what_its_turns_do(scene: Scene) -> None:
    for account in (SPARE, SPARE):
        bill = await bill_of(scene, account)
        bill.close("completed", now=12.0, usage=USED)
    totals = scene.purse.totals
    assert (totals.tokens_in, totals.tokens_out) == (10, 4)
    assert totals.cost_usd == Decimal("0.000104")

    bill = await bill_of(scene, MAIN)  # whose model has no price
    bill.close("completed", now=12.0, usage=USED)
    assert totals.cost_usd is None
    bill = await bill_of(scene, SPARE)
    bill.close("completed", now=12.0, usage=USED)
    assert totals.cost_usd is None
    assert (totals.tokens_in, totals.tokens_out) == (20, 8)


def test_a_session_costs_nothing_by_itself() -> None:
    totals = Totals()
    totals.opened(1.0)

    assert totals.look(1.0) == float("inf")
    assert totals.ended("client_closed", 2.0) is None


def test_what_a_response_used_is_the_upstreams_word_or_an_estimate() -> None:
    running = Running(response_id="resp_1")
    told = Terminal(running=running, kind="k", status="completed", at=1.0, usage=ToldUsage(USED))
    silent = attrs.evolve(told, usage=None)
    expected = attrs.evolve(USED, output_text=0, output_total=0)
    estimate = usage_of(silent, expected, 7)

    assert usage_of(told, expected, 7) is USED
    assert estimate == attrs.evolve(
        expected, upstream_id="resp_1", output_text=7, output_total=7, estimated=True
    )
    assert usage_of(attrs.evolve(silent, status="failed"), expected, 7) is None
