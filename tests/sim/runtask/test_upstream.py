"""The simulated run-task upstream on the wire."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from relayd.sim.runtask.scenario import REFUSALS, Scenario
from relayd.sim.runtask.upstream import IDLE_S, IMPATIENT_S, PATH, RunTaskUpstream
from tests.sim.peer import BEARER, served
from tests.sim.runtask.stage import connected, kinds, said, task


async def test_a_task_from_the_upgrade_to_its_statistics() -> None:
    upstream = RunTaskUpstream()
    async with connected(upstream) as peer:
        events = await task(peer)
        assert upstream.statistics().running == 1

    assert kinds(events) == ["task-started", *["result-generated"] * 6, "task-finished"]
    assert said(events) == "Answer 1. You said: hello there"
    statistics = upstream.statistics()
    (record,) = statistics.records
    assert (statistics.handshakes, statistics.running) == (1, 0)
    assert (record.task_id, record.model, record.results) == ("7c1e", "qwen-test", 6)
    assert record.told is not None
    assert record.told.wire() == events[-1]["payload"]["usage"]
    assert (statistics.total.completed, statistics.total.tasks) == (1, 1)


async def test_an_account_reaches_it_by_its_base_url() -> None:
    assert RunTaskUpstream().base_path == PATH


@pytest.mark.parametrize("scenario", REFUSALS)
async def test_some_scenarios_refuse_the_upgrade(scenario: Scenario) -> None:
    async with served(RunTaskUpstream(scenario), PATH) as peer:
        response = await peer.upgrade(BEARER)

    assert response.status_code == REFUSALS[scenario].status
    assert json.loads(response.body)["code"] == REFUSALS[scenario].error.code


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (PATH, {}, 401),
        (PATH, {"Authorization": "Bearer "}, 401),
        (PATH, {"Authorization": "bearer any"}, 101),
        (PATH + "/", BEARER, 101),
        ("/v1/chat", BEARER, 404),
    ],
)
async def test_a_key_and_the_path_open_the_door(
    path: str, headers: dict[str, str], status: int
) -> None:
    async with served(RunTaskUpstream(), path) as peer:
        assert (await peer.upgrade(headers)).status_code == status


async def test_a_silent_handshake_answers_nothing(autojump_clock: MockClock) -> None:
    async with served(RunTaskUpstream(Scenario.SILENT_HANDSHAKE), PATH) as peer:
        with trio.move_on_after(100) as waiting:
            await peer.upgrade(BEARER)

    assert waiting.cancelled_caught


@pytest.mark.parametrize(
    ("scenario", "patience_s"), [(Scenario.NORMAL, IDLE_S), (Scenario.IMPATIENT, IMPATIENT_S)]
)
async def test_a_connection_that_sends_nothing_is_closed(
    scenario: Scenario, patience_s: float, autojump_clock: MockClock
) -> None:
    async with connected(RunTaskUpstream(scenario)) as peer:
        ended = await peer.end()

    assert (ended.code, ended.reason) == (1000, "idle")
    assert trio.current_time() == pytest.approx(patience_s)
