"""The real openai SDK talks to the simulated Responses API."""

from __future__ import annotations

import pytest
import trio

from relayd.sim.responses.tally import Tally
from relayd.sim.responses.upstream import ResponsesUpstream
from relayd.sim.server import SimServer, serve
from tests.integration.conftest import python_client, run_client

pytestmark = pytest.mark.slow

KEY = "sim-key"


@pytest.fixture
async def sim(nursery: trio.Nursery) -> SimServer[ResponsesUpstream]:
    """A simulated upstream on a port of its own."""
    server: SimServer[ResponsesUpstream] = await nursery.start(serve, ResponsesUpstream())
    return server


async def client(sim: SimServer[ResponsesUpstream], mode: str, *arguments: object) -> object:
    """What the SDK reports of ``mode``."""
    command = python_client("openai_responses.py", sim.base_url, KEY, mode, *arguments)
    (result,) = await run_client(command)
    assert sim.crashes == 0
    return result


def tally(sim: SimServer[ResponsesUpstream]) -> Tally:
    return sim.upstream.statistics().of_key(KEY)


async def test_a_chain_goes_on_and_is_counted(sim: SimServer[ResponsesUpstream]) -> None:
    turns = await client(sim, "chain")

    assert isinstance(turns, list)
    assert [turn["text"] for turn in turns] == [
        "Answer 1. You said: one",
        "Answer 2. You said: two",
        "Answer 3. You said: three",
    ]
    told = tally(sim)
    assert (told.turns, told.completed, told.untold) == (3, 3, 0)
    assert told.usage.input_tokens == sum(turn["tokens_in"] for turn in turns)
    assert told.usage.cached_tokens == sum(turn["tokens_cached"] for turn in turns) > 0
    assert told.usage.output_tokens == sum(turn["tokens_out"] for turn in turns)


async def test_a_tool_is_called_and_answered(sim: SimServer[ResponsesUpstream]) -> None:
    result = await client(sim, "tools")

    assert isinstance(result, dict)
    assert result["command"] == "echo hello"
    assert result["text"] == "Answer 2. The tool said: hello"


async def test_more_lanes_than_may_be_active(sim: SimServer[ResponsesUpstream]) -> None:
    answers = await client(sim, "lanes", 24)

    assert isinstance(answers, dict)
    assert {lane: answer["text"] for lane, answer in answers.items()} == {
        f"lane{number}": f"Answer 1. You said: number {number}" for number in range(24)
    }


async def test_a_response_is_steered(sim: SimServer[ResponsesUpstream]) -> None:
    result = await client(sim, "steer")

    assert isinstance(result, list)
    steered, successor = result
    assert steered["status"] == "incomplete"
    assert successor["text"].startswith("Answer 2. You said: enough")


async def test_an_error_leaves_the_connection_usable(sim: SimServer[ResponsesUpstream]) -> None:
    result = await client(sim, "errors")

    assert isinstance(result, dict)
    answer = result.pop("next")
    assert result == {
        "status": 400,
        "code": "previous_response_not_found",
        "param": "previous_response_id",
        "lane": "a",
    }
    assert answer["status"] == "completed"
