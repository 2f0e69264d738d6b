"""Stopping: politely at the first signal, at once at the second."""

from __future__ import annotations

import json

import pytest
import trio

from relayd.observe.events import LogEvent
from tests.faults.harness import BEARER, CREATE, PASSTHROUGH, REALTIME, Stage, account, one_end
from tests.faults.wire import TEXT, Wire, frame, upgrade

CREATED = b'{"type":"response.created","response":{"id":"r1"}}'
DONE = b'{"type":"response.done","response":{"id":"r1","status":"completed"}}'


async def test_an_idle_session_gets_1012_at_once(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream), drain_s=30.0) as relay:
        client, far = await relay.session(upstream)
        relay.running.drain()
        assert await client.goodbye() == 1012
        assert await far.goodbye() == 1000
        await relay.stopped()

    line = one_end(stage.log)
    assert (line["reason"], line["fault"]) == ("drain", "none")
    assert stage.log.of(LogEvent.SERVER_STOPPED)[0]["cause"] == "drained"


async def test_a_busy_session_gets_1012_after_its_response(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, provider="compatible"), drain_s=30.0) as relay:
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        assert (await far.frame()).payload == CREATE
        relay.running.drain()
        await relay.log.wait(LogEvent.DRAIN_STARTED)
        await far.send(frame(TEXT, CREATED, masked=False))
        assert (await client.frame()).payload == CREATED

        await client.send(frame(TEXT, CREATE))  # another one is refused meanwhile
        error = json.loads((await client.frame()).payload)
        assert (error["type"], error["error"]["code"]) == ("error", "draining")

        await far.send(frame(TEXT, DONE, masked=False))
        assert (await client.frame()).payload == DONE
        assert await client.goodbye() == 1012
        assert await far.goodbye() == 1000
        await relay.stopped()

    line = one_end(stage.log)
    assert (line["reason"], line["turns"]) == ("drain", 1)


async def test_what_still_runs_at_the_drain_s_deadline_gets_1012(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, provider="compatible"), drain_s=0.3) as relay:
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        await far.frame()
        began = trio.current_time()
        relay.running.drain()
        assert await client.goodbye() == 1012
        took_s = trio.current_time() - began
        assert await far.goodbye() == 1000
        await relay.stopped()

    assert 0.25 < took_s < 1.0
    assert stage.log.of(LogEvent.TURN_ENDED)[0]["reason"] == "drain"


async def test_a_second_signal_ends_a_busy_session_at_once(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, provider="compatible"), drain_s=30.0) as relay:
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        await far.frame()
        relay.running.drain()
        await relay.log.wait(LogEvent.DRAIN_STARTED)
        relay.running.stop()
        assert await client.goodbye() == 1012
        assert await far.goodbye() == 1000
        await relay.stopped()

    assert one_end(stage.log)["reason"] == "drain"
    assert stage.log.of(LogEvent.SERVER_STOPPED)[0]["cause"] == "stopped"


async def test_a_drain_takes_no_new_connection(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, provider="compatible"), drain_s=30.0) as relay:
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        await far.frame()
        unfinished = await relay.client()
        await unfinished.send(upgrade(PASSTHROUGH, BEARER)[:-2])
        admitted = await relay.asking(REALTIME)
        slow = await upstream.accept()

        relay.running.drain()
        await relay.log.wait(LogEvent.DRAIN_STARTED)
        with pytest.raises(ConnectionRefusedError):
            await relay.client()
        await unfinished.send(b"\r\n")
        assert (await relay.refusal(unfinished)).status in (404, 503)
        slow.close()
        assert (await relay.refusal(admitted)).status in (502, 503)
        relay.running.stop()
        await client.goodbye()
        await far.goodbye()
        await relay.stopped()


async def test_a_drain_does_not_wait_for_a_request_that_is_never_finished(stage: Stage) -> None:
    async with stage.relay(drain_s=30.0) as relay:
        silent = await relay.client()
        await silent.send(b"GET / HT")
        await settled_in(relay.running.addresses[0], relay.clients)
        began = trio.current_time()
        relay.running.drain()
        assert (await relay.refusal(silent)).status == 408
        silent.close()
        await relay.stopped()

    assert trio.current_time() - began < 1.8


async def settled_in(address: str, clients: list[Wire]) -> None:
    """Until relayd has accepted every connection before this one: it answers in order."""
    last = await Wire.to(address)
    clients.append(last)
    await last.send(b"GET /nowhere HTTP/1.1\r\nHost: relayd\r\n\r\n")
    await last.end()


async def test_stopping_refuses_a_connection_that_is_still_being_admitted(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = await relay.asking()
        far = await upstream.accept()
        relay.running.stop()
        response = await relay.refusal(client)
        await far.end()
        await relay.stopped()

    assert response.status == 503
    line = one_end(stage.log)
    assert (line["status"], line["reason"]) == (503, "draining")
