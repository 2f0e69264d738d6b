"""What the bus hears of chat requests: each thing once, while it happens, and of no session."""

from __future__ import annotations

import pytest

from relayd.observe.bus import (
    AccountFailed,
    SessionFailedOver,
    TurnEnded,
    TurnFirstOutput,
    TurnStarted,
    TurnToolCalled,
    UpstreamConnected,
    UsageCharged,
)
from relayd.observe.events import LogEvent
from tests.faults.chat import SID, USAGE, Client, answer, said, serve, spark
from tests.faults.harness import Stage
from tests.faults.heard import SECRET, Heard

CALL = {"name": "look_up", "arguments": SECRET}
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
TURN = [TurnStarted, TurnFirstOutput, UsageCharged, TurnEnded]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_a_turn(stage: Stage, stream: bool) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        heard = Heard.on(relay)
        client = await Client.asking(relay, stream=stream)
        await serve(upstream, *answer(SECRET, SECRET, "!"))
        await client.head()
        await relay.log.wait(LogEvent.TURN_ENDED)

    assert heard.kinds == [UpstreamConnected, *TURN]
    heard.check()
    (first,), (ended,) = heard.of(TurnFirstOutput), heard.of(TurnEnded)
    assert (first.turn_id, ended.turn_id) == (SID, SID)
    assert first.ttft_ms == ended.ttft_ms
    assert ended.session.session_id.startswith("req_")


async def test_a_tool_that_is_called_is_told_by_its_name(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        heard = Heard.on(relay)
        client = await Client.asking(relay, tools=TOOLS)
        await serve(upstream, said("", 2, usage=USAGE, content_type="text", function_call=CALL))
        await client.json()

    (called,) = heard.of(TurnToolCalled)
    assert (called.turn_id, called.name, called.call_id) == (SID, "look_up", None)
    assert heard.kinds.index(TurnToolCalled) < heard.kinds.index(TurnEnded)
    heard.check()


async def test_a_request_that_another_account_answers_is_one_turn(stage: Stage) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    accounts = spark(first, "one"), spark(second, "two", priority=1)
    async with stage.relay(*accounts) as relay:
        heard = Heard.on(relay)
        client = await Client.asking(relay)
        await serve(first, said(code=10008, message="Busy."))
        await serve(second, *answer("yes"))
        assert (await client.json())["choices"][0]["message"]["content"] == "yes"

    (failed_over,) = heard.of(SessionFailedOver)
    assert (failed_over.account_from, failed_over.session.account) == ("one", "two")
    assert failed_over.reason == "overloaded"
    assert [event.session.account for event in heard.of(UpstreamConnected)] == ["one", "two"]
    assert heard.kinds[-4:] == TURN
    heard.check()


async def test_a_request_that_fails_ends_as_a_turn_that_began(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        heard = Heard.on(relay)
        client = await Client.asking(relay)
        await serve(upstream, said(code=10013, message="No."))
        await client.json()

    assert client.status == 400
    assert heard.of(AccountFailed) == []
    (ended,) = heard.of(TurnEnded)
    assert ended.reason == "content_filter"
    heard.check()
