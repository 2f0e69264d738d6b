"""A next request that comes too early: wherever it is cut, it is not served, and the first is."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.service.http.outgoing import SLICE_BYTES
from relayd.service.http.request import DRAIN_MAX_BYTES, Request
from relayd.service.http.responses import Response, Stream, Text
from relayd.service.http.service import Outcome
from relayd.transport import raw, tls
from tests.service.http.stage import Stage, pair

SECOND = b"GET /2 HTTP/1.1\r\nHost: r\r\n\r\n"
FIRST = {
    "no body": b"GET /1 HTTP/1.1\r\nHost: r\r\n\r\n",
    "length": b"POST /1 HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\n\r\nabc",
    "chunked": b"POST /1 HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
}
LONG = b"x" * 3_000_000


async def unread(_: Request) -> Response:
    return Text("answered")


async def read(request: Request) -> Response:
    await request.body()
    return Text("answered")


async def streamed(_: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"answer"
        yield b"ed"

    return Stream(parts(), "text/plain")


def only_the_first(stage: Stage) -> None:
    """What is told of a connection whose second request came too early."""
    assert [request.path for request in stage.seen] == ["/1"]
    assert [(facts.status, facts.outcome, facts.reason) for facts in stage.facts] == [
        (200, Outcome.COMPLETE, None),
        (0, Outcome.CUT_OFF, "pipelining_not_supported"),
    ]


@pytest.mark.parametrize("handler", [unread, read, streamed])
@pytest.mark.parametrize("first", FIRST)
async def test_the_second_is_not_served_wherever_the_two_are_cut(
    first: str, handler: Callable[[Request], Awaitable[Response]], autojump_clock: MockClock
) -> None:
    """All of it is there before the response, in one piece or in any two."""
    wire = FIRST[first] + SECOND
    for cut in range(len(wire)):
        going_on = trio.Event()

        async def when_all_has_come(request: Request, going_on: trio.Event = going_on) -> Response:
            await going_on.wait()
            return await handler(request)

        stage = Stage(when_all_has_come)
        async with stage.client() as client:
            for piece in (wire[:cut], wire[cut:]):
                if piece:
                    await client.send(piece)
                await wait_all_tasks_blocked()
            going_on.set()

            reply = await client.reply()
            assert (reply.status, reply.body) == (200, b"answered"), cut
            # The head of a stream is on its way before its body has been looked at.
            assert reply.closes or (handler is streamed and first != "no body"), cut
            assert await client.rest() == b"", cut
        only_the_first(stage)


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("count", range(1, len(SECOND)))
async def test_a_beginning_of_the_second_is_enough(
    first: str, count: int, autojump_clock: MockClock
) -> None:
    stage = Stage(unread)
    async with stage.client() as client:
        await client.send(FIRST[first] + SECOND[:count])

        assert (await client.reply()).closes
        assert await client.rest() == b""
    only_the_first(stage)


@pytest.mark.parametrize("handler", [unread, read, streamed])
@pytest.mark.parametrize("first", FIRST)
async def test_one_that_comes_behind_the_response_is_served(
    first: str, handler: Callable[[Request], Awaitable[Response]], autojump_clock: MockClock
) -> None:
    stage = Stage(handler)
    async with stage.client() as client:
        for wire in (FIRST[first], SECOND):
            await client.send(wire)
            reply = await client.reply()
            assert (reply.body, reply.closes) == (b"answered", False)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("handler", [unread, streamed])
async def test_one_that_nobody_has_received_yet_is_early_too(
    handler: Callable[[Request], Awaitable[Response]], method: str, autojump_clock: MockClock
) -> None:
    """It comes while the handler runs, and no other task does before the response is sent."""

    async def overtaken(request: Request) -> Response:
        client.send_at_once(SECOND)
        return await handler(request)

    stage = Stage(overtaken)
    async with stage.client() as client:
        await client.send(FIRST["no body"].replace(b"GET", method.encode()))

        assert (await client.reply(method)).status == 200
        assert await client.rest() == b""
    only_the_first(stage)


async def test_one_that_comes_just_before_the_last_bytes_is_early_too(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """No other task runs between the first slice of the response and its last."""
    send_all = raw.send_all

    async def sending(sock: socket.socket, data: bytes) -> None:
        if len(stage.seen) == 1 and data.startswith(b"HTTP/1.1 200 "):
            client.send_at_once(SECOND)
        await send_all(sock, data)

    async def handler(_: Request) -> Response:
        return Text(b"x" * SLICE_BYTES)

    monkeypatch.setattr(raw, "send_now", lambda _, __: 0)
    monkeypatch.setattr(raw, "send_all", sending)
    stage = Stage(handler)
    async with stage.client() as client:
        await client.send(FIRST["no body"])

        assert not (await client.reply()).closes
        assert await client.rest() == b""
    only_the_first(stage)


async def test_one_that_comes_while_the_last_bytes_wait_for_room_is_early_too(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    send_all, waiting, room = raw.send_all, trio.Event(), trio.Event()

    async def sending(sock: socket.socket, data: bytes) -> None:
        waiting.set()
        await room.wait()
        await send_all(sock, data)

    monkeypatch.setattr(raw, "send_now", lambda _, __: 0)
    monkeypatch.setattr(raw, "send_all", sending)
    stage = Stage(unread)
    async with stage.client() as client:
        await client.send(FIRST["no body"])
        await waiting.wait()
        await client.send(SECOND)
        await wait_all_tasks_blocked()
        room.set()

        assert not (await client.reply()).closes
        assert await client.rest() == b""
    only_the_first(stage)


async def test_over_tls_it_is_early_too(autojump_clock: MockClock) -> None:
    """Nothing of it can be seen from outside but that bytes came; they have to be decrypted."""

    async def overtaken(_: Request) -> Response:
        far.send(SECOND)
        return Text("answered")

    stage, authority = Stage(overtaken), trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    near, plain = pair(tcp=True)
    near.setblocking(False)
    plain.setblocking(False)

    async def serve() -> None:
        await stage.serve(await tls.start_server(near, server, deadline=trio.current_time() + 10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        far = await tls.start_client(plain, client, "127.0.0.1", deadline=trio.current_time() + 10)
        await raw.send_all(far, FIRST["no body"])
        seen = b""
        while data := await raw.receive(far, 65536):
            seen += data
        far.close()

    assert seen.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in seen
    only_the_first(stage)


@pytest.mark.parametrize("early", [b"", SECOND])
async def test_a_body_that_nobody_read_hides_nothing_behind_it(
    early: bytes, autojump_clock: MockClock
) -> None:
    """It is longer than one receive, and has come as a whole."""
    stage = Stage(unread)
    head = b"POST /1 HTTP/1.1\r\nHost: r\r\nContent-Length: %d\r\n\r\n" % DRAIN_MAX_BYTES
    async with stage.client() as client:
        await client.send(head + b"x" * DRAIN_MAX_BYTES + early)

        assert (await client.reply()).closes is bool(early)
        if not early:
            assert (await client.ask("GET", "/2")).status == 200


async def test_early_bytes_are_held_up_to_one_receive(autojump_clock: MockClock) -> None:
    going_on = trio.Event()

    async def handler(_: Request) -> Response:
        await going_on.wait()
        return Text("done")

    stage = Stage(handler)
    async with stage.client() as client:
        await client.send(FIRST["no body"])
        await wait_all_tasks_blocked()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with trio.move_on_after(1) as scope:
            await client.send(b"x" * 10_000_000)
        assert scope.cancelled_caught, "relayd took it all"
        going_on.set()

        reply = await client.reply()
        assert (reply.body, reply.closes) == (b"done", True)


async def test_behind_a_response_that_is_the_last_anyway_they_are_nothing(
    autojump_clock: MockClock,
) -> None:
    stage = Stage(closing=True)
    async with stage.client() as client:
        await client.send(FIRST["no body"] + SECOND)

        assert (await client.reply()).closes
        assert await client.rest() == b""
    assert len(stage.facts) == 1


async def test_a_client_that_left_meanwhile_is_told_of_once(autojump_clock: MockClock) -> None:
    async def handler(_: Request) -> Response:
        return Text(LONG)

    stage = Stage(handler)
    async with stage.client(tcp=True) as client:
        await client.send(FIRST["no body"] + SECOND)
        await client.until(b"\r\n\r\n")
        client.reset()
    (facts,) = stage.facts
    assert facts.outcome is Outcome.CLIENT_GONE


async def test_one_that_comes_in_the_middle_of_a_long_response_is_early_too(
    autojump_clock: MockClock,
) -> None:
    async def handler(_: Request) -> Response:
        return Text(LONG)

    stage = Stage(handler)
    async with stage.client() as client:
        await client.send(FIRST["no body"])
        head = await client.until(b"\r\n\r\n")
        assert b"close" not in head.lower().partition(b"\r\n\r\n")[0]
        await client.send(SECOND)

        assert len(head + await client.rest()) > len(LONG)
    only_the_first(stage)
