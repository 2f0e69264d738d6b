"""Which account a request goes to, and why to none."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import cast

import attrs
import pytest
import trio

from relayd.config.pricebook import Price, PriceBook
from relayd.config.schema import Settings
from relayd.config.snapshot import Account, Key, Snapshot
from relayd.dialect.behind import Effect, Fault, Retry
from relayd.dialect.chat_values import ChatRequest
from relayd.routing.classify import Failure, FailureKind
from relayd.routing.roster import Roster, Seat
from relayd.session.chat.bars import RESTS, Bars
from relayd.session.chat.shared import ChatShared
from relayd.session.chat.way import Way
from tests.dialect.chat import TOOLS, request
from tests.session.chat import accounts

KEY = Key(name="dev", tenant="t", digest=bytes(32))
FAULT = Fault(status=429, type="t", code="said", message="No.", retry=Retry.ELSEWHERE)
FIRST = accounts.spark("first", models=("m",))
SECOND = accounts.spark("second", models=("m",), priority=1)


@attrs.define
class Shared:
    """As much of what is shared as a way looks at."""

    roster: Roster
    bars: Bars = attrs.Factory(Bars)

    @property
    def connector(self) -> Shared:
        return self


@attrs.define
class Stage:
    shared: Shared
    prices: PriceBook = attrs.Factory(PriceBook)

    def way(self, asked: ChatRequest | None = None, key: Key = KEY) -> Way:
        snapshot = Snapshot(settings=Settings(), keys={}, accounts=(), prices=self.prices)
        return Way(
            shared=cast("ChatShared", self.shared),
            key=key,
            snapshot=snapshot,
            request=asked or request(model="m"),
        )

    def fail(self, index: int, fault: Fault) -> None:
        """The upstream of an account has said this of the model."""
        standing, now = self.shared.roster.standings()[index], trio.current_time()
        self.shared.bars.note(standing.account, standing.health, "m", fault, now, 0.0)

    def rest(self, index: int, rest_s: float) -> None:
        """An account rests."""
        now = trio.current_time()
        with Seat(self.shared.roster.standings()[index], now) as seat:
            seat.fail(Failure(FailureKind.RATE_LIMITED, "said", "No.", rest_s), now)


def stage(*given: Account) -> Stage:
    return Stage(Shared(Roster.of(given or (FIRST, SECOND))))


def seat_of(way: Way) -> str:
    seat = way.seat()
    assert isinstance(seat, Seat)
    with seat:
        return seat.account.name


def fault_of(way: Way) -> Fault:
    fault = way.seat()
    assert isinstance(fault, Fault)
    return fault


async def test_the_first_is_tried_first_and_then_the_others() -> None:
    way = stage().way()
    assert seat_of(way) == "first"
    way.leave("first", FAULT)
    assert seat_of(way) == "second"
    last = attrs.evolve(FAULT, code="last")
    way.leave("second", last)
    assert fault_of(way) is last


async def test_an_account_that_cannot_serve_the_model_is_passed_over() -> None:
    made = stage()
    barred = attrs.evolve(FAULT, effect=Effect.DISABLE_MODEL)
    made.fail(0, barred)
    assert seat_of(made.way()) == "second"
    made.fail(1, barred)
    assert fault_of(made.way()) == attrs.evolve(barred, message=RESTS, detail="", upstream_id=None)


async def test_so_is_one_that_does_not_take_the_request() -> None:
    tasks = attrs.evolve(accounts.RUNTASK, models=("m",))
    made = stage(tasks)
    fault = fault_of(made.way(request(model="m", tools=TOOLS, tool_choice="required")))
    assert (fault.status, fault.param) == (400, "tool_choice")
    assert made.shared.roster.statistics()[0].in_flight == 0


async def test_what_an_upstream_said_goes_before_that() -> None:
    first = accounts.spark("first", models=("m",), priority=-1)
    small = accounts.spark("small", "v1.1", models=("m",))
    way = stage(first, small).way(
        request(model="m", messages=[{"role": "user", "content": "x" * 200_000}])
    )
    fault = fault_of(way)
    assert fault.code == "context_length_exceeded"
    way.leave("first", FAULT)
    assert fault_of(way) is FAULT


LONG = request(model="m", messages=[{"role": "user", "content": "x" * 200_000}])
SMALL = accounts.spark("small", "v1.1", models=("m",))
LARGE = accounts.spark("large", "pro-128k", models=("m",), sessions_max=1)


async def test_an_account_that_does_not_take_it_has_no_say_where_others_would() -> None:
    made = stage(SMALL, LARGE)
    held = made.way(LONG).seat()
    assert isinstance(held, Seat)
    assert held.account.name == "large"
    assert fault_of(made.way(LONG)).code == "account_busy"

    held.release()
    made.rest(1, 60.0)
    assert fault_of(made.way(LONG)).code == "no_account"
    said = attrs.evolve(FAULT, effect=Effect.COOL, cool_s=60.0, retry_after_s=60.0)
    made.fail(1, said)
    assert fault_of(made.way(LONG)).code == "said"


async def test_one_that_is_entitled_and_busy_is_worth_waiting_for() -> None:
    made = stage(FIRST, attrs.evolve(SECOND, sessions_max=1))
    way, refused = made.way(), attrs.evolve(FAULT, code="not_entitled", should_retry=False)
    held = Seat(made.shared.roster.standings()[1], trio.current_time())
    assert seat_of(way) == "first"
    way.leave("first", refused)
    told = fault_of(way)
    assert (told.code, told.should_retry) == ("account_busy", None)

    made.fail(0, attrs.evolve(refused, effect=Effect.DISABLE_MODEL))
    assert fault_of(made.way()).code == "account_busy", "nor is it told to those that come later"
    held.release()
    made.rest(1, 60.0)
    told = fault_of(made.way())
    assert (told.code, told.should_retry) == ("no_account", None), "the other is back in a minute"


async def test_what_an_upstream_said_stands_where_the_others_are_of_no_use_either() -> None:
    made = stage(FIRST, SECOND)
    way, refused = made.way(), attrs.evolve(FAULT, code="mine", should_retry=False)
    made.fail(1, attrs.evolve(refused, code="theirs", effect=Effect.DISABLE_MODEL))
    assert seat_of(way) == "first"
    way.leave("first", refused)
    assert fault_of(way).code == "mine"


async def test_a_model_that_nobody_serves() -> None:
    fault = fault_of(stage().way(request(model="other")))
    assert (fault.status, fault.code) == (404, "model_not_found")


async def test_one_whose_accounts_are_busy() -> None:
    made = stage(attrs.evolve(FIRST, sessions_max=1))
    held = made.way().seat()
    fault = fault_of(made.way())
    assert (fault.status, fault.code, fault.retry_after_s) == (503, "account_busy", 1.0)
    assert isinstance(held, Seat)
    held.release()
    assert seat_of(made.way()) == "first"


@pytest.mark.parametrize("is_known", [True, False])
async def test_one_whose_accounts_rest(is_known: bool) -> None:
    made = stage(FIRST)
    said = attrs.evolve(FAULT, effect=Effect.COOL, cool_s=60.0)
    if is_known:
        made.fail(0, said)
    made.rest(0, 60.0)
    fault = fault_of(made.way())
    assert (fault.status, fault.code) == ((429, "said") if is_known else (503, "no_account"))


async def test_a_key_with_a_budget_goes_where_there_is_a_price() -> None:
    made, key = stage(), attrs.evolve(KEY, budget_nano=10**9)
    fault = fault_of(made.way(key=key))
    assert (fault.status, fault.code) == (403, "model_not_priced")
    price = Price(models=("m",), date=datetime.date(2026, 1, 1), source="x", text_in=Decimal(1))
    made.prices = PriceBook((price,))
    assert seat_of(made.way(key=key)) == "first"
