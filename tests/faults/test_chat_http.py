"""Chat requests over an upstream's HTTP interface, at the simulated Spark and at scripted ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from relayd.config.accounts import Transport
from relayd.observe.events import LogEvent
from relayd.sim.server import SimServer, serve
from relayd.sim.spark.scenario import Scenario
from relayd.sim.spark.signing import Credential
from relayd.sim.spark.upstream import SparkUpstream
from tests.faults import chat
from tests.faults.chat import APP_SECRET, DONE, PASSWORD, Client, Json, spark
from tests.faults.harness import UPSTREAM_KEY, Stage
from tests.faults.wire import Ended, Wire

OURS = Credential(app_id="app", api_key=UPSTREAM_KEY, api_secret=APP_SECRET, api_password=PASSWORD)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
over_http = partial(spark, transport=Transport.HTTP)


@asynccontextmanager
async def simulated(
    scenario: Scenario = Scenario.NORMAL,
) -> AsyncIterator[SimServer[SparkUpstream]]:
    """A simulated Spark that knows the tests' application."""
    async with trio.open_nursery() as nursery:
        upstream = SparkUpstream(scenario, credentials=(OURS,))
        server: SimServer[SparkUpstream] = await nursery.start(serve, upstream)
        yield server
        nursery.cancel_scope.cancel()
        assert server.crashes == 0


@pytest.mark.parametrize("transport", [Transport.WS, Transport.HTTP])
@pytest.mark.parametrize("version", ["v1.1", "v3.5", "v4.0", "x1.5", "x2"])
async def test_both_ways_give_the_same_answer(
    stage: Stage, transport: Transport, version: str
) -> None:
    async with simulated() as server:
        account = spark(server.port, version=version, transport=transport)
        async with stage.relay(account) as relay:
            client = await Client.asking(relay, stream=True, stream_options={"include_usage": True})
            events = await client.events()
            line = await stage.log.wait(LogEvent.TURN_ENDED)

    assert client.status == 200
    assert chat.text_of(events)
    assert chat.finishes_of(events) == ["stop"]
    assert events[-1] == DONE
    assert events[-2]["usage"]["total_tokens"] == line["tokens_in"] + line["tokens_out"] > 0
    assert line["turn_id"] == client.headers["x-upstream-sid"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_function_that_must_be_called(stage: Stage, stream: bool) -> None:
    async with (
        simulated() as server,
        stage.relay(spark(server.port, transport=Transport.AUTO)) as relay,
    ):
        client = await Client.asking(relay, tools=[TOOL], tool_choice="required", stream=stream)
        if stream:
            events = await client.events()
            assert chat.finishes_of(events) == ["tool_calls"]
            calls = events[1]["choices"][0]["delta"]["tool_calls"]
        else:
            choice = (await client.json())["choices"][0]
            assert choice["finish_reason"] == "tool_calls"
            calls = choice["message"]["tool_calls"]

    (call,) = calls
    assert call["function"]["name"] == "weather"
    assert call["type"] == "function"
    json.loads(call["function"]["arguments"])


@pytest.mark.parametrize(
    ("code", "status", "word"),
    [
        (10013, 400, "content_filter"),
        (10907, 400, "context_length_exceeded"),
        (11202, 429, "rate_limit_exceeded"),
        (11200, 503, "upstream_not_entitled"),
        (10110, 503, "overloaded"),
    ],
)
async def test_errors_mean_the_same(stage: Stage, code: int, status: int, word: str) -> None:
    async with (
        simulated(Scenario(f"error_{code}")) as server,
        stage.relay(over_http(server.port)) as relay,
    ):
        client = await Client.asking(relay)
        body = await client.json()

    assert client.status == status
    assert body["error"]["code"] == word


async def test_a_wrong_password(stage: Stage) -> None:
    async with (
        simulated(Scenario.UNAUTHORIZED) as server,
        stage.relay(over_http(server.port)) as relay,
    ):
        client = await Client.asking(relay)
        body = await client.json()
        await stage.log.wait(LogEvent.ACCOUNT_DISABLED)

    assert client.status == 502
    assert body["error"]["code"] == "upstream_auth_failed"


# -- upstreams that are played by hand


async def body_of(far: Wire) -> tuple[str, Json]:
    """Head and body of the request that an upstream is sent."""
    head = (await far.head()).decode()
    length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
    while len(far.buffer) < length:
        far.buffer += await far.receive()
    found: Json = json.loads(bytes(far.buffer[:length]))
    return head, found


def streaming(*events: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return head + b"".join(b"data:%b\n\n" % each for each in events)


HI = b'{"code":0,"message":"Success","sid":"s1","choices":[{"delta":{"content":"Hi"},"index":0}]}'


async def test_what_is_sent(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(over_http(upstream)) as relay:
        client = await Client.asking(relay)
        far = await upstream.accept()
        head, body = await body_of(far)
        await far.send(streaming(HI, b"[DONE]"))
        far.close()
        answer = await client.json()

    assert head.startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    assert f"authorization: bearer {PASSWORD}\r\n" in head.lower()
    assert body["model"] == "generalv3.5"
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert body["stream"] is True
    assert answer["choices"][0]["message"]["content"] == "Hi"
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_a_redirect_is_not_followed(stage: Stage) -> None:
    upstream, other = await stage.upstream(), await stage.upstream()
    async with stage.relay(over_http(upstream)) as relay:
        client = await Client.asking(relay)
        far = await upstream.accept()
        await body_of(far)
        where = f"http://127.0.0.1:{other.port}/"
        await far.send(
            f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {where}\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )
        await client.json()

    assert client.status == 502
    assert other.wires == []


@pytest.mark.parametrize(
    "answer",
    [
        streaming(HI),
        streaming(HI) + b'data:{"code":0,"choi',
        streaming(HI, b"{not json"),
        streaming(HI, b'{"code":10012,"message":"engine","sid":"s1"}'),
        streaming(HI) + b"data:" + b"x" * (3 << 20),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 90000000\r\n\r\n" + b"x" * 20_000,
    ],
)
async def test_what_is_no_whole_answer_is_an_error(stage: Stage, answer: bytes) -> None:
    upstream = await stage.upstream()
    async with stage.relay(over_http(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        async with trio.open_nursery() as nursery:

            async def answer_all() -> None:
                while True:  # what said nothing is tried once more
                    far = await upstream.accept()
                    await body_of(far)
                    await far.send(answer)
                    far.close()

            nursery.start_soon(answer_all)
            await client.head()
            nursery.cancel_scope.cancel()
        if client.status == 200:
            events = await client.events()
            assert "error" in events[-2]
            assert events[-1] == DONE
            assert chat.finishes_of(events) == []
        else:
            assert client.status == 502


async def test_a_client_that_leaves_closes_the_connection(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(over_http(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        far = await upstream.accept()
        await body_of(far)
        await far.send(streaming(HI))
        await client.head()
        with trio.fail_after(1):
            client.wire.close()
            with pytest.raises(Ended):
                await far.receive()


async def test_an_upstream_that_says_nothing(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(over_http(upstream)) as relay:
        client = await Client.asking(relay)
        far = await upstream.accept()
        await body_of(far)
        body = await client.json()

    assert client.status == 504
    assert body["error"]["code"] == "upstream_timeout"


async def test_an_upstream_that_is_not_there(stage: Stage) -> None:
    gone = await stage.upstream()
    port = gone.port
    gone.close()
    async with stage.relay(over_http(port)) as relay:
        client = await Client.asking(relay)
        body = await client.json()

    assert client.status == 502
    assert body["error"]["code"] == "upstream_unreachable"
