"""What one request comes to, in the ledger's words."""

from __future__ import annotations

from typing import cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.snapshot import Account
from relayd.dialect.behind import (
    Began,
    Fault,
    Faulted,
    Finished,
    FinishReason,
    Piece,
    Reasoning,
    Text,
    ToolCall,
    Used,
)
from relayd.dialect.meter import Refuse, TurnAsk, Usage
from relayd.observe.bus import (
    Bus,
    BusEvent,
    SessionFacts,
    SessionFailedOver,
    TurnFirstOutput,
    TurnStarted,
    TurnToolCalled,
    UpstreamConnected,
)
from relayd.session.chat.reckoning import NAME_MAX_CHARS, Reckoning
from relayd.session.responses.accounting import Bill, Purse
from relayd.session.turn_lines import Place, TurnLines
from tests.dialect.chat import request
from tests.session.chat import accounts

TOLD = Usage(source="response", input_total=5, output_total=9)
FAULT = Fault(status=502, type="t", code="c", message="m")
FACTS = SessionFacts(
    session_id="req_1", dialect="chat", key="dev", tenant="t", account="one", model="m"
)


@attrs.define
class PlayedBill:
    place: Place = attrs.Factory(Place)
    ended: bool = False
    facts: SessionFacts = FACTS
    asked_at: float = 0.0
    accounts: list[str] = attrs.Factory(list)
    reason: str = ""
    usage: Usage | None = None
    turn_id: str | None = None
    first_output_at: float | None = None

    def moved(self, account: Account) -> None:
        self.accounts.append(account.name)
        self.facts = attrs.evolve(self.facts, account=account.name)

    def close(
        self,
        reason: str,
        *,
        now: float,
        turn_id: str | None,
        first_output_at: float | None,
        usage: Usage | None,
    ) -> None:
        assert not self.ended, "a turn is closed once"
        self.ended, self.reason, self.usage = True, reason, usage
        self.turn_id, self.first_output_at = turn_id, first_output_at


@attrs.define
class PlayedPurse:
    bill: PlayedBill = attrs.Factory(PlayedBill)
    refuse: Refuse | None = None
    asks: list[TurnAsk] = attrs.Factory(list)
    heard: list[BusEvent] = attrs.Factory(list)
    lines: TurnLines = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        bus = Bus()
        bus.subscribe(self.heard.append)
        self.lines = TurnLines(bus)

    async def take(self, model: str, account: Account, ask: TurnAsk) -> Bill | Refuse:
        self.asks.append(ask)
        return self.refuse or cast("Bill", self.bill)


async def opened(purse: PlayedPurse, **members: object) -> Reckoning:
    made = Reckoning(purse=cast("Purse", purse), request=request(**members))
    assert await made.bill_to(accounts.spark()) is None
    made.attempted(0.5)
    return made


def add(reckoning: Reckoning, *pieces: Piece) -> None:
    for piece in pieces:
        reckoning.add(piece)


async def test_it_is_asked_once_and_then_moved() -> None:
    purse = PlayedPurse()
    made = await opened(purse, max_tokens=7)
    assert await made.bill_to(accounts.spark("two")) is None
    (ask,) = purse.asks
    assert (ask.output_max_tokens, ask.audio) == (7, False)
    assert ask.expected.input_total == 2
    assert purse.bill.accounts == ["two"]
    assert purse.heard == [UpstreamConnected(session=FACTS, wait_ms=500.0)]
    assert purse.bill.place.wait_ms == 500.0


async def test_a_refusal_is_a_fault() -> None:
    purse = PlayedPurse(refuse=Refuse("rate_limit_error", "rate_limit_exceeded", "Slow down."))
    made = Reckoning(purse=cast("Purse", purse), request=request())
    fault = await made.bill_to(accounts.spark())
    assert fault is not None
    assert fault.status == 429
    made.close("anything")
    assert not purse.bill.ended


async def test_a_whole_answer(autojump_clock: MockClock) -> None:
    purse = PlayedPurse()
    made = await opened(purse)
    add(made, Began("u1"))
    await trio.sleep(1)
    now = trio.current_time()
    add(made, Text("a"))
    await trio.sleep(1)
    add(made, Text("b"), Used(TOLD), Finished(FinishReason.STOP))
    made.close("client_gone", is_cut=True)
    assert (purse.bill.reason, purse.bill.usage) == ("completed", TOLD)
    assert (purse.bill.turn_id, purse.bill.first_output_at) == ("u1", now)
    assert purse.heard[1:] == [
        TurnStarted(session=FACTS, turn_id="u1"),
        TurnFirstOutput(session=FACTS, turn_id="u1", ttft_ms=1000.0 * now),
    ]


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (FinishReason.STOP, "completed"),
        (FinishReason.TOOL_CALLS, "completed"),
        (FinishReason.LENGTH, "incomplete"),
        (FinishReason.CONTENT_FILTER, "incomplete"),
    ],
)
async def test_how_it_ended(reason: FinishReason, word: str) -> None:
    purse = PlayedPurse()
    add(await opened(purse), Began("u1"), Finished(reason))
    assert purse.bill.reason == word
    assert purse.bill.usage is not None, "of what has ended something is known"
    assert purse.bill.usage.estimated


@pytest.mark.parametrize(
    ("pieces", "is_cut", "estimate"),
    [
        ((), True, None),
        ((Began("u1"),), False, None),
        ((Began("u1"),), True, (2, 0)),
        ((Began("u1"), Text("12345678")), False, (2, 2)),
        ((Began("u1"), Reasoning("1234"), ToolCall("name", "{  }")), False, (2, 3)),
    ],
)
async def test_what_is_not_told_is_estimated_once_there_is_an_answer(
    pieces: tuple[Piece, ...], is_cut: bool, estimate: tuple[int, int] | None
) -> None:
    purse = PlayedPurse()
    made = await opened(purse)
    add(made, *pieces)
    made.close("why", is_cut=is_cut)
    usage = purse.bill.usage
    assert (None if usage is None else (usage.input_total, usage.output_total)) == estimate
    assert usage is None or usage.estimated
    assert purse.bill.reason == "why"


async def test_what_one_attempt_said_does_not_count_for_the_next() -> None:
    purse = PlayedPurse()
    made = await opened(purse)
    add(made, Began("u1"), Used(TOLD), Faulted(FAULT))
    made.attempted(0.0)
    made.close("why", is_cut=True)
    assert (purse.bill.usage, purse.bill.turn_id) == (None, None)


async def test_a_fault_may_name_the_answer() -> None:
    purse = PlayedPurse()
    made = await opened(purse)
    add(made, Faulted(attrs.evolve(FAULT, upstream_id="u9")))
    made.close("c")
    assert purse.bill.turn_id == "u9"


async def test_another_account_is_told_and_a_socket_that_was_ready_is_not() -> None:
    purse = PlayedPurse()
    made = await opened(purse)
    assert await made.bill_to(accounts.spark("one"), FAULT) is None
    assert await made.bill_to(accounts.spark("two"), FAULT) is None
    made.attempted(0.0, was_ready=True)

    there = attrs.evolve(FACTS, account="two")
    assert purse.heard[1:] == [SessionFailedOver(session=there, account_from="one", reason="c")]


async def test_a_turn_that_began_twice_is_told_once_and_by_its_last_name() -> None:
    purse = PlayedPurse()
    made = await opened(purse)
    add(made, Began("u1"), Faulted(FAULT))
    made.attempted(0.0, was_ready=True)
    add(made, Began("u2"), Text("a"), Finished(FinishReason.STOP))

    started, first = purse.heard[1:]
    assert isinstance(first, TurnFirstOutput)
    assert started == TurnStarted(session=FACTS, turn_id="u2")
    assert (first.turn_id, purse.bill.turn_id) == ("u2", "u2")


async def test_a_turn_that_begins_and_says_nothing_is_told_when_it_ends() -> None:
    purse = PlayedPurse()
    made = await opened(purse)
    add(made, Began("u1"), Finished(FinishReason.STOP))

    assert purse.heard[1:] == [TurnStarted(session=FACTS, turn_id="u1")]


async def test_a_tool_is_told_by_its_name_alone() -> None:
    purse = PlayedPurse()
    made = await opened(purse)
    add(made, Began("u1"), ToolCall("n" * 1000, "secret"))

    called = purse.heard[-1]
    assert called == TurnToolCalled(
        session=FACTS, turn_id="u1", name="n" * NAME_MAX_CHARS, call_id=None
    )
