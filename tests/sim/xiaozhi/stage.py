"""What the tests of the simulated xiaozhi server and device share."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import trio
import trio.testing

from relayd.sim.xiaozhi.device import Device, connected
from relayd.sim.xiaozhi.identity import Identity
from relayd.sim.xiaozhi.mcp import Toolset
from relayd.sim.xiaozhi.upstream import XiaozhiUpstream
from tests.sim.peer import Peer, served

MAC: Final = "02:00:00:00:00:01"
CLIENT: Final = "11111111-2222-3333-4444-555555555555"
HEADERS: Final = {"Device-Id": MAC, "Client-Id": CLIENT, "Connection": "Upgrade"}
HELLO: Final[dict[str, Any]] = {
    "type": "hello",
    "version": 1,
    "features": {"mcp": True},
    "transport": "websocket",
    "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60},
}


def identity(**more: Any) -> Identity:  # noqa: ANN401 - the attributes of an identity
    return Identity(**{"device_id": MAC, "client_id": CLIENT} | more)


@contextlib.asynccontextmanager
async def device_at(
    upstream: XiaozhiUpstream,
    who: Identity | None = None,
    *,
    path: str = "/xiaozhi/v1/",
    toolset: Toolset | None = None,
) -> AsyncIterator[Device]:
    """A device on a memory stream, past the 101."""
    near, far = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream.serve_stream, far)
        async with connected(
            near, who or identity(), host="sim", path=path, toolset=toolset
        ) as device:
            yield device


@contextlib.asynccontextmanager
async def peer_at(
    upstream: XiaozhiUpstream,
    path: str = "/xiaozhi/v1/",
    headers: Mapping[str, str] = HEADERS,
) -> AsyncIterator[Peer]:
    """A plain WebSocket client past the 101."""
    async with served(upstream, path) as peer:
        response = await peer.upgrade(headers)
        assert response.status_code == 101
        yield peer


def first_line_and_body(answer: bytes) -> tuple[str, str]:
    """Of an HTTP response."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), body.decode()


async def over_http(upstream: XiaozhiUpstream, request: bytes) -> tuple[int, str, bytes]:
    """Send a request as it is; the status, the body and the whole answer."""
    near, far = trio.testing.memory_stream_pair()
    answer = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream.serve_stream, far)
        await near.send_all(request)
        while data := await near.receive_some():
            answer += data
        await near.aclose()
    line, body = first_line_and_body(bytes(answer))
    return int(line.split()[1]), body, bytes(answer)
