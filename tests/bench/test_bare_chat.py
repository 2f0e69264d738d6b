from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from bench import bare_chat, frames, handshake, openings, spark_frames
from bench.bare_chat import events_of
from bench.handshake import Dialect
from bench.turn_frames import take_client_frame

SOON_S = 5.0


def event(number: int) -> bytes:
    text = f"{number:020d}{spark_frames.WORDS}"
    return (
        b'data: {"id":"chatcmpl-bare","object":"chat.completion.chunk","created":0,'
        b'"model":"bench","choices":[{"index":0,"delta":{"content":"' + text.encode() + b'"},'
        b'"logprobs":null,"finish_reason":null}]}\n\n'
    )


def test_frames_become_events_as_soon_as_they_are_whole() -> None:
    wire = spark_frames.piece_batch(2)
    size = spark_frames.PIECE_FRAME_BYTES

    assert events_of(wire) == (event(0) + event(1), b"")
    assert all(events_of(wire[:cut]) == (b"", wire[:cut]) for cut in range(size))
    assert events_of(wire[: size + 5]) == (event(0), wire[size : size + 5])
    assert events_of(frames.text_frame(json.dumps(_small()).encode())) == (
        bare_chat.EVENT_HEAD + b'"hi"' + bare_chat.EVENT_TAIL,
        b"",
    )


def _small() -> object:
    return {"payload": {"choices": {"text": [{"content": "hi"}]}}}


@attrs.define
class Stage:
    """A client of the gateway, its request sent, and the upstream's end, the question read."""

    client: trio.SocketStream
    upstream: trio.SocketStream


@asynccontextmanager
async def asked() -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        listeners = []
        for _ in range(2):
            sock = trio.socket.socket()
            await sock.bind(("127.0.0.1", 0))
            sock.listen()
            listeners.append(sock)
        front, far = listeners
        with trio.fail_after(SOON_S), front, far:
            nursery.start_soon(bare_chat.serve, front, far.getsockname())
            client = await trio.open_tcp_stream(*front.getsockname())
            request = openings.request("h", "s", Dialect.CHAT)
            await client.send_all(request[:-10])
            await client.send_all(request[-10:])
            upstream, _ = await far.accept()
            async with client, trio.SocketStream(upstream) as end:
                await _accept(end)
                yield Stage(client, end)
            nursery.cancel_scope.cancel()


async def _accept(upstream: trio.SocketStream) -> None:
    received = bytearray()
    while (answer := handshake.upgrade_answer(received)) is None:
        received += await upstream.receive_some()
    await upstream.send_all(answer)
    received.clear()
    while (frame := take_client_frame(received)) is None:
        received += await upstream.receive_some()
    assert frame == (1, b'{"question":"x"}')


async def received(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some()
    return data


async def test_an_answer_is_a_stream_that_the_bench_knows() -> None:
    async with asked() as stage:
        await stage.upstream.send_all(spark_frames.piece_batch(2))
        events = event(0) + event(1)
        expected = bare_chat.HEAD + b"%x\r\n%b\r\n" % (len(events), events)
        answer = await received(stage.client, len(expected))
        assert answer == expected
        assert openings.is_open(answer, Dialect.CHAT)
        await stage.upstream.send_all(spark_frames.piece_batch(1))
        assert await received(stage.client, 10)


async def test_a_client_that_leaves_ends_the_answer_with_a_close() -> None:
    async with asked() as stage:
        await stage.client.send_eof()

        assert await received(stage.upstream, 8) == frames.MASKED_CLOSE
        assert await stage.upstream.receive_some() == b""


async def test_an_upstream_that_ends_ends_the_stream() -> None:
    async with asked() as stage:
        await stage.upstream.send_eof()

        assert await stage.client.receive_some() == b""
