"""Whose account pays for what, where a server is lost."""

from __future__ import annotations

import datetime
from decimal import Decimal

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.pricebook import Price, PriceBook
from relayd.dialect.xiaozhi_usage import UTTERANCE_S
from relayd.observe.bus import DeviceContextLost, SessionEnded, UsageCharged
from tests.session.xiaozhi.stage import HELLO, LISTEN, OPUS, Device, Peer, Stage, answer

HEARD = {"type": "stt", "text": "hi", "session_id": "s-1"}


def rate(account: str, per_second: str) -> Price:
    date = datetime.date(2026, 1, 1)
    models = (f"xiaozhi/{account}",)
    return Price(models=models, date=date, source="a test", per_second=Decimal(per_second))


async def talking(stage: Stage) -> tuple[Device, Peer]:
    """A device at the first of two servers, the second of which costs five times as much."""
    stage.prices = PriceBook((rate("one", "1"), rate("two", "5")))
    one = await stage.server()
    await stage.server("two")
    return await stage.talking(one)


async def taken_over(device: Device, stage: Stage) -> Peer:
    """The second server, once it has said hello; the device listens and is heard there."""
    other = await stage.accept(stage.upstreams[1])
    assert await other.text() == HELLO
    await other.say(answer("s-2"))
    return other


async def heard_at(device: Device, server: Peer) -> None:
    """60 ms of audio that the server gets, and says nothing about."""
    await device.play(OPUS)
    assert await server.audio() == OPUS


async def test_audio_of_no_turn_is_paid_for_at_the_server_that_heard_it(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await talking(stage)
    await heard_at(device, server)
    await heard_at(device, server)

    server.wire.reset()
    other = await taken_over(device, stage)
    await heard_at(device, other)
    await device.leave()
    await device.ended()

    rows = [(row.entry, row.account, row.seconds, row.cost_nano) for row in stage.ledger.rows]
    assert rows == [
        ("audio:1", "one", 0.12, 120_000_000),
        ("audio:2", "two", 0.06, 300_000_000),
    ]
    assert [row.reason for row in stage.ledger.rows] == ["failed", "client_closed"]
    (ended,) = stage.of(SessionEnded)
    assert ended.cost_usd == Decimal("0.42")
    assert len(stage.of(UsageCharged)) == 2
    (lost,) = stage.of(DeviceContextLost)
    assert lost.session.account == "one"


async def test_where_no_other_server_says_hello_the_first_one_is_paid(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await talking(stage)
    await heard_at(device, server)

    server.wire.reset()
    other = await stage.accept(stage.upstreams[1])
    assert await other.text() == HELLO
    await device.leave()
    await device.ended()

    rows = [(row.entry, row.account, row.cost_nano) for row in stage.ledger.rows]
    assert rows == [("audio:1", "one", 60_000_000)]


async def test_a_turn_that_is_lost_is_written_before_and_only_once(
    autojump_clock: MockClock, stage: Stage
) -> None:
    device, server = await talking(stage)
    await device.say(LISTEN)
    assert await server.text() == LISTEN
    await heard_at(device, server)
    await server.say(HEARD)
    assert await device.text() == HEARD

    server.wire.reset()
    await taken_over(device, stage)
    await device.leave()
    await device.ended()

    rows = [(row.entry, row.account, row.reason, row.seconds) for row in stage.ledger.rows]
    assert rows == [("turn:1", "one", "failed", 0.06)]


@pytest.mark.parametrize(
    ("budget", "word"), [("0.05", "budget_exhausted"), ("10", "client_closed")]
)
async def test_a_budget_that_a_lost_server_has_used_up_still_ends_the_session(
    autojump_clock: MockClock, stage: Stage, budget: str, word: str
) -> None:
    stage.key_settings = attrs.evolve(stage.key_settings, budget_usd=Decimal(budget))
    device, server = await talking(stage)
    await heard_at(device, server)

    server.wire.reset()
    await taken_over(device, stage)
    await trio.sleep(UTTERANCE_S)  # until then it may be answered by the other server
    if word == "client_closed":
        await device.leave()
    else:
        assert (await device.text())["type"] == "alert"
        assert await device.closes() == 1008

    assert await device.ended() == word
