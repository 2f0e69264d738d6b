"""A day of traffic in every shape of usage: the ledger is what the upstreams say they have told."""

from __future__ import annotations

import datetime
import io
import json
import random
from contextlib import closing
from decimal import Decimal
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from click.testing import CliRunner

from relayd.cli.main import cli
from relayd.config.load import load
from relayd.config.schema import BudgetPeriod
from relayd.config.snapshot import Snapshot
from relayd.ledger.database import open_read_only
from relayd.ledger.periods import period_start
from relayd.ledger.report import By, Line, Sums, summarize
from relayd.observe import logs
from relayd.observe.events import LogEvent
from relayd.service import app
from relayd.session.limits import Limits
from relayd.sim.realtime.billing import BILLINGS
from relayd.sim.realtime.scenario import Scenario
from relayd.sim.realtime.tally import Tally
from tests.faults.money import watch_books
from tests.integration.a_day import (
    PATIENCE_S,
    PRICES,
    STEPS,
    Calendar,
    Client,
    Figures,
    Talk,
    Trade,
    counted,
    minus,
    open_trade,
    settings_of,
    told,
)

pytestmark = pytest.mark.slow

SEED = 20261121
TALKS = 9
"""Sessions of each client with each upstream; fewer where each of them is a lot of work."""

TALKS_AT_WORK = {Scenario.FRAGMENTED: 3, Scenario.OVERSIZED: 3}

STEP_S = 900
MIDNIGHT = datetime.datetime(2025, 11, 4, tzinfo=datetime.UTC)
FIRST, SECOND = MIDNIGHT.date() - datetime.timedelta(days=1), MIDNIGHT.date()
BEGIN = MIDNIGHT.timestamp() - STEPS // 2 * STEP_S
"""At noon: half of the day's steps are before midnight, half behind it."""

CLIENTS = (
    Client("alice", "gpt-realtime", budget_usd=Decimal(1000)),
    Client("bob", "gpt-realtime-2", Decimal("1.5"), Decimal(1000), BudgetPeriod.DAY),
    Client("carol", "gpt-realtime-mini", Decimal("0.25")),
)
EXACT = (
    Scenario.NORMAL,
    Scenario.USAGE_CACHED,
    Scenario.USAGE_CACHED_FLAT,
    Scenario.USAGE_IMAGE,
    Scenario.TRANSCRIPTION_TOKENS,
    Scenario.TRANSCRIPTION_DURATION,
    Scenario.RESPONSE_FAILED,
    Scenario.FRAGMENTED,
    Scenario.OVERSIZED,
)
"""Where the upstream tells everything."""

TOTALS = Scenario.TOTALS_ONLY
SECRETIVE = (Scenario.WRONG_USAGE, Scenario.XAI)
"""Where it tells nothing, or next to nothing."""

TRANSCRIBERS = {
    Scenario.TRANSCRIPTION_TOKENS: "gpt-4o-transcribe",
    Scenario.TRANSCRIPTION_DURATION: "whisper-1",
}


@attrs.frozen
class Day:
    """What is there when the day is over and relayd has stopped.

    Attributes:
        before_midnight: What each account's upstream had told by then.
        counters: What the store counts for keys with a budget, by name.
        log: The lines.
    """

    ledger: Path
    trades: tuple[Trade, ...]
    before_midnight: dict[str, Tally]
    counters: dict[str, int]
    log: list[dict[str, Any]]

    def lines(self, *by: By) -> list[Line]:
        with closing(open_read_only(self.ledger)) as connection:
            return summarize(connection, since=0.0, until=inf, by=by)

    def sums(self, *by: By) -> dict[Any, Sums]:
        return {line.group if len(by) > 1 else line.group[0]: line.sums for line in self.lines(*by)}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(open_read_only(self.ledger)) as connection:
            return connection.execute(query, values).fetchall()

    def of(self, *scenarios: Scenario) -> list[Trade]:
        return [trade for trade in self.trades if trade.scenario in scenarios]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """One day, lived once for all tests."""
    folder = tmp_path_factory.mktemp("day")
    (folder / "relayd.toml").write_text(
        f'[ledger]\nurl = "sqlite:{folder}/relayd.db"\nprices = "{PRICES}"\n'
    )
    log = io.BytesIO()
    logs.configure("json", "info", log)
    try:
        return trio.run(live, folder, log)
    finally:
        logs.configure("json", "critical", io.BytesIO())


async def live(folder: Path, log: io.BytesIO) -> Day:
    """The day's traffic, through one relayd."""
    calendar, chance = Calendar(BEGIN), random.Random(SEED)
    with pytest.MonkeyPatch.context() as patched:
        opened = watch_books(patched)
        async with trio.open_nursery() as nursery:
            trades = [
                await open_trade(client, scenario, model_of(client, scenario), nursery)
                for scenario in (*EXACT, TOTALS, *SECRETIVE)
                for client in CLIENTS
            ]
            prices = load(folder / "relayd.toml", environ={}).prices
            settings = settings_of(trades, CLIENTS, folder / "relayd.db", prices)
            serve = partial(app.serve, Snapshot.of(settings), environ={}, wall=calendar)
            running: app.Running = await nursery.start(serve)
            talks = [talk for trade in trades for talk in planned(trade, chance)]
            before_midnight = {}
            for step in range(STEPS):
                if calendar() == MIDNIGHT.timestamp():
                    before_midnight = {trade.account: trade.tally for trade in trades}
                async with trio.open_nursery() as clients:
                    for talk in talks:
                        if step in talk.turns:
                            clients.start_soon(talk.step, step, running.addresses[0], nursery)
                calendar.now += STEP_S
            await all_ended(log, len(talks))
            counters = await counters_of(opened[0].limits)
            assert not [trade.account for trade in trades if trade.server.crashes]
            nursery.cancel_scope.cancel()
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return Day(folder / "relayd.db", tuple(trades), before_midnight, counters, lines)


def model_of(client: Client, scenario: Scenario) -> str:
    return "grok-voice-1" if scenario is Scenario.XAI else client.model


def talks_of(trade: Trade) -> int:
    return TALKS_AT_WORK.get(trade.scenario, TALKS)


def planned(trade: Trade, chance: random.Random) -> list[Talk]:
    """A client's sessions with one upstream, each in a part of the day of its own."""
    length = STEPS // talks_of(trade)
    parts = (range(start, start + length) for start in range(0, length * talks_of(trade), length))
    return [Talk.planned(trade, chance, part) for part in parts]


async def all_ended(log: io.BytesIO, sessions: int) -> None:
    """Until the last session has written its line, and everything of it is noted."""
    with trio.fail_after(PATIENCE_S):
        while log.getvalue().count(b'"event":"session.ended"') < sessions:
            await trio.testing.wait_all_tasks_blocked(0.01)
    await trio.testing.wait_all_tasks_blocked(0.01)


async def counters_of(limits: Limits) -> dict[str, int]:
    """What the store counts of each budget."""
    places = {
        f"budget:{client.name}:{client.period}:{period_start(client.period, moment)}"
        for client in CLIENTS
        for moment in (BEGIN, MIDNIGHT.timestamp())
        if client.budget_usd
    }
    counted = {place: await limits.store.get(place) for place in places}
    return {place: int(value) for place, value in counted.items() if value is not None}


# -- tokens


def test_the_day_has_every_shape_of_usage_in_it(day: Day) -> None:
    assert {trade.scenario for trade in day.trades} >= set(BILLINGS)
    assert len([line for line in day.log if line["event"] == LogEvent.SESSION_ENDED]) > 250
    total = sum((trade.tally for trade in day.of(*EXACT)), Tally())
    for count in told(total).values():
        assert count > 0
    assert all(trade.tally.responses > talks_of(trade) for trade in day.trades)
    assert all(day.before_midnight[trade.account].responses for trade in day.trades)
    reasons = {reason for (reason,) in day.rows("SELECT DISTINCT reason FROM rows")}
    assert reasons >= {"completed", "cancelled", "failed", "incomplete"}


def test_what_upstreams_tell_is_counted_to_the_last_token(day: Day) -> None:
    sums = day.sums(By.ACCOUNT)
    for trade in day.of(*EXACT):
        assert counted(sums[trade.account]) == told(trade.tally), trade.account
        assert sums[trade.account].estimated == 0, trade.account


def test_each_day_has_its_own(day: Day) -> None:
    sums = day.sums(By.ACCOUNT, By.DAY)
    for trade in day.of(*EXACT):
        first = told(day.before_midnight[trade.account])
        assert counted(sums[trade.account, FIRST]) == first, trade.account
        second = minus(told(trade.tally), first)
        assert counted(sums[trade.account, SECOND]) == second, trade.account


def test_totals_count_as_they_are_told_and_their_parts_are_estimates(day: Day) -> None:
    sums = day.sums(By.ACCOUNT)
    for trade in day.of(TOTALS):
        used, tally = sums[trade.account], trade.tally.usage
        assert (used.tokens_in, used.tokens_out) == (tally.read.total, tally.written.total)
        assert used.tokens_in_text + used.tokens_in_audio == used.tokens_in
        assert used.tokens_out_text + used.tokens_out_audio == used.tokens_out
        assert used.rows == used.estimated == trade.tally.responses


def test_what_upstreams_do_not_tell_is_estimated_and_marked(day: Day) -> None:
    query = "SELECT count(*), sum(estimated) FROM rows WHERE account = ? AND source = ?"
    for trade in day.of(*SECRETIVE):
        tally, used = trade.tally, day.sums(By.ACCOUNT)[trade.account]
        assert tally.untold == tally.responses
        assert day.rows(query, trade.account, "response") == [(tally.responses,) * 2]
        if tally.transcriptions:
            assert day.rows(query, trade.account, "transcription") == [(tally.transcriptions,) * 2]
        # Output is known from what passed: no more is missing than what rounding does.
        assert used.tokens_out_audio == pytest.approx(tally.untold_usage.written.audio, rel=0.05)
        assert used.unpriced == 0


# -- money


def test_what_it_costs_is_right_to_the_last_nano_dollar(day: Day) -> None:
    figures, sums = Figures(PRICES), day.sums(By.ACCOUNT)
    for trade in day.of(*EXACT):
        nano = figures.nano(trade.tally, trade.model, TRANSCRIBERS.get(trade.scenario))
        assert sums[trade.account].cost_nano == nano * trade.client.factor, trade.account
        assert sums[trade.account].unpriced == 0


def test_time_and_requests_cost_what_the_prices_say(day: Day) -> None:
    figures = Figures(PRICES)
    rates = figures.of("grok-voice*")
    for trade in day.of(Scenario.XAI):
        factor = trade.client.factor
        query = "SELECT seconds, cost_nano FROM rows WHERE account = ? AND source = ?"
        slices = day.rows(query, trade.account, "time")
        assert len(slices) == TALKS
        for seconds, cost_nano in slices:
            exact = Decimal(str(seconds)) * rates["per_second"] * 10**9 * factor
            assert abs(cost_nano - exact) <= Decimal("0.5")
        responses = {cost for _, cost in day.rows(query, trade.account, "response")}
        assert responses == {rates["per_request"] * 10**9 * factor}


def test_budgets_have_counted_what_the_ledger_has(day: Day) -> None:
    spent = {key: sums.cost_nano for key, sums in day.sums(By.KEY).items()}
    by_day = {group: sums.cost_nano for group, sums in day.sums(By.KEY, By.DAY).items()}
    month = period_start(BudgetPeriod.MONTH, BEGIN)
    first, second = (period_start(BudgetPeriod.DAY, at) for at in (BEGIN, MIDNIGHT.timestamp()))
    assert day.counters == {
        f"budget:alice:month:{month}": spent["alice"],
        f"budget:bob:day:{first}": by_day["bob", FIRST],
        f"budget:bob:day:{second}": by_day["bob", SECOND],
    }


# -- who else says so


@pytest.mark.parametrize("by", ["account", "key,day", "key,model,day", "dialect", "tenant,tag"])
def test_the_command_says_what_the_ledger_says(day: Day, by: str) -> None:
    config = day.ledger.with_name("relayd.toml")
    range_ = ["--since", str(FIRST), "--until", str(SECOND)]
    said = CliRunner().invoke(
        cli, ["usage", "--config", str(config), *range_, "--by", by, "--json"]
    )

    assert said.exit_code == 0
    objects = [json.loads(line, parse_float=Decimal) for line in said.stdout.splitlines()]
    columns = by.split(",")
    lines = day.lines(*map(By, columns))
    assert len(objects) == len(lines) > 0
    for line, found in zip(lines, objects, strict=True):
        shown = [None if value is None else str(value) for value in line.group]
        assert [found[column] for column in columns] == shown
        assert found["cost_usd"] * 10**9 == line.sums.cost_nano
        for name, count in attrs.asdict(line.sums).items():
            if name not in {"rows", "cost_nano", "seconds"}:
                assert found[name] == count, name
        assert float(found["seconds"]) == line.sums.seconds


def test_the_log_says_what_the_ledger_says(day: Day) -> None:
    ended = [line for line in day.log if line["event"] == LogEvent.SESSION_ENDED]
    turns = [line for line in day.log if line["event"] == LogEvent.TURN_ENDED]
    for account, sums in day.sums(By.ACCOUNT).items():
        of_account = [line for line in ended if line["account"] == account]
        assert len(of_account) == sums.sessions
        assert sum(line["turns"] for line in of_account) == sums.turns
        assert sum(line["tokens_in"] for line in of_account) == sums.tokens_in
        assert sum(line["tokens_out"] for line in of_account) == sums.tokens_out
        cost_usd = sum(line["cost_usd"] for line in of_account)
        assert cost_usd == pytest.approx((sums.cost_nano or 0) / 10**9, abs=1e-9)
        assert len([line for line in turns if line["account"] == account]) == sums.turns
