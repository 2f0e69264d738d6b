"""One HTTP connection: requests in turn, and every way in which it ends."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from functools import partial

import attrs
import httpx
import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head, Query
from relayd.service.acceptor import SLOW_AFTER_S, SlowHeads, read_within
from relayd.service.http.connection import PART_S, HttpConnection
from relayd.service.http.exchange import Exchange
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json, Response, Sse, SseEvent, Stream, Text
from relayd.service.http.router import Route, Router
from relayd.service.http.service import IDLE_S, Outcome
from relayd.transport import tls
from tests.service.http.stage import HOST, LIMITS, Client, Stage, pair, request

GET = request("GET", "/one")


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


async def test_one_connection_serves_many_requests() -> None:
    stage = Stage()
    async with stage.client() as client:
        replies = [
            await client.ask("GET", "/one"),
            await client.ask("POST", "/two", b"abc"),
            await client.ask("POST", "/three"),
            await client.ask("PUT", "/four", b"x" * 100_000),
        ]

    assert [reply.body[:9] for reply in replies] == [
        b"/one ",
        b"/two abc",
        b"/three ",
        b"/four xxx",
    ]
    assert not any(reply.closes for reply in replies)
    ids = [reply.headers["x-request-id"] for reply in replies]
    assert ids == [facts.request_id for facts in stage.facts]
    assert len(set(ids)) == 4
    assert all(len(name) == 28 and name.startswith("req_") for name in ids)


async def test_a_client_that_says_close_gets_one_response() -> None:
    async with Stage().client() as client:
        reply = await client.ask("GET", "/one", b"", "Connection: keep-alive, Close")

        assert reply.closes
        assert await client.rest() == b""


async def test_a_chunked_request_may_be_followed_by_another() -> None:
    async with Stage().client() as client:
        head = f"POST /one HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n".encode()
        for _ in range(2):
            await client.send(head + b"3;x=y\r\nabc\r\n")
            await client.send(b"2\r\nde\r\n0\r\nX: y\r\n\r\n")

            assert (await client.reply()).body == b"/one abcde"


@pytest.mark.parametrize(
    ("wire", "status", "word"),
    [
        (b"GET /two HTTP/1.0\r\n\r\n", 400, "malformed_request"),
        (
            f"POST /two HTTP/1.1\r\n{HOST}Content-Length: +1\r\n\r\n".encode(),
            400,
            "malformed_request",
        ),
        (b"GET /" + b"x" * LIMITS.head_max_bytes, 431, "head_too_large"),
    ],
)
async def test_a_later_head_is_as_strict_as_the_first(wire: bytes, status: int, word: str) -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.ask("GET", "/one")
        await client.send(wire)

        reply = await client.reply()
        assert (reply.status, code(reply.body), reply.closes) == (status, word, True)
        assert await client.rest() == b""
    assert stage.facts[-1].reason == word
    assert stage.facts[-1].request_id == reply.headers["x-request-id"]


async def test_a_later_head_must_be_complete_in_time(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.ask("GET", "/one")
        await trio.sleep(50)
        began = trio.current_time()
        for at in range(4):
            await client.send(GET[at : at + 1])
            await trio.sleep(3)

        reply = await client.reply()
        assert (reply.status, code(reply.body), reply.closes) == (408, "head_timeout", True)
        assert trio.current_time() - began == 12  # the client's own last sleep ended then
        assert await client.rest() == b""
    assert stage.facts[-1].outcome is Outcome.COMPLETE


async def test_a_later_head_is_read_within_what_the_connection_is_given(
    autojump_clock: MockClock,
) -> None:
    seen: list[tuple[float, float]] = []

    @contextlib.contextmanager
    def reading(limit_s: float) -> Iterator[None]:
        began_at = trio.current_time()
        with read_within(limit_s):
            yield
        seen.append((began_at, trio.current_time()))

    stage = Stage(reading=reading)
    async with stage.client() as client:
        await client.ask("GET", "/one")
        await trio.sleep(50)  # an idle connection reads nothing
        await client.ask("GET", "/whole")
        assert seen == []
        await client.send(GET[:1])
        await trio.sleep(3)
        await client.send(GET[1:])
        assert (await client.reply()).status == 200
        await client.send(GET[:1])
        await trio.sleep(4)

    assert seen == [(50, 53), (53, 57)]


async def test_over_the_limit_of_slow_heads_a_later_one_is_told_so(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    slow = SlowHeads(1)
    nursery.start_soon(slow.watch)
    stage = Stage(reading=partial(slow.reading, "192.0.2.1"))
    async with stage.client() as old, stage.client() as new:
        for client in (old, new):
            await client.ask("GET", "/one")
        await trio.sleep(60)
        assert len(slow) == 0
        for client in (old, new):
            await client.send(GET[:1])
            await trio.sleep(0.1)

        reply = await old.reply()
        assert trio.current_time() == 60.1 + SLOW_AFTER_S
        assert (reply.status, code(reply.body), reply.closes) == (408, "head_timeout", True)
        assert b"Too many" in reply.body
        assert await old.rest() == b""
        await new.send(GET[1:])
        assert (await new.reply()).status == 200
        assert len(slow) == 0


async def test_a_connection_without_a_next_request_ends_in_silence(
    autojump_clock: MockClock,
) -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.ask("GET", "/one")

        assert await client.rest() == b""
        assert trio.current_time() == IDLE_S
    assert len(stage.facts) == 1


async def test_it_lingers_so_that_the_last_response_is_not_reset(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with stage.client(tcp=True) as client:
        await client.send(request("GET", "/one", b"", "Connection: close"))
        await client.send(b"x" * 100_000)

        assert (await client.rest()).endswith(b"/one ")
        await trio.sleep(PART_S * 2)
    assert stage.ended_at == PART_S


async def test_draining_ends_it_with_the_response_in_progress() -> None:
    stage = Stage()
    async with stage.client() as client:
        assert not (await client.ask("GET", "/one")).closes
        await wait_all_tasks_blocked()
        stage.closing = True

        assert (await client.ask("GET", "/two")).closes
        assert await client.rest() == b""


async def test_a_drain_that_begins_while_a_response_is_sent_ends_it_behind_it() -> None:
    stage = Stage()
    async with stage.client() as client:
        assert not (await client.ask("GET", "/one")).closes
        stage.closing = True  # before the connection waits for another request

        assert await client.rest() == b""


@pytest.mark.parametrize("code", [RefusalCode.MISSING_API_KEY, RefusalCode.KEY_EXPIRED])
async def test_a_client_without_a_valid_key_does_not_keep_its_connection(
    code: RefusalCode,
) -> None:
    async def handler(_: Request) -> Response:
        raise HttpRefused(Refusal(code, "No."))

    stage = Stage(handler)
    async with stage.client() as client:
        assert (await client.ask("GET", "/one")).closes
        assert await client.rest() == b""


async def test_draining_ends_it_at_once_while_it_is_idle() -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.ask("GET", "/one")
        await wait_all_tasks_blocked()
        assert stage.connection is not None
        stage.connection.close_if_idle()

        assert await client.rest() == b""


async def test_draining_does_not_touch_a_request_in_progress() -> None:
    going_on = trio.Event()

    async def handler(_: Request) -> Response:
        await going_on.wait()
        return Text("done")

    stage = Stage(handler)
    async with stage.client() as client:
        await client.send(GET)
        await wait_all_tasks_blocked()
        assert stage.connection is not None
        stage.connection.close_if_idle()
        going_on.set()

        assert (await client.reply()).body == b"done"


async def test_a_client_that_leaves_between_requests_is_no_event() -> None:
    stage = Stage()
    async with stage.client(tcp=True) as client:
        await client.ask("GET", "/one")
        await client.send(b"GET /tw")
        client.reset()

    assert len(stage.facts) == 1


async def test_cancelling_it_cuts_the_response_visibly() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"begun"
        await trio.sleep_forever()

    async def handler(_: Request) -> Response:
        return Stream(endless(), "text/plain")

    stage = Stage(handler)
    near, far = pair(tcp=False)
    near.setblocking(False)
    async with trio.open_nursery() as nursery:
        with trio.socket.from_stdlib_socket(far) as sock:
            client = Client(sock)
            nursery.start_soon(stage.serve, near)
            await client.send(GET)
            await client.until(b"begun\r\n")
            nursery.cancel_scope.cancel()
    assert [facts.outcome for facts in stage.facts] == [Outcome.STOPPED]
    assert near.fileno() == -1


async def test_a_head_that_a_laxer_reader_has_passed_is_refused() -> None:
    stage = Stage()
    near, far = pair(tcp=False)
    near.setblocking(False)
    head = Head(
        method="POST",
        target="/",
        path="/",
        query=Query(""),
        headers=((b"content-length", b"3"), (b"transfer-encoding", b"chunked")),
        early_bytes=0,
    )
    connection = HttpConnection(
        sock=near, client_address=lambda _: "192.0.2.1", service=stage.service
    )
    with near:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.serve, head, b"abc")
            with trio.socket.from_stdlib_socket(far) as sock:
                reply = await Client(sock).reply("POST")

    assert (reply.status, code(reply.body)) == (400, "malformed_request")
    assert stage.seen == []


async def test_a_bug_of_its_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(_: Exchange) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Exchange, "run", run)

    with pytest.RaisesGroup(ZeroDivisionError):
        async with Stage().client() as client:
            await client.send(GET)
            await client.rest()


# -- TLS, and real clients


@attrs.define
class Secured:
    """A listener for HTTPS, whose connections the stage serves."""

    stage: Stage
    authority: trustme.CA = attrs.field(factory=trustme.CA)

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    async def serve(self, sock: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        secured = await tls.start_server(sock, context, deadline=trio.current_time() + 10)
        await self.stage.serve(secured)


async def accept(listener: socket.socket, serve: Secured, *, secure: bool) -> None:
    async with trio.open_nursery() as nursery:
        while True:
            await trio.lowlevel.wait_readable(listener)
            sock, _ = listener.accept()
            sock.setblocking(False)
            nursery.start_soon(serve.serve if secure else serve.stage.serve, sock)


async def echo(request: Request) -> Response:
    return Json({"name": request.parameters["name"], "bytes": len(await request.body())})


async def upload(request: Request) -> Response:
    async def doubled() -> AsyncIterator[bytes]:
        async for chunk in request.chunks():
            yield chunk + chunk

    return Stream(doubled(), "application/octet-stream")


async def events(_: Request) -> Response:
    async def three() -> AsyncIterator[SseEvent | bytes]:
        for number in range(3):
            yield SseEvent(b"line\n%d" % number, event="tick", id=str(number))
        yield b"data: [DONE]\n\n"

    return Sse(three())


ROUTER = Router(
    [
        Route("POST", "/echo/{name}", echo, "echo", "What came."),
        Route("POST", "/upload", upload, "upload", "Twice what came."),
        Route("GET", "/events", events, "events", "Three events."),
    ]
)


@pytest.mark.parametrize("secure", [False, True])
async def test_httpx_is_served(secure: bool) -> None:
    stage = Stage(ROUTER)
    secured = Secured(stage)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        scheme, port = "https" if secure else "http", listener.getsockname()[1]
        async with (
            trio.open_nursery() as nursery,
            httpx.AsyncClient(
                base_url=f"{scheme}://127.0.0.1:{port}",
                verify=secured.context(),
                trust_env=False,
            ) as client,
        ):
            nursery.start_soon(partial(accept, listener, secured, secure=secure))
            with trio.fail_after(10):
                echoed = await client.post("/echo/a%20b", content=b"x" * 150_000)
                missing = await client.get("/nothing")
                headed = await client.head("/events")
                doubled = await client.post("/upload", content=slowly(b"ab", b"cd" * 30_000))
                async with client.stream("GET", "/events") as streamed:
                    lines = [line async for line in streamed.aiter_lines()]
            nursery.cancel_scope.cancel()

    assert echoed.json() == {"name": "a b", "bytes": 150_000}
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-type"] == "text/event-stream"
    assert len(doubled.content) == 2 * 60_002
    assert sorted(set(doubled.content)) == sorted(b"abcd")
    assert lines[:6] == ["event: tick", "id: 0", "data: line", "data: 0", "", "event: tick"]
    assert lines[-2:] == ["data: [DONE]", ""]
    assert len(stage.facts) == 5
    # One connection carried them all.
    assert {facts.outcome for facts in stage.facts} == {Outcome.COMPLETE}


async def slowly(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        await trio.lowlevel.checkpoint()
        yield part


def secure_stream(secured: Secured, sock: socket.socket) -> trio.SSLStream[trio.SocketStream]:
    """A client's TLS, for which an end without TLS's own is an error."""
    return trio.SSLStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(sock)),
        secured.context(),
        server_hostname="127.0.0.1",
        https_compatible=False,
    )


async def test_over_tls_the_end_is_said_too() -> None:
    secured = Secured(Stage())
    near, far = pair(tcp=True)
    near.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(secured.serve, near)
        stream = secure_stream(secured, far)
        await stream.send_all(request("GET", "/one", b"", "Connection: close"))
        seen = b""
        while data := await stream.receive_some():
            seen += data
        await stream.aclose()

    assert seen.endswith(b"/one ")


async def test_over_tls_no_proper_end_is_said_where_the_client_left_first() -> None:
    begun = trio.Event()

    async def handler(_: Request) -> Response:
        begun.set()
        await trio.sleep_forever()
        raise AssertionError

    secured = Secured(Stage(handler))
    near, far = pair(tcp=True)
    near.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(secured.serve, near)
        stream = secure_stream(secured, far)
        await stream.send_all(GET)
        await begun.wait()
        with pytest.raises(trio.BrokenResourceError):
            await stream.unwrap()
        await trio.aclose_forcefully(stream)
    assert secured.stage.facts[0].outcome is Outcome.CLIENT_GONE
