"""A client that leaves its answer ends it upstream, however it leaves."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from relayd.sim.runtask.upstream import RunTaskUpstream
from relayd.sim.server import SimServer
from relayd.sim.spark.upstream import SparkUpstream
from tests.integration.chat_stage import MODEL, TASKS, Account, Stage, Told, said, seen, started
from tests.integration.conftest import Relayd
from tests.integration.responses_stage import stopped_well, turns

pytestmark = pytest.mark.slow

WITHIN_S: Final = 1.0
SOME_FRAMES_S: Final = 0.4
"""In which an upstream that is slow says something; of a document its client sees nothing."""

LEAVING: Final = {
    "stream": "[sim:slow words=600] hi",
    "unheard": "[sim:silent] hi",
    "document": "[sim:slow words=600] hi",
}
"""What is left: a stream behind its first word, one before it, a document."""


@pytest.fixture
def stage(nursery: trio.Nursery, tmp_path: Path) -> Stage:
    """A stage without upstreams."""
    return Stage(tmp_path, nursery)


@pytest.fixture
async def spark(stage: Stage) -> SimServer[SparkUpstream]:
    """A simulated Spark."""
    return await stage.spark()


@pytest.fixture
async def tasks(stage: Stage) -> SimServer[RunTaskUpstream]:
    """A simulated upstream that takes tasks."""
    return await stage.tasks()


@pytest.fixture
async def relayd(
    stage: Stage, spark: SimServer[SparkUpstream], tasks: SimServer[RunTaskUpstream]
) -> AsyncIterator[Relayd]:
    """One relayd with both."""
    relayd = await stage.relayd(
        {
            "spark": Account(upstream=spark),
            "tasks": Account(upstream=tasks, models=(TASKS,)),
        }
    )
    yield relayd
    await stopped_well(relayd)


def _is_cut_short(server: SimServer[SparkUpstream] | SimServer[RunTaskUpstream]) -> bool:
    """Whether its client has ended the one answer there is."""
    return server.upstream.statistics().total.cancelled == 1


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("model", [MODEL, TASKS])
async def test_an_answer_that_is_left_is_ended(
    relayd: Relayd,
    spark: SimServer[SparkUpstream],
    tasks: SimServer[RunTaskUpstream],
    nursery: trio.Nursery,
    model: str,
    how: str,
) -> None:
    server = spark if model == MODEL else tasks
    client = await started(relayd, nursery, "leave", how, model, LEAVING[how])
    await seen(lambda: server.connections == 1)
    await trio.sleep(0 if how == "stream" else SOME_FRAMES_S)

    client.process.send_signal(signal.SIGUSR1)
    await client.until(lambda: len(client.lines) == 2)
    ended_at = await seen(partial(_is_cut_short, server))
    await seen(lambda: server.connections == 0, WITHIN_S)

    assert ended_at - client.lines[1] < WITHIN_S
    (line,) = await turns(relayd, 1)
    assert line["reason"] == "client_gone"
    assert line["estimated"] is True  # unheard too: the upstream has read it, and charges for that
    assert (line["tokens_out"] > 0) is (how != "unheard")


@pytest.mark.parametrize("how", LEAVING)
async def test_so_is_that_of_a_client_that_is_killed(
    relayd: Relayd, spark: SimServer[SparkUpstream], how: str
) -> None:
    async with trio.open_nursery() as doomed:
        client = await started(relayd, doomed, "leave", how, MODEL, LEAVING[how])
        await seen(lambda: spark.connections == 1)
        killed_at = time.monotonic()
        doomed.cancel_scope.cancel()

    assert client.process.returncode is not None
    assert await seen(partial(_is_cut_short, spark)) - killed_at < WITHIN_S
    await seen(lambda: spark.connections == 0, WITHIN_S)


async def test_relayd_that_is_told_to_stop_lets_answers_end(
    relayd: Relayd, spark: SimServer[SparkUpstream]
) -> None:
    told: list[Told] = []

    async def ask() -> None:
        told.append(await said(relayd, "stream", MODEL, "[sim:slow words=30] hi"))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await seen(lambda: spark.connections == 1)
        relayd.process.terminate()

    (answer,) = told
    assert len(answer["pieces"]) == 30
    assert answer["last"] == [{}, "stop"]
