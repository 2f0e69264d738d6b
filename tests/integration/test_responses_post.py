"""The real openai SDK talks to the Responses API through relayd, by POST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from relayd.sim.responses.scenario import Scenario
from tests.integration.conftest import Relayd
from tests.integration.responses_stage import (
    POST_KEY,
    Stage,
    reasons,
    said,
    stopped_well,
    turns,
)

pytestmark = pytest.mark.slow

SCRIPT = "openai_responses_post.py"
AT_ONCE = 40


@pytest.fixture
def stage(nursery: trio.Nursery, tmp_path: Path) -> Stage:
    """A stage without upstreams."""
    return Stage(tmp_path, nursery)


@pytest.fixture
async def relayd(stage: Stage) -> AsyncIterator[Relayd]:
    """One relayd with one upstream; the client's key may not use WebSockets."""
    await stage.upstream()
    started = await stage.relayd()
    yield started
    await stopped_well(started)


async def test_a_chain_that_is_not_stored_goes_on_over_one_socket(
    relayd: Relayd, stage: Stage
) -> None:
    told = await said(relayd, SCRIPT, "chain", key=POST_KEY)

    assert [turn["text"] for turn in told] == [
        "Answer 1. You said: one",
        "Answer 2. You said: two",
        "Answer 3. You said: three",
    ]
    lines = await turns(relayd, 3)
    assert [line["turn_id"] for line in lines] == [turn["id"] for turn in told]
    assert [line["tokens_in"] for line in lines] == [turn["tokens_in"] for turn in told]
    assert [line["reused"] for line in lines] == [False, True, True]
    assert stage.upstreams["sim"].connections_total == 1


async def test_events_come_as_a_stream(relayd: Relayd) -> None:
    told = await said(relayd, SCRIPT, "stream", key=POST_KEY)

    assert told["text"] == "Answer 1. You said: hi"
    assert told["types"][0] == "response.created"
    assert told["types"][-1] == "response.completed"
    assert told["types"].count("response.output_text.delta") > 1


async def test_a_tool_is_called_and_answered_in_streams(relayd: Relayd) -> None:
    told = await said(relayd, SCRIPT, "tools", key=POST_KEY)

    assert told["command"] == "echo hello"
    assert told["text"] == "Answer 2. The tool said: hello"


async def test_many_at_once_are_each_answered(relayd: Relayd) -> None:
    told = await said(relayd, SCRIPT, "many", AT_ONCE, key=POST_KEY)

    assert told == [f"Answer 1. You said: number {number}" for number in range(AT_ONCE)]
    assert reasons(await turns(relayd, AT_ONCE)) == ["completed"] * AT_ONCE


HIDDEN = (
    Scenario.RESTART_BEFORE_CREATED,
    Scenario.RESET_BEFORE_CREATED,
    Scenario.SERVER_ERROR,
    Scenario.ERROR_TOP_LEVEL,
    Scenario.CONNECTION_LIMIT,
)
"""In place of a response that may as well begin on another socket: the client hears nothing."""

HEARD = {
    Scenario.RESTART_1012: ([502, "upstream_closed"], ["in the stream", "upstream_closed"]),
    Scenario.RESET_MID_TURN: ([502, "upstream_closed"], ["in the stream", "upstream_closed"]),
    Scenario.ERROR_MID_TURN: ([500, "server_error"], ["in the stream", "server_error"]),
    Scenario.FAILED: (["failed"], ["response.failed"]),
    Scenario.INCOMPLETE: (["incomplete"], ["response.incomplete"]),
    Scenario.BIG_EVENTS: (["completed"], ["response.completed"]),
    Scenario.FRAGMENTED: (["completed"], ["response.completed"]),
    Scenario.REORDERED: (["completed"], ["response.completed"]),
    Scenario.CODEX: (["completed"], ["response.completed"]),
    Scenario.CLOSE_1009: ([400, "message_too_big"], [400, "message_too_big"]),
}
"""A document, or its status and code; and the last event, or where the error came."""

OF_ACCOUNTS = {
    Scenario.UNAUTHORIZED: [503, "upstream_unavailable"],
    Scenario.USAGE_LIMIT: [429, None],
    Scenario.RATE_LIMITED: [429, "rate_limit_exceeded"],
}
"""The same for what an account is left alone for; here there is no other."""


def names(scenario: object) -> str:
    return scenario.value if isinstance(scenario, Scenario) else ""


@pytest.mark.parametrize("scenario", HIDDEN, ids=names)
async def test_what_comes_before_a_response_is_hidden(
    relayd: Relayd, stage: Stage, scenario: Scenario
) -> None:
    stage.upstreams["sim"].upstream.script += [scenario, Scenario.NORMAL, scenario]

    told = await said(relayd, SCRIPT, "fault", key=POST_KEY)

    assert told == {
        "document": ["completed"],
        "stream": ["response.completed"],
        "next": "Answer 1. You said: hi",
    }
    assert reasons(await turns(relayd, 3)) == ["completed"] * 3


@pytest.mark.parametrize("scenario", HEARD, ids=names)
async def test_an_upstream_that_fails_is_an_error_of_its_kind(
    relayd: Relayd, stage: Stage, scenario: Scenario
) -> None:
    stage.upstreams["sim"].upstream.script += [scenario, scenario]

    told = await said(relayd, SCRIPT, "fault", key=POST_KEY)

    document, stream = HEARD[scenario]
    assert told == {"document": document, "stream": stream, "next": "Answer 1. You said: hi"}
    lines = await turns(relayd, 3)
    assert (lines[0]["reason"] == "completed") == (document == ["completed"])


@pytest.mark.parametrize("scenario", OF_ACCOUNTS, ids=names)
async def test_what_an_account_is_left_alone_for_is_told_if_there_is_no_other(
    relayd: Relayd, stage: Stage, scenario: Scenario
) -> None:
    stage.upstreams["sim"].upstream.script.append(scenario)

    assert await said(relayd, SCRIPT, "refused", key=POST_KEY) == OF_ACCOUNTS[scenario]


async def test_a_client_that_leaves_closes_its_upstreams_socket(
    relayd: Relayd, stage: Stage
) -> None:
    stage.upstreams["sim"].upstream.script.append(Scenario.SILENT_AFTER_CREATED)

    assert await said(relayd, SCRIPT, "leave", key=POST_KEY) == "response.created"

    (line,) = await turns(relayd, 1)
    assert line["reason"] == "client_gone"
    assert stage.upstreams["sim"].connections == 0
