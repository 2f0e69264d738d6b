"""What the bus hears of sessions and turns in each dialect: everything, once, and in its order."""

from __future__ import annotations

import json

from relayd.observe.bus import (
    AccountChanged,
    AccountFailed,
    AccountStanding,
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
from tests.faults.harness import CREATE, REALTIME, Stage, accepted, account
from tests.faults.heard import SECRET, Heard
from tests.faults.test_failover import error, realtime
from tests.faults.wire import TEXT, Wire, close, frame

CALL = {"type": "function_call", "name": "look_up", "call_id": "call_1", "arguments": SECRET}
USAGE = {"input_tokens": 3, "output_tokens": 4}
RESPONSE = {"id": "resp_1", "status": "completed", "output": [CALL], "usage": USAGE}

ONE_TURN = [TurnStarted, TurnFirstOutput, TurnToolCalled, UsageCharged, TurnEnded]


async def say(far: Wire, kind: str, **fields: object) -> None:
    """An event of an upstream."""
    await far.send(frame(TEXT, json.dumps({"type": kind, **fields}).encode(), masked=False))


async def leave(client: Wire, far: Wire) -> None:
    await client.send(close(1000))
    await far.goodbye()
    await client.goodbye()


# -- realtime


async def test_a_realtime_session_and_its_turn(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, "main", provider="compatible")) as relay:
        heard = Heard.on(relay)
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        assert (await far.frame()).payload == CREATE
        await say(far, "response.created", response={"id": "resp_1"})
        for _ in range(2):
            await say(far, "response.output_text.delta", response_id="resp_1", delta=SECRET)
        await say(far, "response.done", response=RESPONSE)
        for _ in range(4):
            await client.frame()
        await leave(client, far)
        await relay.log.session_ended()

    assert heard.kinds == [SessionOpened, UpstreamConnected, *ONE_TURN, SessionEnded]
    heard.check()
    (called,) = heard.of(TurnToolCalled)
    assert (called.turn_id, called.name, called.call_id) == ("resp_1", "look_up", "call_1")
    (first,), (ended,) = heard.of(TurnFirstOutput), heard.of(TurnEnded)
    assert first.ttft_ms == ended.ttft_ms
    (over,) = heard.of(SessionEnded)
    for event in heard.events:
        assert not isinstance(event, AccountFailed | AccountChanged)
        assert event.session == over.session
    assert (over.session.account, over.session.tenant) == ("main", "dev")


async def test_a_realtime_session_that_fails_over_tells_of_both_accounts(stage: Stage) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    async with stage.relay(*realtime(first, second)) as relay:
        heard = Heard.on(relay)
        client = await relay.asking(REALTIME)
        await (await first.accept_upgrade(error("invalid_api_key"))).end()
        far = await second.accept_realtime()
        await accepted(client)
        await client.frame()
        await leave(client, far)
        await relay.log.session_ended()

    assert heard.kinds == [
        *(AccountFailed, AccountChanged, SessionFailedOver, SessionOpened),
        *(UpstreamConnected, SessionEnded),
    ]
    (changed,), (failed_over,) = heard.of(AccountChanged), heard.of(SessionFailedOver)
    assert (changed.account, changed.state) == ("account-1", AccountStanding.DISABLED)
    assert (failed_over.account_from, failed_over.reason) == ("account-1", "invalid_api_key")
    assert failed_over.session.account == "account-2"
    (opened,) = heard.of(SessionOpened)
    assert failed_over.session == opened.session


async def test_a_turn_whose_session_is_cut_ends_once(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, "main", provider="compatible")) as relay:
        heard = Heard.on(relay)
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        await far.frame()
        await say(far, "response.created", response={"id": "resp_1"})
        await client.frame()
        client.reset()
        await far.goodbye()
        await relay.log.session_ended()

    assert heard.kinds[2:] == [TurnStarted, UsageCharged, TurnEnded, SessionEnded]
    heard.check()


# -- passthrough


async def test_a_passthrough_session_has_no_turns(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        heard = Heard.on(relay)
        client, far = await relay.session(upstream)
        await leave(client, far)
        await relay.log.session_ended()

    assert heard.kinds == [
        *(SessionOpened, UpstreamConnected, UsageCharged, SessionEnded),
    ]
    heard.check()
