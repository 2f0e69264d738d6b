"""Chat requests end to end: a relayd in this process, upstreams that are played by hand."""

from __future__ import annotations

import re

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent
from tests.faults import chat
from tests.faults.chat import (
    DONE,
    MODEL,
    SID,
    Client,
    answer,
    said,
    serve,
    spark,
    take,
    wired,
)
from tests.faults.harness import KEY, TIMEOUTS, Stage

NEXT_STEP = attrs.evolve(TIMEOUTS, connect_s=1.0, first_frame_s=1.0, idle_s=1.0)


async def test_a_stream(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=True, stream_options={"include_usage": True})
        await serve(upstream, *answer("Hel", "lo", "!"))
        events = await client.events()

    assert client.status == 200
    assert client.headers["content-type"] == "text/event-stream"
    assert client.headers["x-upstream-sid"] == SID
    *chunks, done = events
    assert done == DONE
    deltas = [c["choices"][0]["delta"] for c in chunks[:-1]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {"content": "!"},
        {},
    ]
    assert chat.finishes_of(events) == ["stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 9,
        "total_tokens": 14,
    }
    assert {c["model"] for c in chunks} == {MODEL}
    assert len({c["id"] for c in chunks}) == 1
    assert all(c["usage"] is None for c in chunks[:-1])


async def test_one_document(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        await serve(upstream, *answer("Hel", "lo"))
        body = await client.json()

    assert client.status == 200
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == "Hello"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == 14


async def test_the_aliases_of_the_path_and_a_get(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        for path in ("/chat/completions", "/openai/v1/chat/completions"):
            wire = await relay.client()
            await wire.send(chat.asking(path))
            await serve(upstream, *answer("yes"))
            assert (await Client(wire).json())["choices"][0]["message"]["content"] == "yes"
        wire = await relay.client()
        await wire.send(chat.asking().replace(b"POST", b"PUT"))
        assert await Client(wire).head() == 405


async def test_what_goes_upstream(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, temperature=0, max_tokens=99_999, user="me", seed=1)
        far, request = await take(upstream)
        await far.send(wired(*answer("ok")))
        body = await client.json()

    assert request["header"]["app_id"] == "app"
    assert request["parameter"]["chat"]["domain"] == "generalv3.5"
    assert request["parameter"]["chat"]["temperature"] == 0.01
    assert request["parameter"]["chat"]["max_tokens"] == 8192
    assert request["payload"]["message"]["text"] == [{"role": "user", "content": "Hello"}]
    assert client.headers["x-relayd-ignored"] == "seed"
    assert body["choices"][0]["finish_reason"] == "stop"
    head = bytes(far.seen).partition(b"\r\n\r\n")[0].decode()
    assert re.match(r"GET /v3\.5/chat\?authorization=\S+&date=\S+&host=127\.0\.0\.1%3A\d+ ", head)
    assert "Authorization:" not in head


async def test_relayd_closes_a_socket_whose_answer_is_whole(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        far, _ = await take(upstream)
        await far.send(wired(*answer("ok")))
        got = await far.until_close()
        await client.json()

    assert got.close_code == 1000


async def test_a_function_call_and_thoughts(stage: Stage) -> None:
    upstream = await stage.upstream()
    function = {"name": "weather", "arguments": '{"city":"Hefei"}'}
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        await serve(
            upstream,
            said("", 0, reasoning_content="Hm."),
            said("", 2, function_call=function, usage=chat.USAGE),
        )
        events = await client.events()

    deltas = [e["choices"][0]["delta"] for e in events[:-1]]
    assert deltas[1] == {"reasoning_content": "Hm."}
    assert deltas[2]["tool_calls"][0]["function"] == function
    assert chat.finishes_of(events) == ["tool_calls"]


async def test_a_status_waits_for_the_first_word(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream, timeouts=NEXT_STEP)) as relay:
        client = await Client.asking(relay, stream=True)
        far, _ = await take(upstream)
        await far.send(wired(said("", 0)))
        with trio.move_on_after(0.1) as nothing:
            await client.wire.receive()
        assert nothing.cancelled_caught
        await far.send(wired(said("Now.", 1)))
        assert await client.head() == 200
        assert await client.event() is not None
        event = await client.event()
        assert chat.text_of([event]) == "Now."
        await far.send(wired(said("", 2, usage=chat.USAGE)))
        await client.events()


async def test_the_line_of_a_turn_and_its_row(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        await serve(upstream, *answer("Hel", "lo"))
        await client.json()
        line = await stage.log.wait(LogEvent.TURN_ENDED)

    assert line["dialect"] == "chat"
    assert line["account"] == "one"
    assert line["model"] == MODEL
    assert line["turn_id"] == SID
    assert line["session_id"] == client.headers["x-request-id"]
    assert (line["tokens_in"], line["tokens_out"]) == (5, 9)
    assert line["estimated"] is False
    assert line["reason"] == "completed"
    assert line["ttft_ms"] > 0
    assert line["wait_ms"] > 0


async def test_usage_that_was_not_told_is_estimated(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        await serve(upstream, said("twelve bytes", 2))
        body = await client.json()
        line = await stage.log.wait(LogEvent.TURN_ENDED)

    assert body["usage"] is None
    assert line["estimated"] is True
    assert (line["tokens_in"], line["tokens_out"]) == (2, 3)


async def test_an_audited_answer_is_cut_and_billed(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        await serve(upstream, said("so far", 0), said("bad", 2, code=10014, usage=chat.USAGE))
        events = await client.events()
        line = await stage.log.wait(LogEvent.TURN_ENDED)

    assert chat.text_of(events) == "so far"
    assert chat.finishes_of(events) == ["content_filter"]
    assert line["reason"] == "incomplete"
    assert line["tokens_out"] == 9


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"n": 2}, 400, "unsupported_value"),
        ({"messages": []}, 400, None),
        ({"model": "unknown"}, 404, "model_not_found"),
        (
            {"tool_choice": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            400,
            "unsupported_value",
        ),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(
    stage: Stage, fields: dict[str, object], status: int, code: str | None
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, **fields)
        body = await client.json()

    assert client.status == status
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert code is None or body["error"]["code"] == code


async def test_a_key_that_may_not(stage: Stage) -> None:
    upstream = await stage.upstream()
    for key, code in (
        (attrs.evolve(KEY, models=("other",)), "model_not_allowed"),
        (attrs.evolve(KEY, dialects=("realtime",)), "dialect_not_allowed"),
    ):
        async with stage.relay(spark(upstream), key=key) as relay:
            client = await Client.asking(relay)
            body = await client.json()
        assert client.status == 403
        assert body["error"]["code"] == code
        upstream = await stage.upstream()


async def test_many_requests_on_one_connection(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        wire = await relay.client()
        for number in range(3):
            await wire.send(chat.asking(stream=number == 1))
            await serve(upstream, *answer("one", str(number)))
            client = Client(wire)
            if number == 1:
                assert chat.text_of(await client.events()) == "one1"
            else:
                body = await client.json()
                assert body["choices"][0]["message"]["content"] == f"one{number}"
