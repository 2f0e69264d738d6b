"""A request's body: asked for, bounded, counted, paced; and left alone."""

from __future__ import annotations

import contextlib
import json

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.service.http.incoming import RECEIVE_BYTES
from relayd.service.http.request import DRAIN_MAX_BYTES, DRAIN_S, MIN_BYTES_PER_S, Request
from relayd.service.http.responses import Json, Response, Text
from relayd.service.http.service import Outcome
from tests.service.http.stage import HOLD_MAX_BYTES, HOST, LIMITS, Client, Stage, request

CHUNKED = f"POST /one HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n".encode()
EXPECT = "Expect: 100-continue"


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


def posted(length: int, *headers: str) -> bytes:
    """The head of a request whose body has not been sent."""
    return request("POST", "/one", b"", f"Content-Length: {length}", *headers)


async def ignore(_: Request) -> Response:
    return Text("ignored")


# -- bounds


async def test_a_body_of_the_very_limit_is_taken() -> None:
    body = b"x" * LIMITS.body_max_bytes
    async with Stage().client() as client:
        assert (await client.ask("POST", "/one", body)).body == b"/one " + body


async def test_a_longer_one_is_refused_before_any_of_it_is_read() -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.send(posted(LIMITS.body_max_bytes + 1, EXPECT))

        reply = await client.reply()
        assert (reply.status, code(reply.body)) == (413, "body_too_large")
        assert reply.closes
        assert not reply.continued
        assert await client.rest() == b""
    assert stage.facts[0].bytes_in == 0


async def test_one_that_turns_out_longer_is_refused_when_it_does() -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.send(CHUNKED)
        async with trio.open_nursery() as nursery:
            chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
            nursery.start_soon(client.send, chunk * 8)
            reply = await client.reply()

        assert (reply.status, code(reply.body), reply.closes) == (413, "body_too_large", True)
    assert stage.facts[0].bytes_in <= LIMITS.body_max_bytes + RECEIVE_BYTES


async def test_a_handler_may_take_less_and_never_more() -> None:
    async def handler(request: Request) -> Response:
        least = 3 if request.path == "/three" else LIMITS.body_max_bytes * 2
        return Text(await request.body(least))

    async with Stage(handler).client() as client:
        assert (await client.ask("POST", "/three", b"abc")).status == 200
        assert (await client.ask("POST", "/three", b"abcd")).status == 413
    async with Stage(handler).client() as client:
        await client.send(posted(LIMITS.body_max_bytes + 1))
        assert (await client.reply()).status == 413


async def test_what_is_kept_is_counted_until_the_response_is_complete() -> None:
    held = []

    async def handler(request: Request) -> Response:
        body = await request.body()
        held.append(stage.hold.bytes_held)
        return Text(body)

    stage = Stage(handler)
    async with stage.client() as client:
        await client.ask("POST", "/one", b"x" * 50_000)
        await client.ask("POST", "/one", b"x" * 10)
    assert held == [50_000, 10]


async def test_where_too_much_is_held_a_body_is_refused() -> None:
    stage = Stage()
    others = HOLD_MAX_BYTES - 1000
    assert stage.hold.take(others)
    async with stage.client() as client:
        reply = await client.ask("POST", "/one", b"x" * 50_000)
        assert (reply.status, code(reply.body), reply.closes) == (503, "overload", True)
        assert await client.rest() == b""
        stage.hold.give(others)
    assert stage.facts[0].bytes_in <= RECEIVE_BYTES


async def test_a_body_read_in_pieces_is_not_held() -> None:
    sizes, held = [], []

    async def handler(request: Request) -> Response:
        async for chunk in request.chunks():
            sizes.append(len(chunk))
            held.append(stage.hold.bytes_held)
        return Text("read")

    stage = Stage(handler)
    async with stage.client() as client:
        await client.ask("POST", "/one", b"x" * 150_000)
    assert sum(sizes) == 150_000
    assert max(sizes) <= RECEIVE_BYTES
    assert not any(held)


async def test_a_body_comes_no_faster_than_it_is_read(autojump_clock: MockClock) -> None:
    going_on = trio.Event()

    async def handler(request: Request) -> Response:
        async for _ in request.chunks():
            await going_on.wait()
        return Text("read")

    async with Stage(handler).client() as client:
        await client.send(posted(150_000))
        with trio.move_on_after(1) as scope:
            sent = 0
            while True:
                sent += await client.sock.send(b"x" * 1000)
        assert scope.cancelled_caught
        going_on.set()
        await client.send(b"x" * (150_000 - sent))
        assert (await client.reply()).status == 200


async def test_asking_again_gives_the_same_body() -> None:
    async def handler(request: Request) -> Response:
        return Json([len(await request.body()), len(await request.body())])

    async with Stage(handler).client() as client:
        assert (await client.ask("POST", "/one", b"abc")).body == b"[3,3]"
        assert (await client.ask("POST", "/one")).body == b"[0,0]"


async def test_cancelling_a_read_loses_nothing(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Response:
        with trio.move_on_after(3) as scope:
            await request.body()
        assert scope.cancelled_caught
        return Text(await request.body())

    async with Stage(handler).client() as client:
        await client.send(posted(6) + b"abc")
        await trio.sleep(5)
        await client.send(b"def")
        assert (await client.reply()).body == b"abcdef"


# -- time, and broken bodies


async def test_a_body_that_stops_is_refused(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.send(posted(100_000))
        await trio.sleep(LIMITS.stall_s - 1)
        await client.send(b"x" * 50_000)
        reply = await client.reply()

        assert (reply.status, code(reply.body), reply.closes) == (408, "body_timeout", True)
        assert trio.current_time() == LIMITS.stall_s - 1 + LIMITS.stall_s
    assert (stage.facts[0].reason, stage.facts[0].bytes_in) == ("body_timeout", 50_000)


async def pour(client: Client, rate: float, piece: int, frame: bytes = b"%b") -> None:
    """Send so many bytes of a body each second, in pieces of one size, until nobody takes them."""
    with contextlib.suppress(OSError):
        while True:
            await client.send(frame % (b"x" * piece))
            await trio.sleep(piece / rate)


@pytest.mark.parametrize("head", [posted(200_000), CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("piece", [1, 100])
async def test_a_body_that_trickles_is_refused(
    head: bytes, piece: int, autojump_clock: MockClock
) -> None:
    """What a byte gives back is less than what it took: patience ends, whatever the pieces."""
    rate = MIN_BYTES_PER_S / 100
    stage = Stage()
    async with stage.client() as client, trio.open_nursery() as nursery:
        await client.send(head)
        frame = b"%x\r\n%%b\r\n" % piece if head is CHUNKED else b"%b"
        nursery.start_soon(pour, client, rate, piece, frame)
        reply = await client.reply()
        nursery.cancel_scope.cancel()

        assert (reply.status, code(reply.body), reply.closes) == (408, "body_timeout", True)
    # stall_s, and what the bytes that came within it gave back.
    expected = LIMITS.stall_s / (1 - rate / MIN_BYTES_PER_S)
    assert trio.current_time() == pytest.approx(expected, abs=piece / MIN_BYTES_PER_S + 0.01)
    assert stage.facts[0].reason == "body_timeout"


async def test_a_byte_within_each_stall_is_not_enough(autojump_clock: MockClock) -> None:
    async with Stage().client() as client, trio.open_nursery() as nursery:
        await client.send(posted(100))
        nursery.start_soon(pour, client, 1 / (LIMITS.stall_s - 1), 1)

        assert (await client.reply()).status == 408
        assert trio.current_time() == pytest.approx(LIMITS.stall_s, abs=0.01)
        nursery.cancel_scope.cancel()


async def test_a_slow_body_that_keeps_its_pace_is_taken(autojump_clock: MockClock) -> None:
    count = int(MIN_BYTES_PER_S) * 120
    async with Stage().client() as client:
        await client.send(posted(count))
        for _ in range(120):
            await trio.sleep(0.99)
            await client.send(b"x" * int(MIN_BYTES_PER_S))

        assert (await client.reply()).status == 200
    assert trio.current_time() > LIMITS.stall_s * 7


async def test_bytes_that_came_fast_buy_no_longer_pause(autojump_clock: MockClock) -> None:
    async with Stage().client() as client:
        await client.send(posted(LIMITS.body_max_bytes) + b"x" * (LIMITS.body_max_bytes - 1))

        assert (await client.reply()).status == 408
        assert trio.current_time() == LIMITS.stall_s


async def test_a_client_does_not_pay_for_a_slow_handler(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Response:
        async for _ in request.chunks():
            await trio.sleep(LIMITS.stall_s * 2)
        return Text("read")

    async with Stage(handler).client() as client:
        await client.send(posted(50_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, b"x" * 50_000)
            assert (await client.reply()).status == 200


@pytest.mark.parametrize("wire", [b"x\r\n", b"3\r\nabcde\r\n", b"3\r\nabc\r\n0\r\nX\r\n\r\n"])
async def test_a_malformed_body_is_refused(wire: bytes) -> None:
    async with Stage().client() as client:
        await client.send(CHUNKED + wire)

        reply = await client.reply()
        assert (reply.status, code(reply.body), reply.closes) == (400, "malformed_request", True)
        assert await client.rest() == b""


async def test_a_broken_body_stays_broken() -> None:
    errors = []

    async def handler(request: Request) -> Response:
        for _ in range(2):
            try:
                await request.body()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is compared below
                errors.append(error)
        raise errors[1]

    async with Stage(handler).client() as client:
        await client.send(CHUNKED + b"x\r\n")
        assert (await client.reply()).status == 400
    assert str(errors[0]) == str(errors[1]) == "malformed_request"


async def test_a_client_that_leaves_in_its_body_is_gone() -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.send(posted(100) + b"abc")
    assert (stage.facts[0].status, stage.facts[0].outcome) == (0, Outcome.CLIENT_GONE)


# -- expectations


async def test_a_100_is_sent_when_the_body_is_asked_for_and_not_before() -> None:
    going_on = trio.Event()

    async def handler(request: Request) -> Response:
        await going_on.wait()
        return Text(await request.body())

    async with Stage(handler).client() as client:
        await client.send(posted(3, EXPECT))
        await wait_all_tasks_blocked()
        assert not client.has_more()
        going_on.set()
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"abc")
        reply = await client.reply()
        assert (reply.body, reply.closes) == (b"abc", False)


async def test_a_client_that_did_not_wait_hears_no_100() -> None:
    async with Stage().client() as client:
        await client.send(posted(3, EXPECT) + b"abc")

        reply = await client.reply()
        assert (reply.body, reply.continued) == (b"/one abc", False)


async def test_without_a_100_the_connection_ends_with_the_response() -> None:
    async with Stage(ignore).client() as client:
        await client.send(posted(3, EXPECT))

        reply = await client.reply()
        assert (reply.status, reply.continued, reply.closes) == (200, False, True)
        assert await client.rest() == b""


async def test_an_expectation_without_a_body_means_nothing() -> None:
    async with Stage().client() as client:
        reply = await client.ask("GET", "/one", b"", EXPECT)

        assert (reply.status, reply.continued, reply.closes) == (200, False, False)


async def test_nothing_else_can_be_expected() -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.send(posted(3, "Expect: 200-ok"))

        reply = await client.reply()
        assert (reply.status, code(reply.body)) == (417, "expectation_failed")
        assert reply.closes
    assert stage.seen == []


# -- bodies that nobody read


async def test_a_short_body_that_nobody_read_is_dropped() -> None:
    async with Stage(ignore).client() as client:
        await client.send(posted(DRAIN_MAX_BYTES))
        assert not (await client.reply()).closes
        await client.send(b"x" * DRAIN_MAX_BYTES)

        assert (await client.ask("GET", "/two")).status == 200


async def test_what_came_of_it_before_the_response_is_not_taken_for_a_request() -> None:
    stage = Stage(ignore)
    async with stage.client() as client:
        await client.send(posted(6) + b"abc")
        await client.reply()
        await client.send(b"def")

        assert (await client.ask("GET", "/two")).status == 200
    assert [facts.status for facts in stage.facts] == [200, 200]


async def test_a_request_may_follow_a_body_that_nobody_read_at_once() -> None:
    async with Stage(ignore).client() as client:
        await client.send(CHUNKED)
        await client.reply()
        await client.send(b"3\r\nabc\r\n0\r\n\r\n" + request("GET", "/two"))

        assert (await client.reply()).body == b"ignored"


async def test_a_long_one_ends_the_connection() -> None:
    async with Stage(ignore).client() as client:
        await client.send(posted(DRAIN_MAX_BYTES + 1))

        assert (await client.reply()).closes
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "wire", [b"x\r\n", (b"800\r\n" + b"x" * 2048 + b"\r\n") * 40 + b"0\r\n\r\n"]
)
async def test_one_that_turns_out_too_long_or_broken_does_too(
    wire: bytes, autojump_clock: MockClock
) -> None:
    stage = Stage(ignore)
    async with stage.client() as client:
        await client.send(CHUNKED)
        assert not (await client.reply()).closes
        await client.send(wire)

        assert await client.rest() == b""
        assert trio.current_time() == 0  # and not when it had been idle for too long
    assert len(stage.facts) == 1


async def test_one_that_does_not_come_does_too(autojump_clock: MockClock) -> None:
    stage = Stage(ignore)
    async with stage.client() as client:
        await client.send(posted(3))
        await client.reply()

        assert await client.rest() == b""
        assert trio.current_time() == DRAIN_S
    assert stage.facts[0].outcome is Outcome.COMPLETE


async def test_a_client_that_leaves_instead_has_had_its_response() -> None:
    stage = Stage(ignore)
    async with stage.client() as client:
        await client.send(posted(3))
        await client.reply()
    assert stage.facts[0].outcome is Outcome.COMPLETE


async def test_a_request_shows_nothing_of_what_was_sent() -> None:
    stage = Stage()
    async with stage.client() as client:
        await client.ask("POST", "/canary0?key=canary1", b"canary2", "Authorization: canary3")

    assert "canary" not in repr(stage.seen)
    assert (stage.seen[0].method, stage.seen[0].query.raw) == ("POST", "key=canary1")
