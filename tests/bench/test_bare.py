from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from bench import bare

SOON_S = 5.0


@attrs.define
class Stage:
    """A client of the relay, and the upstream's listener and end of the relayed connection."""

    client: trio.SocketStream
    upstream: trio.SocketStream


@asynccontextmanager
async def relayed() -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        listeners = []
        for _ in range(2):
            sock = trio.socket.socket()
            await sock.bind(("127.0.0.1", 0))
            sock.listen()
            listeners.append(sock)
        front, far = listeners
        with trio.fail_after(SOON_S), front, far:
            nursery.start_soon(bare.serve, front, far.getsockname())
            client = trio.socket.socket()
            await client.connect(front.getsockname())
            upstream, _ = await far.accept()
            async with trio.SocketStream(client) as near, trio.SocketStream(upstream) as end:
                yield Stage(near, end)
            nursery.cancel_scope.cancel()


async def received(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some()
    return data


async def test_bytes_arrive_as_they_were_sent_in_both_directions() -> None:
    async with relayed() as stage:
        await stage.client.send_all(b"up")
        assert await received(stage.upstream, 2) == b"up"
        await stage.upstream.send_all(b"down")
        assert await received(stage.client, 4) == b"down"


async def test_more_than_a_socket_takes_at_once_arrives_whole() -> None:
    sent = bytes(range(256)) * 40_000
    async with relayed() as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.upstream.send_all, sent)
        assert await received(stage.client, len(sent)) == sent


async def test_the_end_of_either_side_ends_the_other() -> None:
    async with relayed() as stage:
        await stage.upstream.send_all(b"last")
        await stage.upstream.send_eof()
        assert await received(stage.client, 4) == b"last"
        assert await stage.client.receive_some() == b""
    async with relayed() as stage:
        await stage.client.send_eof()
        assert await stage.upstream.receive_some() == b""
