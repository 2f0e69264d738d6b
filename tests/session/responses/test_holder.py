"""One lease: whose end it is, and that nothing of it is left."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from relayd.config.dialects import ResponsesSettings
from relayd.dialect.responses_reader import LeaseReader
from relayd.observe.events import LogEvent
from relayd.session.responses.holder import Holder
from relayd.session.responses.session import ResponsesSession
from relayd.sim.responses.scenario import Scenario
from tests.faults.responses import ResponsesStage, Scene, playing
from tests.faults.wire import TEXT, frame


def leases(scenes: ResponsesStage) -> list[Holder]:
    """Those that sessions have."""
    sessions = scenes.made[-1].door.sessions.values()
    return [
        holder
        for session in sessions
        if isinstance(session, ResponsesSession)
        for holder in session._desk.holders._holders
    ]


def in_flight(scene: Scene) -> int:
    """Seats that are taken."""
    roster = scene.shared.connector.roster
    return sum(account.in_flight for account in roster.statistics())


async def test_a_lease_that_is_given_up_leaves_nothing_behind(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    times = ResponsesSettings(first_event_s=0.5)
    async with scenes.serving(times=times) as scene:
        client = await scene.client()
        for _ in range(3):
            told = await client.turn(**playing(Scenario.SILENT_BEFORE_CREATED))
            assert told["error"]["code"] == "upstream_timeout"
        await scene.at_rest()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (leases(scenes), in_flight(scene)) == ([], 0)


async def test_a_turn_that_is_lost_alone_does_not_blame_the_others(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    """What times out takes its socket along; to its neighbour that has closed."""
    times = ResponsesSettings(first_event_s=1.0)
    async with scenes.serving(times=times) as scene:
        client = await scene.client()
        await client.ask(stream_id="a", **playing(Scenario.SILENT_AFTER_CREATED))
        await client.until("response.created")
        await client.ask(stream_id="b", **playing(Scenario.SILENT_BEFORE_CREATED))
        ends: dict[str, str] = {}
        while len(ends) < 2:
            told = await client.event()
            if told["type"] == "error":
                ends[told["stream_id"]] = told["error"]["code"]
        assert ends == {"a": "upstream_closed", "b": "upstream_timeout"}
        lines = {line["lane"]: line["reason"] for line in await scene.turns_ended(2)}
        assert lines == {"a": "upstream_lost", "b": "first_event_timeout"}


async def test_a_bug_in_the_pass_ends_the_turn_and_is_told(
    scenes: ResponsesStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        with monkeypatch.context() as patch:

            def message(*_: object) -> None:
                raise RuntimeError("a bug")

            patch.setattr(LeaseReader, "message", message)
            told = await client.turn(stream_id="a")
        assert (told["status"], told["error"]["code"]) == (500, "internal")
        assert (await scene.turn_ended())["reason"] == "internal_lane"
        assert (await client.turn())["type"] == "response.completed"
    scenes.stage.log.crashes_expected = 1


async def test_an_end_that_was_read_counts_though_its_socket_is_given_up(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    """The client is slow: the end waits in relayd for it, and time passes."""
    upstream = await scenes.stage.upstream()
    times = ResponsesSettings(idle_s=0.1, total_s=0.1)
    async with scenes.serving(upstream, times=times) as scene:
        client = await scene.client()
        await client.ask()
        far = await upstream.accept_upgrade()
        await far.frame()
        usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        for event in (
            {"type": "response.created", "response": {"id": "resp_1"}},
            {"type": "response.output_text.delta", "delta": "x" * (12 << 20)},
            {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}},
        ):
            await far.send(frame(TEXT, json.dumps(event).encode(), masked=False))
        line = await scene.turn_ended()
        assert line["turn_id"] == "resp_1"
        client.wire.reset()
        await scene.at_rest()
        assert in_flight(scene) == 0


async def test_a_slot_is_not_leased_behind_an_error(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await client.ask(stream_id="a", **playing(Scenario.SILENT_TURN, sim_s="0.2"))
        await client.until("response.created")
        await client.turn(stream_id="b", **playing(Scenario.ERROR_MID_TURN))
        assert (await client.turn(stream_id="c"))["type"] == "response.completed"
        assert (await client.answer("a"))["type"] == "response.completed"
        slots = {line["lane"]: line["slot"] for line in await scene.turns_ended(3)}
        assert slots["a"] == slots["b"] != slots["c"]
        (line,) = scene.relay.log.of(LogEvent.SLOT_BROKEN)
        assert (line["slot"], line["reason"]) == (slots["a"], "upstream_error")
