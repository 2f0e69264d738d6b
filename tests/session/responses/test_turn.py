"""Attempts that a client does not see, and the turn's place and bill."""

from __future__ import annotations

import json
import os
import socket

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.dialects import ResponsesSettings
from relayd.observe.events import LogEvent
from relayd.session.responses.shared import RETRY_S
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.upstream import ResponsesUpstream
from tests.faults.harness import KEY, Upstream
from tests.faults.responses import ResponsesStage, check_terminals, playing
from tests.faults.wire import TEXT, Wire, close, frame


async def begun(upstream: Upstream) -> Wire:
    """A scripted upstream's connection that has had its create."""
    far = await upstream.accept_upgrade()
    assert json.loads((await far.frame()).payload)["type"] == "response.create"
    return far


async def tell(far: Wire, *events: dict[str, object]) -> None:
    for event in events:
        await far.send(frame(TEXT, json.dumps(event).encode(), masked=False))


def whole(response_id: str = "resp_1", **lane: str) -> tuple[dict[str, object], ...]:
    """The events of a whole response."""
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    return (
        {"type": "response.created", **lane, "response": {"id": response_id}},
        {"type": "response.completed", **lane, "response": {"id": response_id, "usage": usage}},
    )


async def complete(far: Wire, response_id: str = "resp_1", **lane: str) -> None:
    """A whole response."""
    await tell(far, *whole(response_id, **lane))


def error(status: int, code: str, kind: str = "server_error") -> dict[str, object]:
    return {
        "type": "error",
        "status": status,
        "error": {"type": kind, "code": code, "message": "m"},
    }


LOSSES = [close(1012, masked=False), close(1013, masked=False), close(1001, masked=False), b""]


@pytest.mark.parametrize("loss", LOSSES, ids=["1012", "1013", "1001", "eof"])
async def test_a_socket_that_is_lost_before_anything_was_seen_is_replaced_once_and_then_elsewhere(
    scenes: ResponsesStage, loss: bytes
) -> None:
    first, second = await scenes.stage.upstream(), await scenes.stage.upstream()
    async with scenes.serving(first, second) as scene:
        client = await scene.client()
        await client.ask(stream_id="a")
        for _ in range(2):
            far = await begun(first)
            await far.send(loss)
            await far.finish()
        await complete(await begun(second), stream_id="a")
        assert (await client.answer("a"))["response"]["id"] == "resp_1"
        assert [each["type"] for each in client.seen] == ["response.created", "response.completed"]
        line = await scene.turn_ended()
        assert (line["account"], line["reason"], line["turn_id"]) == (
            "account-2",
            "completed",
            "resp_1",
        )
        assert (line["tokens_in"], line["tokens_out"], line["reused"]) == (3, 2, False)


ERRORS = [
    (error(401, "invalid_api_key", "invalid_request_error"), "account.disabled"),
    (error(429, "rate_limit_exceeded", "rate_limit_error"), "account.cooled"),
    (error(429, "usage_limit_reached", "usage_limit_reached"), "account.cooled"),
    (error(503, "server_is_overloaded"), None),
]


@pytest.mark.parametrize(("said", "change"), ERRORS, ids=lambda each: "")
async def test_an_account_that_cannot_serve_is_passed_over_unseen(
    scenes: ResponsesStage, said: dict[str, object], change: str | None
) -> None:
    first, second = await scenes.stage.upstream(), await scenes.stage.upstream()
    async with scenes.serving(first, second) as scene:
        client = await scene.client()
        await client.ask()
        await tell(await begun(first), said)
        await complete(await begun(second))
        assert (await client.answer())["type"] == "response.completed"
        assert (await scene.turn_ended())["account"] == "account-2"
        changes = scene.relay.log.of(LogEvent.ACCOUNT_DISABLED, LogEvent.ACCOUNT_COOLED)
        assert [line["event"] for line in changes] == ([change] if change else [])


async def test_an_error_behind_the_101_is_about_the_turn_that_opened_the_socket(
    scenes: ResponsesStage,
) -> None:
    first, second = await scenes.stage.upstream(), await scenes.stage.upstream()
    async with scenes.serving(first, second) as scene:
        client = await scene.client()
        await client.ask()
        said = json.dumps(error(401, "invalid_api_key", "invalid_request_error")).encode()
        await first.accept_upgrade(frame(TEXT, said, masked=False) + close(1008, masked=False))
        await complete(await begun(second))
        assert (await client.answer())["type"] == "response.completed"
        assert (await scene.relay.log.wait(LogEvent.ACCOUNT_DISABLED))["account"] == "account-1"
        assert len(first.wires) == 1


async def test_an_upstream_that_cannot_be_reached_is_passed_over(scenes: ResponsesStage) -> None:
    first, second = await scenes.stage.upstream(), await scenes.stage.upstream()
    first.close()
    first.sock = trio.socket.socket()
    await first.sock.bind(("127.0.0.1", 0))  # and does not listen
    async with scenes.serving(first, second) as scene:
        client = await scene.client()
        await client.ask()
        await complete(await begun(second))
        assert (await client.answer())["type"] == "response.completed"
        assert scene.relay.log.of(LogEvent.UPSTREAM_FAILED)[0]["account"] == "account-1"


async def test_a_socket_that_is_too_old_is_replaced_unseen(scenes: ResponsesStage) -> None:
    async with scenes.serving(ResponsesUpstream(connection_max_s=0.15)) as scene:
        client = await scene.client()
        assert (await client.turn())["type"] == "response.completed"
        await trio.sleep(0.2)
        assert (await client.turn())["type"] == "response.completed"
        assert [each["type"] for each in client.seen].count("error") == 0


async def test_leftovers_of_an_earlier_turn_are_not_the_next_clients(
    scenes: ResponsesStage,
) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client, other = await scene.client(), await scene.client()
        await client.ask()
        far = await begun(upstream)
        await complete(far)
        await client.answer()
        await scene.at_rest()
        await other.ask("next")
        await far.frame()
        await tell(far, {"type": "response.output_text.delta", "delta": "of the first one"})
        await complete(await begun(upstream), "resp_2")
        assert (await other.answer())["response"]["id"] == "resp_2"
        assert [each["type"] for each in other.seen] == ["response.created", "response.completed"]
        (line,) = scene.relay.log.of(LogEvent.SLOT_BROKEN)
        assert line["reason"] == "upstream_protocol"


async def test_what_was_seen_is_not_tried_again(scenes: ResponsesStage) -> None:
    first, second = await scenes.stage.upstream(), await scenes.stage.upstream()
    async with scenes.serving(first, second) as scene:
        client = await scene.client()
        await client.ask(stream_id="a")
        far = await begun(first)
        await tell(far, {"type": "response.created", "stream_id": "a", "response": {"id": "r"}})
        await client.event()
        await tell(far, error(429, "rate_limit_exceeded", "rate_limit_error") | {"stream_id": "a"})
        told = await client.answer("a")
        assert (told["status"], told["error"]["code"]) == (429, "rate_limit_exceeded")
        assert (await scene.turn_ended())["turn_id"] == "r"


async def test_the_accounts_own_mistake_is_not_told_though_the_response_was_seen(
    scenes: ResponsesStage,
) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        await client.ask()
        far = await begun(upstream)
        await tell(far, {"type": "response.created", "response": {"id": "resp_1"}})
        await client.event()
        await tell(far, error(401, "invalid_api_key", "invalid_request_error"))
        told = await client.answer()
        assert (told["status"], told["error"]["code"]) == (503, "upstream_unavailable")
        assert "resp_1" in told["error"]["message"]
        check_terminals(client.seen)


async def test_attempts_end_after_five_seconds(scenes: ResponsesStage, patient: MockClock) -> None:
    first, second = await scenes.stage.upstream(), await scenes.stage.upstream()
    async with scenes.serving(first, second) as scene:
        client = await scene.client()
        await client.ask()
        far = await begun(first)
        await trio.sleep(RETRY_S + 0.1)
        await far.send(close(1012, masked=False))
        told = await client.answer()
        assert (told["status"], told["error"]["code"]) == (502, "upstream_restart")
        assert second.wires == []


async def test_a_request_that_waited_in_its_lane_has_its_five_seconds(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        await client.ask()
        await client.ask("waits")
        far = await begun(upstream)
        await trio.sleep(2 * RETRY_S)
        await complete(far)
        await client.answer()
        await far.frame()
        await far.send(close(1012, masked=False))
        await complete(await begun(upstream), "resp_2")
        assert (await client.answer())["response"]["id"] == "resp_2"
        _, line = await scene.turns_ended(2)
        assert line["queue_ms"] == pytest.approx(2000 * RETRY_S, abs=200)


async def test_limits_are_asked_once_for_all_attempts(scenes: ResponsesStage) -> None:
    first, second = await scenes.stage.upstream(), await scenes.stage.upstream()
    key = attrs.evolve(KEY, requests_per_minute=2)
    async with scenes.serving(first, second, key=key) as scene:
        client = await scene.client()
        await client.ask()
        await (await begun(first)).finish()
        await (await begun(first)).finish()
        far = await begun(second)
        await complete(far)
        await client.answer()
        await client.ask()
        far = await begun(first)
        await complete(far, "resp_2")
        assert (await client.answer())["type"] == "response.completed"
        told = await client.turn()
        assert (told["status"], told["error"]["code"]) == (503, "gateway_rate_limited")


async def test_an_error_that_is_the_requests_own_is_told_as_it_came(scenes: ResponsesStage) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        await client.ask()
        said = error(400, "context_length_exceeded", "invalid_request_error") | {"more": [1]}
        await tell(await begun(upstream), said)
        assert await client.answer() == said
        assert len(upstream.wires) == 1


async def test_a_long_error_is_told_in_the_tables_words(scenes: ResponsesStage) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        await client.ask()
        said = error(400, "invalid_prompt", "invalid_request_error") | {"long": "x" * 100_000}
        await tell(await begun(upstream), said)
        told = await client.answer()
        assert (told["status"], told["error"]["message"]) == (502, "m")
        await client.ask()
        await complete(await begun(upstream))
        assert (await client.answer())["type"] == "response.completed"


async def test_a_client_that_leaves_behind_the_end_is_billed_for_it(scenes: ResponsesStage) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        await client.ask(store=True)
        far = await begun(upstream)
        said = [frame(TEXT, json.dumps(event).encode(), masked=False) for event in whole()]
        with socket.socket(fileno=os.dup(far.sock.fileno())) as sock:
            assert sock.send(b"".join(said)) == len(b"".join(said))
        client.wire.reset()  # no other task has run: both are found in one pass
        line = await scene.turn_ended()
        assert (line["reason"], line["tokens_in"], line["turn_id"]) == ("completed", 3, "resp_1")

        assert await scene.shared.chains.find("dev", "resp_1") is not None


async def test_an_upstreams_life_is_that_of_its_socket(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    """Another lane's events show that the upstream is alive."""
    times = ResponsesSettings(idle_s=0.5, total_s=4.0)
    async with scenes.serving(times=times) as scene:
        client = await scene.client()
        await client.ask(stream_id="silent", **playing(Scenario.SILENT_TURN, sim_s="1.5"))
        for _ in range(5):
            await client.turn(stream_id="a", **playing(Scenario.SLOW))
        while not any(
            each.get("stream_id") == "silent" and each["type"] == "response.completed"
            for each in client.seen
        ):
            await client.turn(stream_id="a", **playing(Scenario.SLOW))
        assert not [each for each in client.seen if each["type"] == "error"]
