"""A client's WebSocket: its upgrade, its signs of life, and what becomes of it and of its bytes."""

from __future__ import annotations

import json
from decimal import Decimal

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.dialects import ResponsesSettings
from relayd.config.pools import PoolSettings
from relayd.observe.events import LogEvent
from relayd.sim.responses.scenario import Scenario
from tests.faults.harness import KEY, accepted
from tests.faults.responses import (
    LARGE,
    PATH,
    Client,
    ResponsesStage,
    asked,
    check_terminals,
    playing,
)
from tests.faults.test_responses_aborts import PRICES
from tests.faults.wire import CONTINUATION, TEXT, close, frame

QUICK = ResponsesSettings(keepalive_s=0.4)


async def test_a_client_is_let_in_before_any_upstream_is_dialled(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        assert scene.sim.statistics().upgrades == 0
        await client.wire.send(close(1000))
        assert await client.wire.goodbye() == 1000
        line = await scene.relay.log.session_ended()
        assert (line["reason"], line["turns"], line["account"]) == ("client_closed", 0, None)


@pytest.mark.parametrize("offer", ["permessage-deflate; client_max_window_bits"])
async def test_compression_is_declined(scenes: ResponsesStage, offer: str) -> None:
    async with scenes.serving() as scene:
        wire = await scene.relay.asking(PATH, headers={"Sec-WebSocket-Extensions": offer})
        head = await wire.head()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-extensions" not in head.lower()


async def test_a_key_without_websockets_is_sent_to_post(scenes: ResponsesStage) -> None:
    async with scenes.serving(key=attrs.evolve(KEY, websocket=False)) as scene:
        refused = await scene.relay.refusal(await scene.relay.asking(PATH))
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (426, "websocket_off")
        body = asked()
        del body["type"]
        assert (await scene.post(body)).status == 200


@pytest.mark.parametrize(
    "limited",
    [
        attrs.evolve(KEY, sessions_max=1),
        attrs.evolve(KEY, requests_per_minute=1),
    ],
    ids=["sessions", "requests"],
)
async def test_limits_refuse_an_upgrade_with_503(scenes: ResponsesStage, limited: object) -> None:
    async with scenes.serving(key=limited) as scene:  # type: ignore[arg-type] # a key's settings
        client = await scene.client()
        await client.turn()
        refused = await scene.relay.refusal(await scene.relay.asking(PATH))
        assert refused.status == 503
        assert "Retry-After" in refused.head


async def test_a_silent_turn_is_kept_alive_by_events(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    async with scenes.serving(times=QUICK) as scene:
        client = await scene.client()
        began = trio.current_time()
        await client.ask(stream_id="a", **playing(Scenario.SILENT_TURN, sim_s="2"))
        end = await client.answer("a")
        assert end["type"] == "response.completed"
        assert trio.current_time() - began < 3
        created = client.seen[0]["response"]["id"]
        alive = [
            each
            for each in client.seen
            if each["type"] == "response.in_progress" and "sequence_number" not in each
        ]
        assert 3 <= len(alive) <= 5
        assert {each["stream_id"] for each in alive} == {"a"}
        assert {each["response"]["id"] for each in alive} == {created}


async def test_a_turn_that_has_not_begun_is_kept_alive_by_an_event_that_nobody_knows(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    times = attrs.evolve(QUICK, first_event_s=2.0)
    async with scenes.serving(times=times, pool=PoolSettings(slots_max=1)) as scene:
        client, other = await scene.client(), await scene.client()
        await client.ask(**playing(Scenario.SILENT_BEFORE_CREATED))
        await scene.relay.log.wait(LogEvent.SLOT_OPENED)
        await other.ask(stream_id="b")  # which waits for a socket
        assert (await client.answer())["error"]["code"] == "upstream_timeout"
        assert (await other.answer("b"))["type"] == "response.completed"
        for each, lane in ((client, None), (other, "b")):
            kinds = [told["type"] for told in each.seen if told.get("stream_id") == lane]
            assert kinds.count("codex.keepalive") >= 3


async def test_nobody_is_kept_alive_who_is_sent_something(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    async with scenes.serving(times=QUICK) as scene:
        client = await scene.client()
        told = await client.turn("a word " * 60, **playing(Scenario.SLOW))
        assert told["type"] == "response.completed"
        assert not [each for each in client.seen if "sequence_number" not in each]
        await trio.sleep(3)  # and nobody who waits for nothing
        await client.wire.send(close(1000))
        assert (await client.wire.frame()).close_code == 1000


async def test_a_sign_of_life_is_never_inside_a_message(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    """An event over 1 MiB goes on in pieces: what is relayd's waits for its end."""
    upstream = await scenes.stage.upstream()
    times = attrs.evolve(QUICK, idle_s=30.0)
    async with scenes.serving(upstream, times=times) as scene:
        client = await scene.client()
        await client.ask()
        far = await upstream.accept_upgrade()
        await far.frame()
        for event in (
            {"type": "response.created", "response": {"id": "resp_1"}},
            {"type": "response.output_text.delta", "delta": "x"},
        ):
            await far.send(frame(TEXT, json.dumps(event).encode(), masked=False))
        await client.until("response.output_text.delta")
        large = b'{"type":"response.output_text.delta","delta":"%b"}' % (b"x" * (3 << 20))
        half = len(large) // 2
        await far.send(frame(TEXT, large[:half], masked=False, fin=False))
        first = await client.wire.frame()
        assert (first.opcode, first.fin) == (TEXT, False)
        await trio.sleep(2.0)
        await far.send(frame(CONTINUATION, large[half:], masked=False))
        whole, last = first.payload, first
        while not last.fin:
            last = await client.wire.frame()
            assert last.opcode in {CONTINUATION, 9}
            if last.opcode == CONTINUATION:
                whole += last.payload
        assert whole == large
        alive = await client.event()
        assert (alive["type"], alive["response"]["id"]) == ("response.in_progress", "resp_1")


async def test_a_socket_lost_inside_a_long_message_ends_the_session(
    scenes: ResponsesStage,
) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        await client.ask()
        far = await upstream.accept_upgrade()
        await far.frame()
        for event in (
            {"type": "response.created", "response": {"id": "resp_1"}},
            {"type": "response.output_text.delta", "delta": "x"},
        ):
            await far.send(frame(TEXT, json.dumps(event).encode(), masked=False))
        await client.until("response.output_text.delta")
        large = b'{"type":"response.output_text.delta","delta":"%b"}' % (b"x" * (3 << 20))
        await far.send(frame(TEXT, large[: len(large) // 2], masked=False, fin=False))
        await client.wire.frame()
        far.reset()
        await client.wire.until_close()
        line = await scene.relay.log.session_ended()
        assert line["reason"] == "upstream_lost_mid_frame"
        assert (await scene.turn_ended())["reason"] == "upstream_lost"


async def test_a_session_counts_what_it_was_sent(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        sent = [json.dumps(asked("one")), json.dumps(asked("two", stream_id="a")), "[]"]
        for message in sent:
            await client.say(message)
        await client.answer()
        while "a" not in {each.get("stream_id") for each in client.seen} or not [
            each
            for each in client.seen
            if each.get("stream_id") == "a" and each["type"] == "response.completed"
        ]:
            await client.event()
        await client.wire.send(close(1000))
        await client.wire.goodbye()
        line = await scene.relay.log.session_ended()
        assert (line["messages_up"], line["bytes_up"]) == (3, sum(map(len, sent)))
        assert line["messages_down"] == len(client.seen)
        assert (line["turns"], line["tokens_in"], line["tokens_out"]) == (2, 2, 10)


async def test_the_bytes_of_requests_are_counted_until_they_end(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await client.ask("x" * 100_000, **playing(Scenario.SILENT_AFTER_CREATED))
        await client.ask("y" * 200_000)
        await client.until("response.created")
        assert scene.relay.hold.bytes_held > 300_000
        client.wire.reset()
        await scene.relay.log.session_ended()
        await scene.at_rest()
        assert scene.relay.hold.bytes_held < 5_000


async def test_no_more_is_held_than_may_be(scenes: ResponsesStage) -> None:
    limits = attrs.evolve(LARGE, hold_max_bytes=1 << 20)
    async with scenes.serving(limits=limits) as scene:
        client = await scene.client()
        await client.ask(**playing(Scenario.SILENT_AFTER_CREATED))
        created = (await client.until("response.created"))[-1]
        await client.wire.send(frame(TEXT, b"x" * (2 << 20)))
        told = await client.answer()
        assert (told["status"], told["error"]["code"]) == (503, "gateway_busy")
        assert created["response"]["id"] in told["error"]["message"]
        assert await client.closed() == 1013
        assert (await scene.relay.log.session_ended())["reason"] == "overload"


async def test_a_budget_that_is_spent_meanwhile_ends_the_session_behind_its_turn(
    scenes: ResponsesStage,
) -> None:
    key = attrs.evolve(KEY, budget_usd=Decimal("0.000001"))
    async with scenes.serving(key=key, prices=PRICES) as scene:
        client = await scene.client()
        told = await client.turn(max_output_tokens=1)
        assert told["status"] == 429
        assert await client.closed() == 1008


async def test_many_clients_over_few_sockets(scenes: ResponsesStage) -> None:
    async with scenes.serving(pool=PoolSettings(slots_max=3)) as scene:
        clients = [await scene.client() for _ in range(12)]

        async def converse(client: Client) -> None:
            for number in range(4):
                told = await client.turn(f"number {number}")
                assert told["type"] == "response.completed"
            check_terminals(client.seen)

        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(converse, client)
        await scene.turns_ended(48)
        await scene.at_rest()
        (account,) = scene.shared.pool.statistics()
        assert (account.leases, account.sv_idle) == (48, 3)
        assert account.reused == 45
        assert scene.sim.statistics().upgrades == 3
        assert scene.relay.log.of(LogEvent.SLOT_BROKEN) == []


async def test_a_bare_101_is_waited_for(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        wire = await scene.relay.asking(PATH)
        await accepted(wire)
        assert bytes(wire.buffer) == b""
