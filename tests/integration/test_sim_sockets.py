"""The simulated upstreams on real sockets: TLS, resets, and peers that want to end the server."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import struct
from functools import partial

import pytest
import trio
import trustme
from websockets.trio.client import ClientConnection, connect

from relayd.sim.realtime.delivery import LARGE_FRAME_BYTES, SMALL_FRAME_BYTES
from relayd.sim.realtime.scenario import Scenario
from relayd.sim.realtime.upstream import RealtimeUpstream
from relayd.sim.registry import serve_simulator
from relayd.sim.server import SimServer, Upstream, serve

UPGRADE = (
    b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer any\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
CREATE = json.dumps({"type": "response.create"})


def client(server: SimServer[Upstream], *, tls: ssl.SSLContext | None = None) -> connect:
    url = server.base_url.replace("http", "ws", 1)
    return connect(
        f"{url}/realtime?model=gpt-realtime",
        additional_headers={"Authorization": "Bearer any"},
        compression=None,
        proxy=None,
        ssl=tls,
    )


async def turn(connection: ClientConnection) -> list[str]:
    await connection.send(CREATE)
    kinds: list[str] = []
    while not kinds or kinds[-1] != "response.done":
        kinds.append(json.loads(await connection.recv())["type"])
    return kinds


async def test_a_conversation_over_tcp(nursery: trio.Nursery) -> None:
    server = await nursery.start(partial(serve_simulator, "realtime"))

    async with client(server) as connection:
        assert (await turn(connection))[0] == "session.created"

    assert server.connections_total == 1
    assert server.crashes == 0


async def test_a_conversation_over_tls(nursery: trio.Nursery) -> None:
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    server = await nursery.start(partial(serve_simulator, "realtime", ssl_context=server_tls))

    async with client(server, tls=client_tls) as connection:
        kinds = await turn(connection)

    assert server.base_url == f"https://127.0.0.1:{server.port}/v1"
    assert kinds[-1] == "response.done"
    assert server.crashes == 0


async def test_a_failed_tls_handshake_ends_nothing_else(nursery: trio.Nursery) -> None:
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server_tls)
    server = await nursery.start(partial(serve_simulator, "realtime", ssl_context=server_tls))

    for _ in range(2):
        async with await trio.open_tcp_stream(server.host, server.port) as stream:
            await stream.send_all(UPGRADE)
            while await _receive(stream):
                pass

    assert server.crashes == 0


async def _receive(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


@pytest.mark.parametrize(
    ("scenario", "least_bytes"),
    [
        (Scenario.RESET_MID_TURN, 0),
        (Scenario.RESET_MID_FRAME_SMALL, SMALL_FRAME_BYTES // 2),
        (Scenario.RESET_MID_FRAME_LARGE, LARGE_FRAME_BYTES // 2),
    ],
)
async def test_a_reset_is_one_and_comes_behind_the_bytes_before_it(
    scenario: Scenario, least_bytes: int, nursery: trio.Nursery
) -> None:
    server = await nursery.start(serve, RealtimeUpstream(scenario))
    stream = await trio.open_tcp_stream(server.host, server.port)
    request = CREATE.encode()
    await stream.send_all(UPGRADE)
    received = bytearray(await stream.receive_some())
    await stream.send_all(bytes([0x81, 0x80 | len(request), 0, 0, 0, 0]) + request)

    with pytest.raises(trio.BrokenResourceError) as broken:
        await _receive_into(received, stream)
    await stream.aclose()

    assert isinstance(broken.value.__cause__, ConnectionResetError)
    assert len(received) > least_bytes


async def _receive_into(received: bytearray, stream: trio.SocketStream) -> None:
    while chunk := await stream.receive_some():
        received += chunk


async def test_peers_that_reset_at_each_byte_of_their_handshake_end_nothing(
    nursery: trio.Nursery,
) -> None:
    server = await nursery.start(partial(serve_simulator, "realtime"))
    for count in range(0, len(UPGRADE) + 1, 3):
        with socket.create_connection((server.host, server.port)) as peer:
            peer.sendall(UPGRADE[:count])
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with client(server) as connection:
        assert (await turn(connection))[-1] == "response.done"
    assert server.crashes == 0


class Broken:
    """An upstream with a bug."""

    base_path = ""

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        raise ZeroDivisionError


async def test_a_bug_at_one_connection_is_logged_and_ends_no_other(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    server = await nursery.start(serve, Broken())
    other = await trio.open_tcp_stream(server.host, server.port)
    with caplog.at_level(logging.ERROR):
        async with await trio.open_tcp_stream(server.host, server.port) as stream:
            await stream.send_all(b"x")
            assert await _receive(stream) == b""

    assert server.crashes == 1
    assert "ZeroDivisionError" in caplog.text
    assert server.connections == 1
    await other.aclose()


async def test_cancelling_the_server_cuts_every_connection() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_simulator, "passthrough"))
        stream = await trio.open_tcp_stream(server.host, server.port)
        nursery.cancel_scope.cancel()

    assert await _receive(stream) == b""
    await stream.aclose()
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream(server.host, server.port)


async def test_an_ipv6_address_stands_in_brackets(nursery: trio.Nursery) -> None:
    try:
        server = await nursery.start(partial(serve_simulator, "passthrough", host="::1"))
    except OSError:
        pytest.skip("this host has no IPv6")

    assert server.base_url == f"http://[::1]:{server.port}"
