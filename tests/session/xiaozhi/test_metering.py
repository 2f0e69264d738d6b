"""What audio costs, and what becomes of a key that has no more money."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.pricebook import Price, PriceBook
from relayd.config.xiaozhi import XiaozhiSettings
from relayd.dialect.xiaozhi_usage import TurnEnd, TurnReport
from relayd.observe.bus import DeviceTurnEnded, SessionEnded, UsageCharged
from relayd.observe.events import LogEvent
from relayd.session.xiaozhi import metering
from relayd.session.xiaozhi.metering import LOOK_EVERY_S, reason_of
from tests.conftest import LogLines
from tests.session.xiaozhi.stage import MAC, OPUS, Device, Peer, Stage

HEARD = {"type": "stt", "text": "hi", "session_id": "s-1"}
SPOKE = {"type": "tts", "state": "stop", "session_id": "s-1"}


def book(**rates: str) -> PriceBook:
    price = Price(models=("xiaozhi/*",), date=datetime.date(2026, 1, 1), source="a test")
    figures = {name: Decimal(rate) for name, rate in rates.items()}
    return PriceBook((attrs.evolve(price, **figures),))  # type: ignore[arg-type]  # passed on


async def a_turn(device: Device, server: Peer) -> None:
    """60 ms of audio each way."""
    await device.play(OPUS)
    await server.audio()
    await server.say(HEARD)
    await server.play(OPUS)
    await server.say(SPOKE)
    assert [await device.hear() for _ in range(3)] == [HEARD, OPUS, SPOKE]
    await wait_all_tasks_blocked()


async def test_seconds_of_both_ways_are_priced_and_a_turn_is_a_request(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.prices = book(per_second="0.5", per_request="2")
    device, server = await stage.talking(await stage.server())

    await a_turn(device, server)
    await device.play(OPUS)
    await server.audio()
    await device.leave()
    await device.ended()

    turn, rest = stage.ledger.rows
    assert (turn.seconds, turn.cost_nano) == (0.12, 2_060_000_000)
    assert (rest.entry, rest.seconds, rest.cost_nano) == ("audio:1", 0.06, 30_000_000)
    (ended,) = stage.of(SessionEnded)
    assert ended.cost_usd == Decimal("2.09")
    assert [event.source for event in stage.of(UsageCharged)] == ["device", "device"]


async def test_without_a_price_the_cost_is_not_known(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    device, server = await stage.talking(await stage.server())

    await a_turn(device, server)
    await a_turn(device, server)
    await device.leave()
    await device.ended()

    assert [row.cost_nano for row in stage.ledger.rows] == [None, None]
    (line,) = log_lines.of(LogEvent.MODEL_UNPRICED)
    assert line["model"] == "xiaozhi/one"
    (ended,) = stage.of(SessionEnded)
    assert ended.cost_usd is None


async def test_a_key_without_money_is_let_out_behind_its_turn(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.prices = book(per_second="1")
    stage.key_settings = attrs.evolve(stage.key_settings, budget_usd=Decimal("0.1"))
    device, server = await stage.talking(await stage.server())

    await a_turn(device, server)
    await trio.sleep(1.0)

    told: dict[str, Any] = await device.text()
    assert told["type"] == "alert"
    assert await device.closes() == 1008
    assert await device.ended() == "budget_exhausted"
    assert json.dumps(told).count("budget") >= 1


async def test_audio_of_no_turn_counts_against_the_budget_while_the_session_lasts(
    autojump_clock: MockClock, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "AUDIO_MAX_S", 0.15)
    stage.prices = book(per_second="1")
    stage.key_settings = attrs.evolve(stage.key_settings, budget_usd=Decimal("0.2"))
    device, server = await stage.talking(await stage.server())

    for rows in (0, 1):
        await device.play(OPUS, OPUS)
        await server.audio()
        await server.audio()
        await trio.sleep(LOOK_EVERY_S + 1.0)
        assert len(stage.ledger.rows) == rows

    assert (await device.text())["type"] == "alert"
    assert await device.closes() == 1008
    assert await device.ended() == "budget_exhausted"
    (row,) = stage.ledger.rows
    assert (row.entry, row.source, row.seconds) == ("audio:1", "device", 0.24)
    assert (row.reason, row.cost_nano) == ("running", 240_000_000)


async def test_a_long_turn_is_paid_for_on_the_way_and_not_twice(
    autojump_clock: MockClock, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "AUDIO_MAX_S", 0.05)
    stage.prices = book(per_second="1", per_request="1")
    stage.key_settings = attrs.evolve(stage.key_settings, budget_usd=Decimal(10))
    device, server = await stage.talking(await stage.server())

    await server.say(HEARD)
    await server.play(OPUS, OPUS)
    assert [await device.hear() for _ in range(3)] == [HEARD, OPUS, OPUS]
    await trio.sleep(LOOK_EVERY_S + 1.0)
    await server.play(OPUS)
    await server.say(SPOKE)
    assert [await device.hear() for _ in range(2)] == [OPUS, SPOKE]
    await device.leave()
    await device.ended()

    rows = [(row.entry, row.seconds, row.cost_nano) for row in stage.ledger.rows]
    assert rows == [("audio:1", 0.12, 120_000_000), ("turn:1", 0.06, 1_060_000_000)]
    (ended,) = stage.of(DeviceTurnEnded)
    assert ended.audio_out_s == 0.18


async def test_a_session_ends_behind_the_turn_that_was_one_too_many(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.key_settings = attrs.evolve(stage.key_settings, requests_per_minute=2)
    device, server = await stage.talking(await stage.server())

    await a_turn(device, server)
    await a_turn(device, server)
    assert not device.over.is_set()
    await a_turn(device, server)

    assert await device.closes() == 1008
    assert await device.ended() == "policy"
    assert [row.entry for row in stage.ledger.rows] == ["turn:1", "turn:2", "turn:3"]


async def test_a_turn_that_the_session_cuts_is_paid_for_all_the_same(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.prices = book(per_second="1", per_request="5")
    stage.key_settings = attrs.evolve(stage.key_settings, budget_usd=Decimal(10))
    device, server = await stage.talking(await stage.server())
    await server.say(HEARD)
    await server.play(OPUS)
    assert [await device.hear(), await device.hear()] == [HEARD, OPUS]

    device.wire.reset()

    assert await device.ended() == "client_gone"
    (row,) = stage.ledger.rows
    assert (row.reason, row.cost_nano) == ("client_gone", 60_000_000)


@pytest.mark.parametrize(
    ("ended_by", "reason"),
    [
        (TurnEnd.DONE, "completed"),
        (TurnEnd.ABORTED, "cancelled"),
        (TurnEnd.LOST, "failed"),
        (TurnEnd.CUT, "drain"),
    ],
)
def test_turns_end_in_the_words_of_all_dialects(ended_by: TurnEnd, reason: str) -> None:
    report = TurnReport(
        number=1,
        ended_by=ended_by,
        started_at=0.0,
        ended_at=1.0,
        audio_in_s=0.0,
        audio_out_s=0.0,
        stt_s=None,
        first_audio_s=None,
        speaking_s=None,
        gaps_out=0,
        calls=0,
    )

    assert reason_of(report, "drain") == reason


async def test_a_turn_tells_how_long_its_calls_of_tools_took(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    device, server = await stage.talking(await stage.server())
    envelope = {"type": "mcp", "session_id": "s-1"}

    for number, took_s in ((1, 0.2), (2, 0.4)):
        asked = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {}}
        await server.say(envelope | {"payload": asked})
        assert (await device.text())["payload"] == asked
        await trio.sleep(took_s)
        await device.say(envelope | {"payload": {"jsonrpc": "2.0", "id": number, "result": {}}})
        await server.text()
    await a_turn(device, server)

    (ended,) = stage.of(DeviceTurnEnded)
    assert (ended.calls, ended.calls_ms) == (2, (200.0, 400.0))
    (line,) = log_lines.of(LogEvent.TURN_ENDED)
    assert line["calls_ms"] == 400.0


async def test_a_devices_own_limit_of_turns_ends_its_session_behind_the_turn(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.settings = XiaozhiSettings(device_turns_per_minute=1)
    device, server = await stage.talking(await stage.server())

    await a_turn(device, server)
    assert not device.over.is_set()
    await a_turn(device, server)

    assert await device.closes() == 1008
    assert await device.ended() == "policy"
    assert [row.entry for row in stage.ledger.rows] == ["turn:1", "turn:2"]
    assert await stage.desk.allowances.deny("dev", MAC, stage.settings) is not None


async def test_a_devices_audio_of_a_day_ends_its_session_behind_the_turn(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.settings = XiaozhiSettings(device_audio_s_per_day=0.2)
    device, server = await stage.talking(await stage.server())

    await a_turn(device, server)
    assert await stage.desk.allowances.deny("dev", MAC, stage.settings) is None
    await a_turn(device, server)

    assert await device.closes() == 1008
    assert await device.ended() == "policy"
    refusal = await stage.desk.allowances.deny("dev", MAC, stage.settings)
    assert refusal is not None
    assert refusal.retry_after_s is not None
    assert 0 < refusal.retry_after_s <= 86_400
