"""The dialects that can be simulated, by name."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Final, Never

import attrs
import trio

from relayd.sim import passthrough
from relayd.sim.realtime import scenario as realtime_scenario
from relayd.sim.realtime.upstream import RealtimeUpstream
from relayd.sim.responses import scenario as responses_scenario
from relayd.sim.responses.upstream import ResponsesUpstream
from relayd.sim.runtask import scenario as runtask_scenario
from relayd.sim.runtask.upstream import RunTaskUpstream
from relayd.sim.server import SimServer, Upstream, serve
from relayd.sim.spark import scenario as spark_scenario
from relayd.sim.spark.upstream import SparkUpstream
from relayd.sim.xiaozhi import scenario as xiaozhi_scenario
from relayd.sim.xiaozhi.upstream import XiaozhiUpstream


@attrs.frozen
class Simulator:
    """One dialect's simulated upstream, not yet listening.

    Attributes:
        dialect: As in the provider ``sim:<dialect>``.
        summary: What it speaks.
        scenarios: What it can play: each name with what it does.
        build: Makes the upstream that plays the scenario of a name.
    """

    dialect: str
    summary: str
    scenarios: Mapping[str, str]
    build: Callable[[str], Upstream]


def _realtime(scenario: str) -> Upstream:
    return RealtimeUpstream(realtime_scenario.Scenario(scenario))


def _responses(scenario: str) -> Upstream:
    return ResponsesUpstream(responses_scenario.Scenario(scenario))


def _spark(scenario: str) -> Upstream:
    return SparkUpstream(spark_scenario.Scenario(scenario))


def _runtask(scenario: str) -> Upstream:
    return RunTaskUpstream(runtask_scenario.Scenario(scenario))


def _xiaozhi(scenario: str) -> Upstream:
    return XiaozhiUpstream(xiaozhi_scenario.Scenario(scenario))


def _passthrough(scenario: str) -> Upstream:
    return passthrough.PassthroughUpstream(passthrough.Scenario(scenario))


SIMULATORS: Final[Mapping[str, Simulator]] = {
    simulator.dialect: simulator
    for simulator in (
        Simulator(
            "realtime",
            "the OpenAI Realtime API, GA shape",
            {member.value: member.summary for member in realtime_scenario.Scenario},
            _realtime,
        ),
        Simulator(
            "responses",
            "the OpenAI Responses API in WebSocket mode, v2",
            {member.value: member.summary for member in responses_scenario.Scenario},
            _responses,
        ),
        Simulator(
            "spark",
            "iFlytek Spark, WebSocket and HTTP; app_id simspark, key and secrets simulated",
            {member.value: member.summary for member in spark_scenario.Scenario},
            _spark,
        ),
        Simulator(
            "runtask",
            "text generation by run-task, as Alibaba Cloud Model Studio has it",
            {member.value: member.summary for member in runtask_scenario.Scenario},
            _runtask,
        ),
        Simulator(
            "xiaozhi",
            "a server of xiaozhi devices, and their settings at /xiaozhi/ota/; any token",
            {member.value: member.summary for member in xiaozhi_scenario.Scenario},
            _xiaozhi,
        ),
        Simulator(
            "passthrough",
            "a WebSocket that echoes every message",
            {passthrough.Scenario.NORMAL.value: "echoes text and binary messages"},
            _passthrough,
        ),
    )
}


async def serve_simulator(
    dialect: str,
    *,
    scenario: str = "normal",
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[SimServer[Upstream]] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serve a simulated upstream until cancelled.

    Args:
        dialect: A name in ``SIMULATORS``.
        scenario: A name in that simulator's ``scenarios``.
        host: Where to listen: a literal address or a name.
        port: The TCP port; 0 takes a free one.
        ssl_context: Speak TLS with it; ``None`` is plain TCP.
        task_status: Is told the listening :class:`~relayd.sim.server.SimServer`, whose
            ``base_url`` is what an account needs.

    Raises:
        OSError: The address cannot be bound.
    """
    upstream = SIMULATORS[dialect].build(scenario)
    await serve(upstream, host=host, port=port, ssl_context=ssl_context, task_status=task_status)
