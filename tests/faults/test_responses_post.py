"""``POST /v1/responses``: turns for clients without a WebSocket."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.dialects import ResponsesSettings
from relayd.config.pools import PoolSettings
from relayd.config.schema import KeySettings
from relayd.observe.events import LogEvent
from relayd.session.responses.way import Way
from relayd.sim.responses.scenario import Scenario
from tests.faults.harness import KEY, Stage
from tests.faults.responses import (
    CALLING,
    LAST,
    Event,
    ResponsesStage,
    asked,
    check_terminals,
    in_file,
    output,
    patient_clock,
    playing,
    rows,
)
from tests.faults.wire import Response, Wire


@pytest.fixture
def scenes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> ResponsesStage:
    return ResponsesStage.of(stage, monkeypatch)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    return patient_clock(monkeypatch)


def body(given: object = "hello", **fields: object) -> Event:
    """What a client posts."""
    said = asked(given, **fields)
    del said["type"]
    return said


def unchunked(data: bytes) -> bytes:
    """The content of a chunked body, which must be whole."""
    content = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        content += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
        if length == 0:
            assert data == b""
            return content


def events_of(response: Response) -> list[Event]:
    """The events of a stream; each is named by its type."""
    assert response.status == 200
    assert "text/event-stream" in response.head
    events = []
    for block in unchunked(response.body).split(b"\n\n"):
        lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]
        if lines:
            name, data = lines
            event = json.loads(data.removeprefix(b"data: "))
            assert name == b"event: " + event["type"].encode()
            events.append(event)
    return events


def error_of(response: Response) -> dict[str, Any]:
    """The error of a response in OpenAI's shape."""
    error: dict[str, Any] = json.loads(response.body)["error"]
    assert set(error) >= {"type", "code", "message", "param"}
    return error


async def test_a_response_is_one_document(scenes: ResponsesStage) -> None:
    folder = scenes.stage.folder
    async with scenes.serving(ledger=in_file(folder)) as scene:
        response = await scene.post(body("hello there"))
        assert response.status == 200
        document = json.loads(response.body)
        assert (document["object"], document["status"]) == ("response", "completed")
        assert document["output"][0]["content"][0]["text"] == "Answer 1. You said: hello there"
        line = await scene.turn_ended()
        assert (line["reason"], line["turn_id"]) == ("completed", document["id"])
        assert (line["tokens_in"], line["lane"], line["reused"]) == (2, None, False)
        await scene.at_rest()
        assert scene.shared.pool.statistics()[0].sv_idle == 1
    (row,) = rows(folder)
    assert (row["upstream_id"], row["tokens_in"]) == (document["id"], 2)
    assert row["session_id"] == line["session_id"]


async def test_a_response_is_a_stream_of_events(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        told = events_of(await scene.post(body(stream=True)))
        assert (told[0]["type"], told[-1]["type"]) == ("response.created", "response.completed")
        assert [each["sequence_number"] for each in told] == list(range(len(told)))
        check_terminals(told)
        assert (await scene.turn_ended())["reason"] == "completed"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on_over_posts_and_websockets(
    scenes: ResponsesStage, *, stream: bool
) -> None:
    async with scenes.serving() as scene:
        response = await scene.post(body("run ls", store=False, stream=stream, **CALLING))
        told = events_of(response)[-1]["response"] if stream else json.loads(response.body)
        (item,) = told["output"]
        client = await scene.client()
        last = await client.turn(
            [output(item["call_id"], "a file")], store=False, previous_response_id=told["id"]
        )
        assert "a file" in last["response"]["output"][0]["content"][0]["text"]
        again = await scene.post(
            body("more", store=False, previous_response_id=last["response"]["id"])
        )
        assert again.status == 200
        assert scene.sim.statistics().upgrades == 1


FIRST = [
    (Scenario.SERVER_ERROR, 500, "server_error", {}),
    (Scenario.ERROR_NO_STATUS, 500, "server_error", {}),
    (Scenario.ERROR_TOP_LEVEL, 500, "server_error", {}),
    (Scenario.OVERLOADED, 503, "server_is_overloaded", {"retry-after": "1"}),
    (Scenario.UNAUTHORIZED, 503, "upstream_unavailable", {"retry-after": "1"}),
    (Scenario.FORBIDDEN, 403, "unsupported_country_region_territory", {}),
    (
        Scenario.RATE_LIMITED,
        429,
        "rate_limit_exceeded",
        {"retry-after": "1", "x-ratelimit-remaining-requests": "0"},
    ),
    (
        Scenario.USAGE_LIMIT,
        429,
        None,
        {"x-should-retry": "false", "x-codex-primary-used-percent": "100.0"},
    ),
    (Scenario.RESTART_BEFORE_CREATED, 502, "upstream_restart", {}),
    (Scenario.RESET_BEFORE_CREATED, 502, "upstream_closed", {}),
    (Scenario.CLOSE_1009, 400, "message_too_big", {}),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("scenario", "status", "code", "headers"), FIRST, ids=lambda each: getattr(each, "value", "")
)
async def test_an_error_that_comes_first_is_the_status(
    scenes: ResponsesStage,
    scenario: Scenario,
    status: int,
    code: str | None,
    headers: dict[str, str],
    *,
    stream: bool,
) -> None:
    async with scenes.serving() as scene:
        response = await scene.post(body(stream=stream, **playing(scenario)))
        assert (response.status, error_of(response)["code"]) == (status, code)
        sent = dict(line.lower().split(": ", 1) for line in response.head.split("\r\n")[1:] if line)
        assert sent.items() >= headers.items()
        assert ("x-should-retry" in sent) is ("x-should-retry" in headers)
        assert await scene.turn_ended()
        await scene.at_rest()


@pytest.mark.parametrize(
    "scenario", [Scenario.RESTART_1012, Scenario.RESET_MID_TURN, Scenario.ERROR_MID_TURN]
)
async def test_an_error_behind_the_first_event_is_in_the_stream(
    scenes: ResponsesStage, scenario: Scenario
) -> None:
    async with scenes.serving() as scene:
        told = events_of(await scene.post(body(stream=True, **playing(scenario))))
        assert (told[0]["type"], told[-1]["type"]) == ("response.created", "error")
        assert told[-1]["status"] >= 500
        check_terminals(told)
        document = await scene.post(body(**playing(scenario)))
        assert document.status >= 500
        assert error_of(document)["type"] == "server_error"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_that_failed_or_is_incomplete_is_a_response(
    scenes: ResponsesStage, *, stream: bool
) -> None:
    async with scenes.serving() as scene:
        for scenario, status in ((Scenario.FAILED, "failed"), (Scenario.INCOMPLETE, "incomplete")):
            response = await scene.post(body(stream=stream, **playing(scenario)))
            assert response.status == 200
            told = events_of(response)[-1]["response"] if stream else json.loads(response.body)
            assert told["status"] == status


MISTAKES: list[tuple[bytes, int, str]] = [
    (b"[]", 400, "invalid_json"),
    (b"{", 400, "invalid_json"),
    (b'{"input":"x"}', 400, "missing_required_parameter"),
    (b'{"model":"gpt-5.2","model":"x"}', 400, "invalid_json"),
    (b'{"model":"gpt-5.2","stream":"yes"}', 400, "invalid_type"),
    (b'{"model":"gpt-5.2","stream_id":"a"}', 400, "invalid_parameter"),
    (b'{"type":"response.steer","previous_response_id":"r"}', 400, "invalid_parameter"),
    (b'{"model":"other"}', 400, "model_not_found"),
    (
        b'{"model":"gpt-5.2","previous_response_id":"r","store":false}',
        400,
        "previous_response_not_found",
    ),
]


@pytest.mark.parametrize(("said", "status", "code"), MISTAKES)
async def test_a_mistake_is_told_in_openais_shape(
    scenes: ResponsesStage, said: bytes, status: int, code: str
) -> None:
    async with scenes.serving() as scene:
        response = await scene.post(said)
        assert (response.status, error_of(response)["code"]) == (status, code)
        assert scene.sim.statistics().upgrades == 0


@pytest.mark.parametrize(
    ("limited", "status", "code"),
    [
        (attrs.evolve(KEY, models=("gpt-4*",)), 403, "model_not_allowed"),
        (attrs.evolve(KEY, dialects=("realtime",)), 403, "dialect_not_allowed"),
        (attrs.evolve(KEY, enabled=False), 401, "invalid_api_key"),
    ],
    ids=["model", "dialect", "key"],
)
async def test_what_a_key_may_not_do_is_refused(
    scenes: ResponsesStage, limited: KeySettings, status: int, code: str
) -> None:
    async with scenes.serving(key=limited) as scene:
        response = await scene.post(body())
        assert (response.status, error_of(response)["code"]) == (status, code)


async def gone(client: Wire) -> None:
    """The client leaves in the middle."""
    while b"response.created" not in client.seen:
        await client.receive()
    client.reset()


async def test_a_client_that_leaves_frees_its_socket_at_once(scenes: ResponsesStage) -> None:
    async with scenes.serving(pool=PoolSettings(slots_max=1)) as scene:
        silent = playing(Scenario.SILENT_AFTER_CREATED)
        await gone(await scene.posting(body(stream=True, **silent)))
        assert (await scene.post(body())).status == 200
        first, second = await scene.turns_ended(2)
        assert (first["reason"], second["reason"]) == ("client_gone", "completed")
        assert first["turn_id"] is not None
        (line,) = scene.relay.log.of(LogEvent.SLOT_BROKEN)
        assert line["reason"] == "client_gone"


async def test_a_client_that_leaves_before_anything_came_frees_its_socket(
    scenes: ResponsesStage,
) -> None:
    async with scenes.serving(pool=PoolSettings(slots_max=1)) as scene:
        client = await scene.posting(body(**playing(Scenario.SILENT_BEFORE_CREATED)))
        await scene.relay.log.wait(LogEvent.SLOT_OPENED)
        client.reset()
        assert (await scene.turn_ended())["reason"] == "client_gone"
        assert (await scene.post(body())).status == 200


async def test_a_slow_client_slows_its_upstream_down(scenes: ResponsesStage) -> None:
    async with scenes.serving() as scene:
        client = await scene.posting(body(stream=True, **playing(Scenario.BIG_EVENTS)))
        while b"response.created" not in client.seen:
            await client.receive()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert scene.relay.hold.bytes_held < 16 << 20
        while b"response.completed" not in client.seen[-4000:]:
            data = await client.receive()
            if b"event: response.completed" in data or data.endswith(b"0\r\n\r\n"):
                break
        assert (await scene.turn_ended())["reason"] == "completed"


async def test_a_silent_stream_is_kept_alive_by_events(
    scenes: ResponsesStage, patient: MockClock
) -> None:
    times = ResponsesSettings(keepalive_s=0.5)
    async with scenes.serving(times=times) as scene:
        silent = playing(Scenario.SILENT_TURN, sim_s="2")
        told = events_of(await scene.post(body(stream=True, **silent)))
        assert [each["type"] for each in told].count("codex.keepalive") >= 2
        assert told[-1]["type"] in LAST


async def test_a_drain_lets_a_post_end(scenes: ResponsesStage) -> None:
    async with scenes.serving(drain_s=30.0) as scene:
        client = await scene.posting(
            body(stream=True, **playing(Scenario.SILENT_TURN, sim_s="0.3"))
        )
        while b"response.created" not in client.seen:
            await client.receive()
        scene.relay.running.drain()
        await client.end()
        told = events_of(Response.parse(bytes(client.seen)))
        assert told[-1]["type"] == "response.completed"
        await scene.relay.stopped()


async def test_a_bug_is_an_error_500(
    scenes: ResponsesStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken_find(_: Way) -> None:
        raise RuntimeError("a bug")

    async with scenes.serving() as scene:
        with monkeypatch.context() as patch:
            patch.setattr(Way, "find", broken_find)
            response = await scene.post(body())
            assert (response.status, error_of(response)["code"]) == (500, "internal")
        assert (await scene.post(body())).status == 200
        assert len(scene.relay.log.of(LogEvent.REQUEST_CRASHED)) == 1
