"""What the bus hears of the responses dialect: each thing once, while it happens."""

from __future__ import annotations

import pytest

from relayd.observe.bus import (
    AccountChanged,
    AccountFailed,
    SessionEnded,
    SessionFailedOver,
    SessionOpened,
    TurnEnded,
    TurnFirstOutput,
    TurnStarted,
    TurnToolCalled,
    UpstreamConnected,
    UsageCharged,
)
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.upstream import ResponsesUpstream
from tests.faults.harness import Stage
from tests.faults.heard import SECRET, Heard
from tests.faults.responses import CALLING, ResponsesStage, asked, playing
from tests.faults.wire import close


@pytest.fixture
def scenes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> ResponsesStage:
    return ResponsesStage.of(stage, monkeypatch)


async def test_a_session_and_two_turns_over_one_socket(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        heard = Heard.on(scene.relay)
        client = await scene.client()
        first = await client.turn(SECRET)
        await client.turn(SECRET)
        await scene.turns_ended(2)
        await client.wire.send(close(1000))
        await scene.relay.log.session_ended()

    turn = [TurnStarted, TurnFirstOutput, UsageCharged, TurnEnded]
    assert heard.kinds == [SessionOpened, UpstreamConnected, *turn, *turn, SessionEnded]
    heard.check()
    ended, _ = heard.of(TurnEnded)
    output, _ = heard.of(TurnFirstOutput)
    assert ended.turn_id == output.turn_id == first["response"]["id"]
    assert ended.ttft_ms == output.ttft_ms
    (connected,) = heard.of(UpstreamConnected)
    assert connected.session.account == "account-1"
    assert connected.session.session_id == ended.session.session_id


async def test_a_tool_is_told_before_the_turn_ends(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        heard = Heard.on(scene.relay)
        client = await scene.client()
        await client.turn(SECRET, **CALLING)
        await scene.turn_ended()

    called = heard.of(TurnToolCalled)
    assert [(call.name, call.turn_id) for call in called] == [
        ("shell", heard.of(TurnEnded)[0].turn_id)
    ]
    assert heard.kinds.index(TurnToolCalled) < heard.kinds.index(TurnEnded)
    heard.check()


async def test_a_turn_that_another_account_answers_is_told_once(scenes: ResponsesStage) -> None:
    bad = ResponsesUpstream(scenario=Scenario.BAD_KEY)
    async with scenes.serving(bad, ResponsesUpstream()) as scene:
        heard = Heard.on(scene.relay)
        client = await scene.client()
        await client.turn()
        await scene.turn_ended()

    (failed_over,) = heard.of(SessionFailedOver)
    assert (failed_over.account_from, failed_over.session.account) == ("account-1", "account-2")
    (changed,) = heard.of(AccountChanged)
    assert changed.account == "account-1"
    assert heard.kinds.index(AccountFailed) < heard.kinds.index(SessionFailedOver)
    assert len(heard.of(TurnStarted)) == len(heard.of(TurnEnded)) == 1
    heard.check()


async def test_turns_in_lanes_have_their_own_events(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        heard = Heard.on(scene.relay)
        client = await scene.client()
        for lane in ("a", "b"):
            await client.ask(stream_id=lane)
        for _ in range(2):
            await client.until("response.completed")
        await scene.turns_ended(2)

    assert len(heard.of(UpstreamConnected)) == 1
    assert len({event.turn_id for event in heard.of(TurnStarted)}) == 2
    assert len(heard.of(TurnFirstOutput)) == len(heard.of(TurnEnded)) == 2
    heard.check()


async def test_a_turn_that_is_under_way_is_told(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        heard = Heard.on(scene.relay)
        client = await scene.client()
        await client.ask(SECRET, **playing(Scenario.SILENT_AFTER_CREATED))
        await client.until("response.created")
        assert heard.kinds[-1] is TurnStarted
        client.wire.reset()
        await scene.relay.log.session_ended()

    heard.check()


async def test_a_posted_request_is_told_as_a_turn_without_a_session(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        heard = Heard.on(scene.relay)
        body = asked(SECRET)
        del body["type"]
        assert (await scene.post(body)).status == 200
        await scene.turn_ended()

    turn = [TurnStarted, TurnFirstOutput, UsageCharged, TurnEnded]
    assert heard.kinds == [UpstreamConnected, *turn]
    assert {event.session.session_id[:4] for event in heard.of(TurnEnded)} == {"req_"}
    heard.check()
