"""One request and its response: what the handler meets, what the client sees."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import attrs
import h11
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.core.refusals import Refusal, RefusalCode
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json, Response, Sse, SseEvent, Stream, Text
from relayd.service.http.service import Outcome
from tests.service.http.stage import LIMITS, Stage, request

GET = request("GET", "/one")
BIG = b"x" * 5_000_000
SECRET = "canary0canary0canary0"


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


@attrs.define
class Stuck:
    """A handler that begins and does not end by itself."""

    begun: trio.Event = attrs.field(factory=trio.Event)
    cancelled_at: float | None = None

    async def __call__(self, _: Request) -> Response:
        return await self.wait()

    async def wait(self) -> Response:
        try:
            self.begun.set()
            await trio.sleep_forever()
        finally:
            self.cancelled_at = trio.current_time()


# -- what is told


async def test_what_is_told_of_a_request(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Response:
        await trio.sleep(1.5)
        request.route, request.key = "/v1/{name}", "dev"
        await request.body()
        return Json({"a": 1}, status=201)

    stage = Stage(handler)
    async with stage.client() as client:
        reply = await client.ask("POST", "/v1/secret", b"abc")

    (facts,) = stage.facts
    assert facts.request_id == reply.headers["x-request-id"] == stage.seen[0].request_id
    assert (facts.method, facts.route, facts.status) == ("POST", "/v1/{name}", 201)
    assert (facts.outcome, facts.reason, facts.error) == (Outcome.COMPLETE, None, None)
    assert (facts.key, facts.client_address) == ("dev", "192.0.2.1")
    assert facts.duration_ms == 1500
    assert facts.bytes_in == 3
    assert facts.bytes_out > len(reply.body)
    assert "secret" not in repr(facts)


# -- a client that leaves


@pytest.mark.parametrize("how", ["close", "finish", "reset"])
async def test_a_client_that_leaves_ends_its_handler_at_once(
    how: str, autojump_clock: MockClock
) -> None:
    handler = Stuck()
    stage = Stage(handler)
    async with stage.client(tcp=True) as client:
        await client.send(GET)
        await handler.begun.wait()
        {"close": client.sock.close, "finish": client.finish, "reset": client.reset}[how]()
        await wait_all_tasks_blocked()

        assert handler.cancelled_at == 0
    (facts,) = stage.facts
    assert (facts.status, facts.outcome, facts.bytes_out) == (0, Outcome.CLIENT_GONE, 0)


async def test_one_that_leaves_behind_an_unread_body_is_noticed_within_a_second(
    autojump_clock: MockClock,
) -> None:
    handler = Stuck()
    stage = Stage(handler)
    async with stage.client(tcp=True) as client:
        await client.send(request("POST", "/one", b"x" * 100))
        await handler.begun.wait()
        await trio.sleep(10.25)
        left_at = trio.current_time()
        client.finish()

        await client.rest()
    assert handler.cancelled_at is not None
    assert 0 < handler.cancelled_at - left_at <= 1
    assert stage.facts[0].outcome is Outcome.CLIENT_GONE


async def test_a_stream_ends_with_its_client() -> None:
    handler = Stuck()

    async def endless() -> AsyncIterator[bytes]:
        yield b"begun"
        await handler.wait()

    async def streaming(_: Request) -> Response:
        return Stream(endless(), "text/plain")

    stage = Stage(streaming)
    async with stage.client() as client:
        await client.send(GET)
        await client.until(b"begun\r\n")
    assert handler.cancelled_at is not None
    assert (stage.facts[0].status, stage.facts[0].outcome) == (200, Outcome.CLIENT_GONE)


async def test_a_client_that_is_gone_by_the_handlers_word_gets_nothing() -> None:
    async def handler(_: Request) -> Response:
        raise HttpRefused(Refusal(RefusalCode.CLIENT_GONE, "gone"))

    stage = Stage(handler)
    async with stage.client() as client:
        await client.send(GET)

        assert await client.rest() == b""
    assert (stage.facts[0].status, stage.facts[0].outcome) == (0, Outcome.CLIENT_GONE)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_takes_nothing_is_reset(
    streamed: bool, autojump_clock: MockClock
) -> None:
    async def big() -> AsyncIterator[bytes]:
        yield BIG

    async def handler(_: Request) -> Response:
        return Stream(big(), "text/plain") if streamed else Text(BIG)

    stage = Stage(handler)
    async with stage.client(tcp=True, send_buffer=4096) as client:
        await client.send(GET)
        await trio.sleep(LIMITS.stall_s + 1)

        with pytest.raises(ConnectionResetError):
            await client.rest()
    (facts,) = stage.facts
    assert (facts.status, facts.outcome) == (200, Outcome.CLIENT_STALLED)
    assert facts.duration_ms == LIMITS.stall_s * 1000
    assert 0 < facts.bytes_out < len(BIG)


async def test_a_client_that_takes_little_at_a_time_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    async def handler(_: Request) -> Response:
        return Text(b"x" * 300_000)

    stage = Stage(handler)
    async with stage.client(send_buffer=16_384) as client:
        await client.send(GET)
        while len(client.behind) < 300_000:
            await trio.sleep(LIMITS.stall_s - 1)
            data = await client.sock.recv(40_000)
            assert data, f"cut after {len(client.behind)} bytes"
            client.behind += data
    assert stage.facts[0].outcome is Outcome.COMPLETE
    assert trio.current_time() > LIMITS.stall_s * 3


# -- a handler that fails


async def test_a_bug_is_a_500_with_the_request_id_and_nothing_else() -> None:
    async def handler(_: Request) -> Response:
        raise RuntimeError(SECRET)

    stage = Stage(handler)
    async with stage.client() as client:
        reply = await client.ask("GET", "/one")

        assert await client.rest() == b""
    assert (reply.status, code(reply.body), reply.closes) == (500, "internal_error", True)
    assert reply.headers["x-request-id"] in reply.body.decode()
    assert SECRET not in repr((reply, stage.facts))
    (facts,) = stage.facts
    assert (facts.outcome, facts.status) == (Outcome.CRASHED, 500)
    assert isinstance(facts.error, RuntimeError)


@pytest.mark.parametrize(
    "response",
    [
        Text("x", headers=(("X", "a\r\nSet-Cookie: b"),)),
        Text("x", headers=(("X\r\nY", "b"),)),
        Text("x", content_type="text/plain\r\n\r\nHTTP/1.1 200 OK"),
        Text("x", headers=(("Content-Length", "0"),)),
        Text("x", status=204),
        Text("x", status=102),
        Json(object()),
    ],
)
async def test_a_response_that_cannot_be_sent_is_a_bug_too(response: Response) -> None:
    async def handler(_: Request) -> Response:
        return response

    stage = Stage(handler)
    async with stage.client() as client:
        await client.send(GET)
        wire = await client.rest()

    assert wire.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert wire.count(b"HTTP/1.1") == 1
    assert b"Set-Cookie" not in wire
    assert stage.facts[0].outcome is Outcome.CRASHED


async def test_a_refusal_is_answered_and_the_connection_goes_on() -> None:
    async def handler(_: Request) -> Response:
        raise HttpRefused(Refusal(RefusalCode.OVERLOAD, "Too much.", retry_after_s=0.4))

    stage = Stage(handler)
    async with stage.client() as client:
        for _ in range(2):
            reply = await client.ask("GET", "/one")
            assert (reply.status, code(reply.body), reply.closes) == (503, "overload", False)
            assert reply.headers["retry-after"] == "1"
    assert [facts.reason for facts in stage.facts] == ["overload", "overload"]
    assert [facts.outcome for facts in stage.facts] == [Outcome.COMPLETE] * 2


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RuntimeError(SECRET), Outcome.CRASHED),
        (HttpRefused(Refusal(RefusalCode.OVERLOAD, "Too much.")), Outcome.CUT_OFF),
    ],
)
async def test_a_stream_that_fails_never_looks_complete(error: Exception, outcome: Outcome) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"begun"
        raise error

    async def handler(_: Request) -> Response:
        return Stream(failing(), "text/plain")

    stage = Stage(handler)
    async with stage.client() as client:
        await client.send(GET)
        wire = await client.rest()

        assert wire.endswith(b"\r\n\r\n5\r\nbegun\r\n")
        with pytest.raises(h11.RemoteProtocolError):
            await client.reply()
    assert (stage.facts[0].status, stage.facts[0].outcome) == (200, outcome)


async def test_a_lost_client_is_no_bug_where_a_handler_has_nurseries_of_its_own(
    autojump_clock: MockClock,
) -> None:
    async def handler(request: Request) -> Response:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request.body)
        raise AssertionError

    stage = Stage(handler)
    async with stage.client(tcp=True) as client:
        head = request("POST", "/one", b"", "Expect: 100-continue", "Content-Length: 3")
        await client.send(head)
        client.reset()
    assert [facts.outcome for facts in stage.facts] == [Outcome.CLIENT_GONE]


# -- whole responses


async def test_a_head_request_gets_the_headers_of_the_get_alone() -> None:
    async def handler(_: Request) -> Response:
        return Text("four")

    async with Stage(handler).client() as client:
        whole, headed = await client.ask("GET", "/one"), await client.ask("HEAD", "/one")
        again = await client.ask("GET", "/one")

    volatile = {"date": "", "x-request-id": ""}
    assert headed.headers | volatile == whole.headers | volatile
    assert headed.headers["content-length"] == "4"
    assert (headed.body, again.body) == (b"", b"four")


async def test_a_head_request_does_not_begin_a_stream() -> None:
    begun = False

    async def events() -> AsyncIterator[SseEvent]:
        nonlocal begun
        begun = True
        yield SseEvent(b"x")

    async def handler(_: Request) -> Response:
        return Sse(events())

    async with Stage(handler).client() as client:
        headed = await client.ask("HEAD", "/one")
        assert headed.headers["transfer-encoding"] == "chunked"
        assert not begun
        assert (await client.ask("GET", "/one")).body == b"data: x\n\n"


async def test_a_response_without_a_body_ends_with_its_head() -> None:
    async def handler(_: Request) -> Response:
        return Text(b"", status=204)

    async with Stage(handler).client() as client:
        for _ in range(2):
            reply = await client.ask("DELETE", "/one")
            assert reply.status == 204
            assert not reply.headers.keys() & {"content-length", "content-type"}


async def test_every_response_has_a_date() -> None:
    async with Stage().client() as client:
        date = (await client.ask("GET", "/one")).headers["date"]

    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)


# -- streams


async def test_a_stream_is_made_as_fast_as_it_is_taken() -> None:
    made = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(100):
            made += 1
            yield b"x" * 50_000

    async def handler(_: Request) -> Response:
        return Stream(chunks(), "text/plain")

    async with Stage(handler).client(send_buffer=4096) as client:
        await client.send(GET)
        await wait_all_tasks_blocked()
        assert made < 20
        assert len((await client.reply()).body) == 5_000_000
    assert made == 100


async def test_empty_pieces_do_not_end_a_stream() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b"", b"a", b"", b"b", b""):
            yield chunk

    async def handler(_: Request) -> Response:
        return Stream(chunks(), "text/plain", headers=(("X-More", "y"),))

    async with Stage(handler).client() as client:
        reply = await client.ask("GET", "/one")

    assert reply.body == b"ab"
    assert (reply.headers["content-type"], reply.headers["x-more"]) == ("text/plain", "y")


async def test_a_stream_that_is_left_early_is_closed() -> None:
    closed = trio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield BIG
        finally:
            closed.set()

    async def handler(_: Request) -> Response:
        return Stream(chunks(), "text/plain")

    async with Stage(handler).client(send_buffer=4096) as client:
        await client.send(GET)
        await wait_all_tasks_blocked()
    assert closed.is_set()


async def test_a_quiet_stream_of_events_has_heartbeats(autojump_clock: MockClock) -> None:
    async def events() -> AsyncIterator[SseEvent | bytes]:
        await trio.sleep(31)
        yield SseEvent(b"one")
        for _ in range(3):
            await trio.sleep(14)
            yield b"data: more\n\n"
        await trio.sleep(16)

    async def handler(_: Request) -> Response:
        return Sse(events())

    async with Stage(handler).client() as client:
        await client.send(request("GET", "/one", b"", "Connection: close"))
        head = await client.until(b"\r\n\r\n")
        came = []
        while data := await client.sock.recv(65536):
            came.append((trio.current_time(), data))

    assert b"Content-Type: text/event-stream\r\n" in head
    assert b"Cache-Control: no-cache\r\n" in head
    assert b"X-Accel-Buffering: no\r\n" in head
    beat, more = b"d\r\n: keepalive\n\n\r\n", b"c\r\ndata: more\n\n\r\n"
    assert came == [
        (15, beat),
        (30, beat),
        (31, b"b\r\ndata: one\n\n\r\n"),
        (45, more),
        (59, more),
        (73, more),
        (88, beat),
        (89, b"0\r\n\r\n"),
    ]


async def test_nothing_follows_the_end_of_a_stream_of_events(autojump_clock: MockClock) -> None:
    async def events() -> AsyncIterator[bytes]:
        await trio.sleep(0.25)  # the very moment of the heartbeat
        yield b"data: x\n\n"
        await trio.sleep(0.25)

    async def handler(request: Request) -> Response:
        return Sse(events(), keepalive_s=0.25 if request.path == "/one" else 15)

    stage = Stage(handler)
    async with stage.client() as client:
        await client.send(request("POST", "/one", b"", "Content-Length: 3"))
        first = await client.reply()
        await trio.sleep(0.9)  # its body is still awaited, to be dropped
        await client.send(b"abc")
        second = await client.ask("GET", "/two")

    assert first.body.replace(b": keepalive\n\n", b"") == b"data: x\n\n"
    assert second.body == b"data: x\n\n"


async def test_a_client_that_takes_no_heartbeat_is_lost(autojump_clock: MockClock) -> None:
    async def events() -> AsyncIterator[bytes]:
        yield b"data: " + b"x" * 1000 + b"\n\n"
        await trio.sleep_forever()

    async def handler(_: Request) -> Response:
        return Sse(events(), keepalive_s=0.001)

    stage = Stage(handler)
    async with stage.client(send_buffer=4096) as client:
        await client.send(GET)
        await trio.sleep(60)
    assert stage.facts[0].outcome is Outcome.CLIENT_STALLED
