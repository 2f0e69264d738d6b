"""Where requests go that go on from something: chains, sessions, tool outputs."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.keys import Recovery
from relayd.config.pools import PoolSettings
from relayd.config.snapshot import Snapshot
from relayd.observe.events import LogEvent
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.upstream import ResponsesUpstream
from tests.faults.harness import KEY
from tests.faults.responses import CALLING, Client, Event, ResponsesStage, output, playing

NOT_FOUND = (400, "previous_response_not_found", "previous_response_id")


def found(told: Event) -> bool:
    return bool(told["type"] == "response.completed")


def missed(told: Event) -> tuple[int, str, str]:
    error = told["error"]
    return told["status"], error["code"], error["param"]


async def test_a_chain_goes_on_over_its_own_socket_from_another_connection(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving() as scene:
        first = await (await scene.client()).turn(store=False)
        await scene.at_rest()
        other = await scene.client()
        told = await other.turn("more", previous_response_id=first["response"]["id"], store=False)
        assert found(told)
        assert told["response"]["usage"]["input_tokens_details"]["cached_tokens"] > 0
        assert [line["reused"] for line in await scene.turns_ended(2)] == [False, True]


async def test_a_chain_waits_for_its_own_socket(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client, other = await scene.client(), await scene.client()
        first = await client.turn(store=False)
        await client.ask(**playing(Scenario.SILENT_TURN, sim_s="0.2"))
        await client.until("response.created")
        told = await other.turn("more", previous_response_id=first["response"]["id"], store=False)
        assert found(told)
        lines = await scene.turns_ended(3)
        assert {line["slot"] for line in lines} == {1}
        assert lines[-1]["wait_ms"] > 100


@pytest.mark.parametrize("own", [True, False])
async def test_a_chain_whose_socket_is_gone_is_not_found_at_once(
    scenes: ResponsesStage, *, own: bool
) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        first = await client.turn(store=False)
        await client.turn(stream_id="a", **playing(Scenario.ERROR_MID_TURN))
        other = client if own else await scene.client()
        told = await other.turn("more", previous_response_id=first["response"]["id"], store=False)
        assert missed(told) == NOT_FOUND
        assert scene.sim.statistics().upgrades == 1
        (line,) = scene.relay.log.of(LogEvent.AFFINITY_MISSED)
        assert (line["reason"], line["account"]) == ("socket_gone", "account-1")
        assert found(await other.turn("all of it", store=False))


async def test_a_chain_that_waits_is_told_when_its_socket_goes(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client, other = await scene.client(), await scene.client()
        first = await client.turn(store=False)
        await client.ask(**playing(Scenario.SILENT_AFTER_CREATED))
        await client.until("response.created")
        await other.ask("more", previous_response_id=first["response"]["id"], store=False)
        await trio.testing.wait_all_tasks_blocked(0.01)
        client.wire.reset()
        assert missed(await other.answer()) == NOT_FOUND


async def test_a_stored_chain_goes_on_at_its_account_over_any_socket(
    scenes: ResponsesStage,
) -> None:
    first, second = ResponsesUpstream(name="one"), ResponsesUpstream(name="two")
    async with scenes.serving(first, second) as scene:
        client = await scene.client()
        told = await client.turn("one")
        await client.turn(stream_id="a", **playing(Scenario.ERROR_MID_TURN))
        told = await client.turn("two", previous_response_id=told["response"]["id"])
        assert found(told)
        assert told["response"]["id"].startswith("resp_one_2")
        assert second.statistics().upgrades == 0


async def test_a_stored_chain_of_an_account_that_is_gone_is_not_found(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving(ResponsesUpstream(), ResponsesUpstream()) as scene:
        client = await scene.client()
        told = await client.turn("one")
        parts = scenes.made[-1]
        settings = parts.snapshot.settings
        snapshot = Snapshot.of(attrs.evolve(settings, accounts=settings.accounts[1:]))
        parts.roster.update(snapshot.accounts)
        told = await client.turn("two", previous_response_id=told["response"]["id"])
        assert missed(told) == NOT_FOUND
        assert found(await client.turn("one and two"))


async def test_a_chain_that_changes_to_a_model_its_account_lacks_is_not_found(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving(ResponsesUpstream(), ResponsesUpstream()) as scene:
        client = await scene.client()
        told = await client.turn("one")
        roster = scenes.made[-1].roster
        accounts = [standing.account for standing in roster.standings()]
        roster.update([attrs.evolve(accounts[0], models=("gpt-5.2",)), accounts[1]])
        told = await client.turn(
            "two", previous_response_id=told["response"]["id"], model="gpt-5.3"
        )
        assert missed(told) == NOT_FOUND


async def test_chains_are_each_tenants_own(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        told = await (await scene.client()).turn(store=False)
        await scene.turns_ended(1)
        chains = scene.shared.chains
        assert await chains.find("dev", told["response"]["id"]) is not None
        assert await chains.find("other", told["response"]["id"]) is None


async def test_a_response_that_is_unknown_here_may_be_known_there(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        told = await (await scene.client()).turn(previous_response_id="resp_elsewhere")
        assert missed(told) == NOT_FOUND  # by the upstream's own word
        assert scene.sim.statistics().total.turns == 1


async def test_a_failed_turn_evicts_its_parent(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        first = await client.turn(store=False)
        previous = {"previous_response_id": first["response"]["id"], "store": False}
        assert (await client.turn(**previous, **playing(Scenario.FAILED)))["type"] == (
            "response.failed"
        )
        assert missed(await client.turn("again", **previous)) == NOT_FOUND
        (line,) = scene.relay.log.of(LogEvent.AFFINITY_MISSED)
        assert line["reason"] == "unknown"


async def test_a_socket_that_makes_room_takes_its_chains_along(scenes: ResponsesStage) -> None:
    pool = PoolSettings(slots_max=1)
    async with scenes.serving(pool=pool) as scene:
        client = await scene.client(session_id="one")
        other = await scene.client(session_id="two")
        first = await client.turn(store=False)
        assert found(await other.turn())
        told = await client.turn("more", previous_response_id=first["response"]["id"], store=False)
        assert missed(told) == NOT_FOUND
        assert len(scene.relay.log.of(LogEvent.SLOT_EVICTED)) == 1


async def test_a_session_stays_at_the_account_that_served_it(scenes: ResponsesStage) -> None:
    first, second = ResponsesUpstream(name="one"), ResponsesUpstream(name="two")
    async with scenes.serving(first, second) as scene:
        client = await scene.client(session_id="mine")
        await client.turn(**playing(Scenario.OVERLOADED))
        assert client.seen[-1]["type"] == "error"  # both were asked: the scenario is the turn's
        await scene.shared.chains.served_by("dev", "mine", "account-2", 0.0)
        assert found(await client.turn())
        assert client.seen[-1]["response"]["id"].startswith("resp_two")
        nobody = await scene.client()
        assert found(await nobody.turn())
        assert nobody.seen[-1]["response"]["id"].startswith("resp_one")


INJECTING = attrs.evolve(KEY, recovery=Recovery.INJECT_PREVIOUS_ID)


async def called(client: Client, **fields: object) -> tuple[str, str]:
    """A turn that calls a tool: the response's id and the call's."""
    told = await client.turn("run ls", **CALLING, **fields)
    (item,) = told["response"]["output"]
    return told["response"]["id"], item["call_id"]


async def test_outputs_alone_go_on_from_the_response_that_asked_for_them(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving(key=INJECTING) as scene:
        client = await scene.client()
        response_id, call_id = await called(client, store=False)
        told = await client.turn([output(call_id)], store=False)
        assert found(told)
        assert told["response"]["previous_response_id"] == response_id
        lines = await scene.turns_ended(2)
        assert [line["tool_calls"] for line in lines] == [1, 0]
        # They wait no longer.
        again = await client.turn([output(call_id)], store=False)
        assert again["type"] == "error"
        assert "No tool call found" in again["error"]["message"]


async def test_outputs_go_nowhere_by_themselves_unless_the_key_says_so(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        _, call_id = await called(client)
        told = await client.turn([output(call_id)])
        assert "No tool call found" in told["error"]["message"]


async def test_a_whole_history_is_not_taken_for_outputs_alone(scenes: ResponsesStage) -> None:
    async with scenes.serving(key=INJECTING) as scene:
        client = await scene.client()
        told = await client.turn("run ls", **CALLING)
        (item,) = told["response"]["output"]
        history = [{"role": "user", "content": "run ls"}, item, output(item["call_id"])]
        told = await client.turn(history)
        assert found(told)
        assert told["response"]["previous_response_id"] is None


async def test_a_request_keeps_every_byte_but_for_what_is_put_in(scenes: ResponsesStage) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        said = b' {"input" :"\\u00e9", "model":"gpt-5.2","unknown":[1.0e3],"stream_id":"a" } '
        await client.say(said)
        far = await upstream.accept_upgrade()
        got = (await far.frame()).payload
        assert json.loads(got) == {**json.loads(said), "type": "response.create"}
        assert b'"unknown":[1.0e3]' in got
        await client.say(b'{"type":"response.create","stream_id":"b","model":"gpt-5.2", "z":1e0}')
        assert (await far.frame()).payload == (
            b'{"type":"response.create","stream_id":"b","model":"gpt-5.2", "z":1e0}'
        )


async def test_what_is_remembered_is_forgotten_after_an_hour(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    async with scenes.serving() as scene:
        chains = scene.shared.chains
        told = await (await scene.client()).turn()
        await scene.turns_ended(1)
        assert await chains.find("dev", told["response"]["id"]) is not None
        patient.jump(3601.0)
        assert await chains.find("dev", told["response"]["id"]) is None


async def test_a_turn_waits_for_an_account_that_rests_for_a_moment(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        (standing,) = scenes.made[-1].roster.standings()
        standing.health.cooled_until = trio.current_time() + 0.2
        told = await client.turn("patience")
        assert found(told)
        (line,) = await scene.turns_ended(1)
        assert line["duration_ms"] >= 200


async def test_a_turn_does_not_wait_for_one_that_rests_for_longer(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.client()
        (standing,) = scenes.made[-1].roster.standings()
        standing.health.cooled_until = trio.current_time() + 60.0
        told = await client.turn("impatience")
        assert (told["status"], told["error"]["code"]) == (503, "gateway_busy")
