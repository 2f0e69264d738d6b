"""The real openai SDK talks to the Responses API through relayd, over WebSocket."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import trio

from relayd.observe.events import LogEvent
from relayd.sim.responses.scenario import Scenario
from tests.integration.conftest import KEY, Program, Relayd, python_client
from tests.integration.responses_stage import (
    POST_KEY,
    Stage,
    base_url,
    crashes,
    drain,
    port_of,
    reasons,
    said,
    stopped_well,
    turns,
)

pytestmark = pytest.mark.slow

SCRIPT = "openai_responses.py"
TALK = "openai_responses_talk.py"
LANES = 24

with_and_without_lanes = pytest.mark.parametrize(
    "relayd", [True, False], indirect=True, ids=["upstream with lanes", "upstream without"]
)


@pytest.fixture
def stage(nursery: trio.Nursery, tmp_path: Path) -> Stage:
    """A stage without upstreams."""
    return Stage(tmp_path, nursery)


@pytest.fixture
async def relayd(request: pytest.FixtureRequest, stage: Stage) -> AsyncIterator[Relayd]:
    """One relayd with one upstream, of which the parameter says whether it has lanes."""
    await stage.upstream(lanes=getattr(request, "param", True))
    started = await stage.relayd()
    yield started
    await stopped_well(started)


# -- conversations


@with_and_without_lanes
async def test_a_chain_goes_on_over_one_socket_and_is_counted(relayd: Relayd, stage: Stage) -> None:
    told = await said(relayd, SCRIPT, "chain")

    assert [turn["text"] for turn in told] == [
        "Answer 1. You said: one",
        "Answer 2. You said: two",
        "Answer 3. You said: three",
    ]
    lines = await turns(relayd, 3)
    assert [line["turn_id"] for line in lines] == [turn["id"] for turn in told]
    assert [line["tokens_in"] for line in lines] == [turn["tokens_in"] for turn in told]
    assert [line["tokens_out"] for line in lines] == [turn["tokens_out"] for turn in told]
    assert [line["reused"] for line in lines] == [False, True, True]
    assert len({(line["slot"], line["generation"]) for line in lines}) == 1
    usage = stage.tally().usage
    assert usage.input_tokens == sum(line["tokens_in"] for line in lines)
    assert usage.cached_tokens == sum(line["tokens_in_cached"] for line in lines) > 0


@with_and_without_lanes
async def test_a_tool_is_called_and_answered(relayd: Relayd) -> None:
    told = await said(relayd, SCRIPT, "tools")

    assert told["command"] == "echo hello"
    assert told["text"] == "Answer 2. The tool said: hello"
    called, answered = await turns(relayd, 2)
    assert (called["tool_calls"], answered["tool_calls"]) == (1, 0)


@with_and_without_lanes
async def test_more_lanes_than_may_be_active(relayd: Relayd) -> None:
    answers = await said(relayd, SCRIPT, "lanes", LANES)

    assert {lane: answer["text"] for lane, answer in answers.items()} == {
        f"lane{number}": f"Answer 1. You said: number {number}" for number in range(LANES)
    }
    lines = await turns(relayd, LANES)
    assert {line["lane"]: line["turn_id"] for line in lines} == {
        lane: answer["id"] for lane, answer in answers.items()
    }


async def test_a_response_is_steered_and_its_successor_counted(relayd: Relayd) -> None:
    steered, successor = await said(relayd, SCRIPT, "steer")

    assert steered["status"] == "incomplete"
    assert successor["text"].startswith("Answer 2. You said: enough")
    lines = await turns(relayd, 2)
    assert [line["turn_id"] for line in lines] == [steered["id"], successor["id"]]
    assert reasons(lines) == ["incomplete", "completed"]


@with_and_without_lanes
async def test_an_error_leaves_the_connection_usable(relayd: Relayd) -> None:
    told = await said(relayd, SCRIPT, "errors")

    answer = told.pop("next")
    assert told == {
        "status": 400,
        "code": "previous_response_not_found",
        "param": "previous_response_id",
        "lane": "a",
    }
    assert answer["status"] == "completed"


async def test_a_key_without_websocket_is_told_to_post(relayd: Relayd) -> None:
    command = python_client(SCRIPT, base_url(relayd), POST_KEY, "chain")

    ended = await trio.run_process(command, capture_stderr=True, check=False)

    assert ended.returncode == 1
    assert b"HTTP 426" in ended.stderr


async def test_a_mistake_is_told_with_status_and_code_and_the_connection_goes_on(
    relayd: Relayd,
) -> None:
    told = await said(relayd, TALK, "mistakes")

    assert told["recoveries"] == [
        [400, "model_not_found"],
        [400, "invalid_stream_id"],
        [400, "invalid_stream_id"],
        [400, "missing_required_parameter"],
        [400, "unsupported_event"],
        [400, "response_not_running"],
        [400, "previous_response_not_found"],
    ]
    assert told["answers"] == ["echo hello"] * 7
    assert told["closes"] == []


# -- upstreams that fail

EXCHANGE: Final = {"command": "echo hello", "answer": "Answer 2. The tool said: hello"}

HIDDEN = (
    Scenario.RESTART_BEFORE_CREATED,
    Scenario.TRY_LATER_1013,
    Scenario.RESET_BEFORE_CREATED,
    Scenario.SERVER_ERROR,
    Scenario.ERROR_NO_STATUS,
    Scenario.ERROR_TOP_LEVEL,
    Scenario.CONNECTION_LIMIT,
)
"""In place of a response that may as well begin on another socket: the client hears nothing."""

HEARD = {
    Scenario.RESTART_1012: [502, "upstream_closed"],
    Scenario.RESET_MID_TURN: [502, "upstream_closed"],
    Scenario.HALF_FRAME: [502, "upstream_closed"],
    Scenario.BAD_UTF8: [502, "upstream_protocol_error"],
    Scenario.BINARY_FRAME: [502, "upstream_protocol_error"],
    Scenario.ERROR_MID_TURN: [500, "server_error"],
    Scenario.FAILED: ["failed", None],
    Scenario.INCOMPLETE: ["incomplete", None],
    Scenario.FORBIDDEN: [403, "unsupported_country_region_territory"],
    Scenario.OVERLOADED: [503, "server_is_overloaded"],
    Scenario.CLOSE_1009: [400, "message_too_big"],
}
"""Status and code as the SDK gives them, or the status of a response."""

OF_ACCOUNTS = {
    Scenario.UNAUTHORIZED: [503, "upstream_unavailable"],
    Scenario.USAGE_LIMIT: [429, None],
    Scenario.RATE_LIMITED: [429, "rate_limit_exceeded"],
}
"""The same for what an account is left alone for; here there is no other."""

HARMLESS = (
    Scenario.CODEX,
    Scenario.REORDERED,
    Scenario.FRAGMENTED,
    Scenario.BIG_EVENTS,
    Scenario.HUGE_EVENTS,
    Scenario.STRAY_EVENT,
    Scenario.TERMINAL_TWICE,
)

CHAINED = {
    Scenario.RESTART_BEFORE_CREATED: [502, "upstream_restart"],
    Scenario.TRY_LATER_1013: [502, "upstream_restart"],
    Scenario.RESET_BEFORE_CREATED: [502, "upstream_closed"],
    Scenario.RESTART_1012: [502, "upstream_closed"],
    Scenario.SERVER_ERROR: [500, "server_error"],
    Scenario.ERROR_NO_STATUS: [500, "server_error"],
    Scenario.ERROR_TOP_LEVEL: [500, "server_error"],
    Scenario.CONNECTION_LIMIT: [400, "websocket_connection_limit_reached"],
}
"""The same, to a turn that goes on from a response which is on that socket alone."""


def names(scenario: object) -> str:
    return scenario.value if isinstance(scenario, Scenario) else ""


@pytest.mark.parametrize("scenario", HIDDEN, ids=names)
async def test_what_comes_before_a_response_is_hidden(
    relayd: Relayd, stage: Stage, scenario: Scenario
) -> None:
    stage.upstreams["sim"].upstream.script.append(scenario)

    told = await said(relayd, TALK, "exchange")

    assert told == {
        "exchange": EXCHANGE,
        "recoveries": [],
        "closes": [],
        "created": 2,
        "ended": 2,
    }
    assert reasons(await turns(relayd, 2)) == ["completed", "completed"]
    assert stage.tally().turns == 3


@pytest.mark.parametrize("scenario", HEARD, ids=names)
async def test_an_error_is_one_event_with_status_and_code(
    relayd: Relayd, stage: Stage, scenario: Scenario
) -> None:
    stage.upstreams["sim"].upstream.script.append(scenario)

    told = await said(relayd, TALK, "exchange")

    assert (told["exchange"], told["recoveries"]) == (EXCHANGE, [HEARD[scenario]])
    assert told["ended"] == 3
    assert told["created"] in {2, 3}
    lines = await turns(relayd, 3)
    assert reasons(lines)[1:] == ["completed", "completed"]
    assert reasons(lines)[0] != "completed"


@pytest.mark.parametrize("scenario", OF_ACCOUNTS, ids=names)
async def test_what_an_account_is_left_alone_for_is_told_if_there_is_no_other(
    relayd: Relayd, stage: Stage, scenario: Scenario
) -> None:
    stage.upstreams["sim"].upstream.script.append(scenario)

    told = await said(relayd, TALK, "refused")

    assert told["recoveries"] == [OF_ACCOUNTS[scenario]]
    assert (told["created"], told["ended"]) == (0, 1)
    (left,) = relayd.of(LogEvent.ACCOUNT_COOLED) + relayd.of(LogEvent.ACCOUNT_DISABLED)
    assert left["account"] == "sim"


@pytest.mark.parametrize("scenario", HARMLESS, ids=names)
async def test_what_is_odd_but_harmless_is_no_hindrance(
    relayd: Relayd, stage: Stage, scenario: Scenario
) -> None:
    stage.upstreams["sim"].upstream.script += [Scenario.NORMAL, scenario]

    told = await said(relayd, TALK, "exchange")

    assert (told["exchange"], told["recoveries"]) == (EXCHANGE, [])
    assert (told["created"], told["ended"]) == (2, 2)
    assert reasons(await turns(relayd, 2)) == ["completed", "completed"]


@pytest.mark.parametrize("scenario", CHAINED, ids=names)
async def test_a_chain_that_is_cut_is_an_error_and_goes_on_anew(
    relayd: Relayd, stage: Stage, scenario: Scenario
) -> None:
    stage.upstreams["sim"].upstream.script += [Scenario.NORMAL, scenario]

    told = await said(relayd, TALK, "exchange")

    assert (told["exchange"], told["recoveries"]) == (EXCHANGE, [CHAINED[scenario]])


@pytest.mark.parametrize("scenario", [Scenario.RESTART_IDLE, Scenario.GOING_AWAY_1001], ids=names)
async def test_a_chain_whose_socket_went_between_turns_is_not_found(
    relayd: Relayd, stage: Stage, nursery: trio.Nursery, scenario: Scenario
) -> None:
    stage.upstreams["sim"].upstream.script.append(scenario)
    client = await Program.start(python_client(TALK, base_url(relayd), KEY, "paused"), nursery)
    await relayd.logged(LogEvent.SLOT_BROKEN)

    client.process.send_signal(signal.SIGUSR1)
    await client.until(lambda: len(client.lines) == 2)

    told = client.lines[-1]
    assert told["exchange"] == EXCHANGE
    assert told["recoveries"] == [[400, "previous_response_not_found"]]
    assert told["closes"] == []
    (missed,) = relayd.of(LogEvent.AFFINITY_MISSED)
    assert missed["reason"] == "socket_gone"


async def test_an_account_whose_key_is_refused_is_left_for_another(stage: Stage) -> None:
    refusing = await stage.upstream("refusing")
    serving = await stage.upstream("serving")
    refusing.scenario = Scenario.UNAUTHORIZED
    relayd = await stage.relayd()

    for _ in range(4):
        told = await said(relayd, TALK, "exchange")
        assert (told["exchange"], told["recoveries"]) == (EXCHANGE, [])

    assert {line["account"] for line in await turns(relayd, 8)} == {"serving"}
    assert serving.statistics().total.completed == 8
    await stopped_well(relayd)


# -- relayd is replaced


async def test_a_drain_between_turns_is_survived_on_a_new_connection(
    stage: Stage, nursery: trio.Nursery
) -> None:
    await stage.upstream()
    old = await stage.relayd()
    client = await Program.start(python_client(TALK, base_url(old), KEY, "drained"), nursery)
    await client.until(lambda: client.lines == ["idle"])

    drain(old)
    new = await stage.restarted(old)
    await client.until(lambda: len(client.lines) == 2)

    assert client.lines[-1] == {
        "exchanges": [
            {"command": "echo before", "answer": "Answer 2. The tool said: before"},
            {"command": "echo after", "answer": "Answer 4. The tool said: after"},
        ],
        "recoveries": [],
        "closes": [1012],
        "created": 4,
        "ended": 4,
    }
    assert [line["reason"] for line in old.of(LogEvent.SESSION_ENDED)] == ["drain"]
    assert crashes(old) == []
    await stopped_well(new)


async def test_a_drain_lets_a_running_response_end_first(
    stage: Stage, nursery: trio.Nursery
) -> None:
    await stage.upstream()
    old = await stage.relayd()
    client = await Program.start(python_client(TALK, base_url(old), KEY, "interrupted"), nursery)
    await client.until(lambda: client.lines == ["busy"])

    drain(old)
    new = await stage.restarted(old)
    await client.until(lambda: len(client.lines) == 2)

    told = client.lines[-1]
    assert told["slow"].startswith("Answer 3. You said: slowly")
    assert [each["command"] for each in told["exchanges"]] == ["echo before", "echo after"]
    assert (told["recoveries"], told["closes"]) == ([], [1012])
    assert (told["created"], told["ended"]) == (5, 5)
    assert reasons(old.of(LogEvent.TURN_ENDED)) == ["completed"] * 3
    assert [line["reason"] for line in old.of(LogEvent.SESSION_ENDED)] == ["drain"]
    assert crashes(old) == []
    await stopped_well(new)


async def test_a_relayd_that_is_killed_is_survived(stage: Stage, nursery: trio.Nursery) -> None:
    await stage.upstream()
    with pytest.RaisesGroup(subprocess.CalledProcessError):
        async with trio.open_nursery() as doomed:
            old = await stage.relayd(nursery=doomed)
            command = python_client(TALK, base_url(old), KEY, "killed")
            client = await Program.start(command, nursery)
            await client.until(lambda: client.lines == ["busy"])
            old.process.kill()

    new = await stage.relayd(port=port_of(old))
    await client.until(lambda: len(client.lines) == 2)

    told = client.lines[-1]
    assert told["slow"].startswith("Answer 3. You said: slowly")
    assert (told["recoveries"], told["closes"]) == (["lost"], [1006])
    await stopped_well(new)
