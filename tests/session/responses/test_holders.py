"""Lanes over shared and single sockets, steering, and what passes through to a running turn."""

from __future__ import annotations

import json
import socket

import attrs
import pytest
import trio

from relayd.config.accounts import UpstreamMode
from relayd.config.keys import BusyLane
from relayd.config.pools import PoolSettings
from relayd.observe.events import LogEvent
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.upstream import ResponsesUpstream
from tests.faults.harness import KEY
from tests.faults.responses import (
    CALLING,
    LAST,
    MODEL,
    Client,
    Event,
    ResponsesStage,
    check_terminals,
    output,
    playing,
)
from tests.faults.wire import TEXT, Wire, frame

NO_LANES = Scenario.NO_LANES
LANES = (None, "a", "b-2", "c.3")


async def side_by_side(client: Client) -> None:
    """A slow turn in each of several lanes."""
    for lane in LANES:
        fields = {} if lane is None else {"stream_id": lane}
        await client.ask(f"in {lane}", **fields, **playing(Scenario.SLOW))
    waiting = set(LANES)
    while waiting:
        told = await client.event()
        if told["type"] == "response.completed":
            lane = told.get("stream_id")
            waiting.remove(lane)
            said = told["response"]["output"][0]["content"][0]["text"]
            assert said == f"Answer 1. You said: in {lane}"
    check_terminals(client.seen)


async def test_lanes_share_a_socket_where_the_upstream_has_them(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await side_by_side(client)
        await side_by_side(client)
        lines = await scene.turns_ended(8)
        assert {line["lane"] for line in lines} == set(LANES)
        assert {(line["slot"], line["generation"]) for line in lines} == {(1, 1)}
        assert sorted(line["reused"] for line in lines) == [False] + [True] * 7
        await scene.at_rest()
        (account,) = scene.shared.pool.statistics()
        assert (account.sv_idle, account.leases) == (1, 2)


async def test_lanes_have_a_socket_each_where_the_upstream_has_none(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving(ResponsesUpstream(NO_LANES), lanes=False) as scene:
        client = await scene.client()
        await side_by_side(client)
        await side_by_side(client)
        assert {line["slot"] for line in await scene.turns_ended(8)} == {1, 2, 3, 4}
        assert scene.sim.statistics().upgrades == 4


async def test_a_lane_that_ends_leaves_the_socket_to_the_others(scenes: ResponsesStage) -> None:
    async with scenes.serving(pool=PoolSettings(slots_max=1)) as scene:
        client, other = await scene.client(), await scene.client()
        await client.ask(stream_id="long", **playing(Scenario.SILENT_TURN, sim_s="0.2"))
        for _ in range(3):
            await client.turn(stream_id="a")
        await other.ask()
        await client.answer("long")
        assert (await other.answer())["type"] == "response.completed"
        assert scene.sim.statistics().upgrades == 1
        (line,) = scene.relay.log.of(LogEvent.LEASE_WAITED)
        assert line["wait_ms"] > 0


async def test_a_33rd_lane_of_a_socket_gets_another(scenes: ResponsesStage) -> None:
    """Names are a socket's for life, and sessions that come after one another have their own."""
    async with scenes.serving() as scene:
        for name in ("first", "second"):
            client = await scene.client()
            for number in range(20):
                told = await client.turn(stream_id=f"{name}-{number}")
                assert told["type"] == "response.completed"
        assert scene.sim.statistics().upgrades == 2
        reasons = [line["reason"] for line in scene.relay.log.of(LogEvent.SLOT_ROTATED)]
        assert reasons == ["lanes_max"]


async def test_a_33rd_lane_beside_running_ones_gets_a_second_lease(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving() as scene:
        before = await scene.client()
        for number in range(31):
            await before.turn(stream_id=f"before-{number}")
        client = await scene.client()
        await client.ask(stream_id="a", **playing(Scenario.SILENT_TURN, sim_s="0.3"))
        await client.until("response.created")
        assert (await client.turn(stream_id="b"))["type"] == "response.completed"
        assert (await client.answer("a"))["type"] == "response.completed"
        assert scene.sim.statistics().upgrades == 2


async def test_no_more_than_16_run_at_once_and_all_get_their_turn(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        for number in range(20):
            await client.ask(stream_id=f"lane-{number}", **playing(Scenario.SLOW))
        ended = 0
        while ended < 20:
            ended += (await client.event())["type"] == "response.completed"
        starts = [each["stream_id"] for each in client.seen if each["type"] == "response.created"]
        assert set(starts[:16]) == {f"lane-{number}" for number in range(16)}
        assert starts[16:] == [f"lane-{number}" for number in range(16, 20)]
        lines = await scene.turns_ended(20)
        lines.sort(key=lambda line: line["queue_ms"])
        assert {line["lane"] for line in lines[16:]} == set(starts[16:])  # they waited longest
        assert lines[16]["queue_ms"] > 100


async def test_requests_of_a_lane_run_one_after_the_other(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        for number in range(5):
            await client.ask(f"number {number}", stream_id="a")
        said = [
            (await client.answer("a"))["response"]["output"][0]["content"][0]["text"]
            for _ in range(5)
        ]
        assert said == [f"Answer 1. You said: number {number}" for number in range(5)]


async def test_an_upstream_that_is_lost_ends_all_its_lanes_and_only_those(
    scenes: ResponsesStage,
) -> None:
    first, second = ResponsesUpstream(name="one"), ResponsesUpstream(name="two")
    async with scenes.serving(first, second, sessions_max=2) as scene:
        client = await scene.client()
        for lane in ("a", "b"):  # two at the first account, and the next at the other
            await client.ask(stream_id=lane, **playing(Scenario.SILENT_AFTER_CREATED))
            await client.until("response.created")
        await client.ask(stream_id="c", **playing(Scenario.SILENT_TURN, sim_s="0.2"))
        await client.until("response.created")
        slots = scene.shared.pool.statistics()
        assert [account.sv_active for account in slots] == [1, 1]
        holder = next(
            holder
            for session in scenes.made[-1].door.sessions.values()
            for holder in session._desk.holders._holders  # type: ignore[union-attr] # a Responses one
            if holder.lease.account.name == "account-1"
        )
        holder.lease.endpoint.sock.shutdown(socket.SHUT_RDWR)
        ends: dict[str, Event] = {}
        while len(ends) < 3:
            told = await client.event()
            if told["type"] in LAST:
                ends[told["stream_id"]] = told
        assert [ends[lane].get("status") for lane in ("a", "b", "c")] == [502, 502, None]
        assert ends["a"]["error"]["code"] == "upstream_closed"
        check_terminals(client.seen)


async def test_a_turn_joins_while_the_last_one_ends(scenes: ResponsesStage) -> None:
    """The end of one is in the air when the next begins on the same lease."""
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        await client.ask(stream_id="a")
        far = await upstream.accept_upgrade()
        for number in range(50):
            lane, other = ("a", "b") if number % 2 == 0 else ("b", "a")
            asked = json.loads((await far.frame()).payload)
            assert asked["stream_id"] == lane
            await said(far, lane, f"resp_{number}")
            await client.ask(stream_id=other)  # at once
            assert (await client.answer(lane))["response"]["id"] == f"resp_{number}"
        assert len(upstream.wires) == 1
        check_terminals(client.seen, cut=True)


async def said(far: Wire, lane: str, response_id: str) -> None:
    for kind in ("response.created", "response.completed"):
        event = {"type": kind, "stream_id": lane, "response": {"id": response_id}}
        await far.send(frame(TEXT, json.dumps(event).encode(), masked=False))


PREEMPTING = attrs.evolve(KEY, busy_lane=BusyLane.PREEMPT)


async def test_a_lane_that_is_preempted_takes_no_other_with_it(scenes: ResponsesStage) -> None:
    async with scenes.serving(key=PREEMPTING) as scene:
        client = await scene.client()
        await client.ask(stream_id="b", **playing(Scenario.SILENT_TURN, sim_s="0.3"))
        await client.until("response.created")
        await client.ask(stream_id="a", **playing(Scenario.SILENT_AFTER_CREATED))
        await client.until("response.created")
        await client.ask("instead", stream_id="a")
        assert (await client.answer("a"))["type"] == "response.incomplete"
        assert (await client.answer("b"))["type"] == "response.completed"
        assert [each for each in client.seen if each["type"] == "error"] == []
        check_terminals(client.seen, cut=True)


async def test_lanes_that_may_be_preempted_share_a_socket_where_their_chain_lives(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving(key=PREEMPTING) as scene:
        client = await scene.client()
        first = await client.turn(stream_id="a", store=False)
        parent = {"previous_response_id": first["response"]["id"], "store": False}
        await client.ask(stream_id="a", **parent, **playing(Scenario.SILENT_TURN, sim_s="0.3"))
        await client.until("response.created")
        told = await client.turn(stream_id="b", **parent)
        assert told["type"] == "response.completed"
        assert (await client.answer("a"))["type"] == "response.completed"
        lines = await scene.turns_ended(3)
        assert {line["slot"] for line in lines} == {1}
        assert lines[1]["wait_ms"] < 100


async def test_a_dedicated_socket_is_nobody_elses(scenes: ResponsesStage) -> None:
    async with scenes.serving(websocket=UpstreamMode.DEDICATED) as scene:
        for _ in range(2):
            client = await scene.client()
            await client.turn()
            await client.turn()
        assert [line["slot"] for line in await scene.turns_ended(4)] == [1, 1, 2, 2]


async def test_clients_with_other_headers_have_other_sockets(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        for headers in ({}, {"session_id": "x"}, {"openai_beta": "v2"}, {}, {"session_id": "x"}):
            await (await scene.client(**headers)).turn()
        assert [line["slot"] for line in await scene.turns_ended(5)] == [1, 2, 3, 1, 2]


# -- what concerns a running turn


def steer(response_id: str, text: str) -> Event:
    given = [{"role": "user", "content": text}]
    return {"type": "response.steer", "previous_response_id": response_id, "input": given}


async def test_a_steered_turn_has_a_line_for_each_response(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        await client.ask("a long story " * 5, stream_id="a", **playing(Scenario.SLOW))
        created = (await client.until("response.created"))[-1]
        await client.ask("waits", stream_id="a")
        await client.say(steer(created["response"]["id"], "be brief"))
        first = await client.answer("a")
        assert (first["type"], first["response"]["incomplete_details"]) == (
            "response.incomplete",
            {"reason": "steered"},
        )
        second, third = await client.answer("a"), await client.answer("a")
        assert (second["type"], third["type"]) == ("response.completed",) * 2
        check_terminals(client.seen)
        lines = await scene.turns_ended(3)
        assert [line["turn_id"] for line in lines] == [
            each["response"]["id"] for each in (first, second, third)
        ]
        assert [line["reason"] for line in lines] == ["incomplete", "completed", "completed"]
        assert all(line["tokens_in"] for line in lines)


async def test_steering_what_does_not_run_is_told_so(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        for _ in range(5):  # no mistake of the protocol's
            await client.say(steer("resp_x", "be brief"))
            told = await client.error()
            assert (told["status"], told["error"]["code"]) == (400, "response_not_running")
        assert (await client.turn())["type"] == "response.completed"


async def test_an_upstream_that_is_lost_before_the_successor_owes_its_client_an_end(
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
            {
                "type": "response.incomplete",
                "response": {"id": "resp_1", "incomplete_details": {"reason": "steered"}},
            },
        ):
            await far.send(frame(TEXT, json.dumps(event).encode(), masked=False))
        assert (await client.answer())["type"] == "response.incomplete"
        far.reset()
        told = await client.answer()
        assert (told["status"], told["error"]["code"]) == (502, "upstream_closed")
        assert "resp_1" not in told["error"]["message"]
        assert (await scene.turn_ended())["reason"] == "incomplete"


async def test_an_unknown_event_goes_to_the_turn_of_its_lane_as_it_is(
    scenes: ResponsesStage,
) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        await client.ask(stream_id="a")
        far = await upstream.accept_upgrade()
        await far.frame()
        said = b'{"type":"response.inject", "stream_id":"a", "x":1e0}'
        await client.say(said)
        assert (await far.frame()).payload == said


async def test_a_tool_call_is_answered(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        told = await client.turn("run ls", store=False, **CALLING)
        (item,) = told["response"]["output"]
        told = await client.turn(
            [output(item["call_id"], "a file")],
            store=False,
            previous_response_id=told["response"]["id"],
        )
        assert "a file" in told["response"]["output"][0]["content"][0]["text"]
        assert [line["tool_calls"] for line in await scene.turns_ended(2)] == [1, 0]


async def test_a_warm_up_is_a_turn_without_output(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        told = await client.turn(generate=False, store=False)
        assert told["response"]["output"] == []
        told = await client.turn(
            "now", previous_response_id=told["response"]["id"], store=False, model=MODEL
        )
        assert told["type"] == "response.completed"
        assert [line["warm_up"] for line in await scene.turns_ended(2)] == [True, False]


@pytest.mark.parametrize("lanes", [True, False])
async def test_large_events_of_several_lanes_arrive_whole(
    scenes: ResponsesStage, *, lanes: bool
) -> None:
    upstream = ResponsesUpstream() if lanes else ResponsesUpstream(NO_LANES)
    async with scenes.serving(upstream, lanes=lanes) as scene:
        client = await scene.client()
        for lane in ("a", "b", "c"):
            await client.ask(stream_id=lane, **playing(Scenario.HUGE_EVENTS))
        waiting = {"a", "b", "c"}
        with trio.fail_after(20):
            while waiting:
                told = await client.event()
                if told["type"] == "response.completed":
                    waiting.remove(told["stream_id"])
        check_terminals(client.seen)
