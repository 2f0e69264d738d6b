"""What clients of the chat dialect get when upstreams fail, and where their requests go then."""

from __future__ import annotations

import email.utils
import time
from typing import Any
from urllib.parse import parse_qs

import attrs
import pytest
import trio

from relayd.config.accounts import Timeouts
from relayd.observe.events import LogEvent
from tests.faults import chat
from tests.faults.chat import DONE, SID, Client, answer, said, serve, spark, take, wired
from tests.faults.harness import Relay, Stage, Upstream
from tests.faults.wire import TEXT, close, frame

Json = dict[str, Any]

QUICK = Timeouts(connect_s=0.3, first_frame_s=0.2, idle_s=0.2, total_s=3.0)

CODES = {
    10003: (400, "upstream_bad_request", None),
    10004: (400, "invalid_value", None),
    10007: (429, "upstream_busy_user", None),
    10008: (503, "overloaded", None),
    10013: (400, "content_filter", None),
    10015: (503, "no_available_account", "false"),
    10016: (429, "insufficient_quota", "false"),
    10017: (502, "upstream_error", None),
    10907: (400, "context_length_exceeded", None),
    11200: (503, "upstream_not_entitled", "false"),
    11201: (429, "daily_quota", "false"),
    11202: (429, "rate_limit_exceeded", None),
    11203: (429, "upstream_concurrency", None),
    99999: (502, "upstream_error", None),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("code", CODES)
async def test_an_error_that_comes_first_is_the_status(
    stage: Stage, code: int, stream: bool
) -> None:
    upstream = await stage.upstream()
    status, word, should_retry = CODES[code]
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=stream)
        await serve(upstream, said(code=code, message="No."))
        body = await client.json()

    assert client.status == status
    assert body["error"]["code"] == word
    assert body["error"]["message"] == f"Spark {code}: No. (sid={SID})"
    assert client.headers.get("x-should-retry") == should_retry
    assert client.headers["x-upstream-sid"] == SID
    assert ("retry-after" in client.headers) == (code in {10007, 11202, 11203})


@pytest.mark.parametrize("code", [10000, 10012, 10006])
async def test_some_errors_are_tried_once_more_at_the_same_account(stage: Stage, code: int) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, user="me")
        far, first = await take(upstream)
        await far.send(wired(said(code=code)))
        far, second = await take(upstream)
        await far.send(wired(*answer("ok")))
        body = await client.json()

    assert client.status == 200
    assert body["choices"][0]["message"]["content"] == "ok"
    assert first["header"]["uid"] != second["header"]["uid"]


async def test_relayd_that_has_tried_itself_says_that_its_client_should_not(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        await serve(upstream, said(code=10012))
        await serve(upstream, said(code=10012))
        body = await client.json()

    assert client.status == 502
    assert body["error"]["code"] == "upstream_error"
    assert client.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("code", [10008, 10015, 10016, 11200, 11201, 11202, 11203])
async def test_the_next_account_answers(stage: Stage, code: int) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    accounts = (spark(first, "first"), spark(second, "second", priority=1))
    async with stage.relay(*accounts) as relay:
        client = await Client.asking(relay, stream=True)
        await serve(first, said(code=code))
        await serve(second, *answer("ok"))
        events = await client.events()
        line = await stage.log.wait(LogEvent.TURN_ENDED)

    assert client.status == 200
    assert chat.text_of(events) == "ok"
    assert line["account"] == "second"
    assert [each["account"] for each in stage.log.of(LogEvent.UPSTREAM_FAILED)] == ["first"]


async def test_a_request_that_is_wrong_is_not_taken_elsewhere(stage: Stage) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    accounts = (spark(first, "first"), spark(second, "second", priority=1))
    async with stage.relay(*accounts) as relay:
        client = await Client.asking(relay)
        await serve(first, said(code=10013))
        await client.json()

    assert client.status == 400
    assert second.wires == []
    assert stage.log.of(LogEvent.UPSTREAM_FAILED) == []


@pytest.mark.parametrize("code", [10015, 10016, 11200, 11201, 11202])
async def test_an_account_that_said_no_is_left_alone_and_the_reason_told(
    stage: Stage, code: int
) -> None:
    upstream = await stage.upstream()
    status, word, should_retry = CODES[code]
    async with stage.relay(spark(upstream)) as relay:
        await serve_one(relay, upstream, said(code=code))
        client = await Client.asking(relay)
        body = await client.json()

    assert len(upstream.wires) == 1
    assert client.status == status
    assert body["error"]["code"] == word
    assert client.headers.get("x-should-retry") == should_retry
    assert ("retry-after" in client.headers) == (code == 11202)


async def serve_one(relay: Relay, upstream: Upstream, *frames: Json) -> None:
    client = await Client.asking(relay)
    await serve(upstream, *frames)
    await client.json()


async def test_a_model_that_is_not_entitled_leaves_the_others_of_its_account(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream, models=("a", "b"))) as relay:
        client = await Client.asking(relay, model="a")
        await serve(upstream, said(code=11200))
        await client.json()
        client = await Client.asking(relay, model="b")
        await serve(upstream, *answer("ok"))
        await client.json()

    assert client.status == 200


# -- truncated answers


async def test_an_answer_that_ends_before_its_end_is_no_success(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        await serve(upstream, said("Hel", 0), said("lo", 1))
        events = await client.events()
        line = await stage.log.wait(LogEvent.TURN_ENDED)

    assert chat.text_of(events) == "Hello"
    assert chat.finishes_of(events) == []
    assert events[-1] == DONE
    assert events[-2]["error"]["code"] == "upstream_truncated"
    assert line["reason"] == "upstream_truncated"
    assert line["estimated"] is True
    assert line["tokens_out"] == 2


async def test_neither_is_one_document(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        await serve(upstream, said("Hel", 0), said("lo", 1))
        body = await client.json()

    assert client.status == 502
    assert body["error"]["code"] == "upstream_truncated"


@pytest.mark.parametrize("cut", [None, 10012])
async def test_one_document_is_given_anew_by_another_account(stage: Stage, cut: int | None) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    accounts = (spark(first, "first"), spark(second, "second", priority=1))
    end = [] if cut is None else [said(code=cut)]
    async with stage.relay(*accounts) as relay:
        client = await Client.asking(relay)
        for _ in range(2 if cut else 1):
            await serve(first, said("Hel", 0), said("lost", 1), *end)
        await serve(second, *answer("Good ", "day"))
        body = await client.json()

    assert client.status == 200
    assert body["choices"][0]["message"]["content"] == "Good day"
    assert body["usage"]["total_tokens"] == 14
    assert "x-should-retry" not in client.headers
    lines = stage.log.of(LogEvent.TURN_ENDED)
    billed = [line["account"] for line in lines if line["tokens_out"]]
    assert billed == [*(["first"] * (2 if cut else 1)), "second"], "each bills what it has said"


async def test_an_error_behind_the_first_word_ends_the_stream(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream), spark(upstream, "other")) as relay:
        client = await Client.asking(relay, stream=True)
        await serve(upstream, said("Hel", 0), said(code=10012, message="engine"))
        events = await client.events()

    assert events[-2]["error"]["message"].startswith("Spark 10012: engine")
    assert events[-1] == DONE
    assert len(upstream.wires) == 1


async def test_nothing_at_all_is_tried_elsewhere(stage: Stage) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    accounts = (spark(first, "first"), spark(second, "second", priority=1))
    async with stage.relay(*accounts) as relay:
        client = await Client.asking(relay)
        await serve(first)
        await serve(first)  # once more: perhaps the socket alone was bad
        await serve(second, *answer("ok"))
        await client.json()

    assert client.status == 200


@pytest.mark.parametrize(
    "garbage",
    [
        frame(TEXT, b"not json", masked=False),
        frame(TEXT, b"[]", masked=False),
        frame(2, b"binary", masked=False),
        frame(TEXT, b"masked", masked=True),
        frame(TEXT, b"\xff\xff", masked=False),
        b"\xff\xff\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("begun", [False, True])
async def test_garbage_is_an_error(stage: Stage, garbage: bytes, begun: bool) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        far, _ = await take(upstream)
        await far.send(wired(*([said("Hi", 0)] if begun else []), garbage))
        if begun:
            events = await client.events()
            error = events[-2]["error"]
        else:
            error = (await client.json())["error"]
            assert client.status == 502

    assert error["code"] == "upstream_protocol_error"


# -- time


async def test_an_upstream_that_says_nothing(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream, timeouts=QUICK)) as relay:
        client = await Client.asking(relay)
        far, _ = await take(upstream)
        body = await client.json()
        assert (await far.until_close()).close_code == 1000

    assert client.status == 504
    assert body["error"]["code"] == "upstream_timeout"


async def test_an_upstream_that_stops_speaking(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream, timeouts=QUICK)) as relay:
        client = await Client.asking(relay, stream=True)
        far, _ = await take(upstream)
        await far.send(wired(said("Hi", 0)))
        events = await client.events()
        assert (await far.until_close()).close_code == 1000

    assert events[-2]["error"]["code"] == "upstream_timeout"


async def test_an_answer_without_end(stage: Stage) -> None:
    upstream = await stage.upstream()
    times = attrs.evolve(QUICK, total_s=0.5)
    async with stage.relay(spark(upstream, timeouts=times)) as relay:
        client = await Client.asking(relay, stream=True)
        far, _ = await take(upstream)
        with trio.move_on_after(2) as talking:
            async with trio.open_nursery() as nursery:

                async def talk() -> None:
                    while True:
                        await far.send(wired(said("la", 1)))
                        await trio.sleep(0.05)

                nursery.start_soon(talk)
                events = await client.events()
                nursery.cancel_scope.cancel()
        assert not talking.cancelled_caught

    assert events[-2]["error"]["message"] == "The answer takes longer than it may."


async def test_an_upstream_that_is_not_there(stage: Stage) -> None:
    gone = await stage.upstream()
    port = gone.port
    gone.close()
    async with stage.relay(spark(port)) as relay:
        client = await Client.asking(relay)
        body = await client.json()

    assert client.status == 502
    assert body["error"]["code"] == "upstream_unreachable"


# -- the client leaves


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_stops_the_upstream(stage: Stage, begun: bool) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        far, _ = await take(upstream)
        if begun:
            await far.send(wired(said("Hi", 0)))
            await client.head()
        with trio.fail_after(1):
            client.wire.close()
            assert (await far.until_close()).close_code == 1000
        line = await stage.log.wait(LogEvent.TURN_ENDED)

    assert line["reason"] == "client_gone"
    assert line["estimated"] is True  # the upstream has read the question
    assert line["tokens_in"] > 0


async def test_a_slow_client_slows_its_upstream(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        wire = await relay.client(receive_buffer=4096)
        await wire.send(chat.asking(stream=True))
        far, _ = await take(upstream)
        far.sock.setsockopt(1, 7, 16384)  # SO_SNDBUF
        chunk, sent = wired(said("x" * 4000, 1)), 0
        with trio.move_on_after(0.25) as blocked:  # the client is cut after stall_s
            while True:
                await far.sock.send(chunk)
                sent += len(chunk)
        assert blocked.cancelled_caught
        held = relay.hold.bytes_held

    assert 0 < held < 2 << 20
    assert sent < 16 << 20


# -- the handshake


def refusing(status: str, message: str, *headers: str) -> bytes:
    body = f'{{"message":"{message}"}}'
    lines = "".join(f"{header}\r\n" for header in headers)
    head = f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


DATE_WORDS = (
    "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC"
    " Authentication"
)


async def refuse(upstream: Upstream, status: str, message: str, *headers: str) -> bytes:
    far = await upstream.accept()
    request = await far.head()
    await far.send(refusing(status, message, *headers))
    return request


async def test_a_wrong_key_is_not_the_clients(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        await refuse(upstream, "401 Unauthorized", "HMAC signature does not match")
        body = await client.json()
        again = await Client.asking(relay)
        await again.json()
        disabled = await stage.log.wait(LogEvent.ACCOUNT_DISABLED)

    assert client.status == again.status == 502
    assert body["error"]["code"] == "upstream_auth_failed"
    assert "HMAC signature does not match" in disabled["message"]
    assert len(upstream.wires) == 1


async def test_a_clock_that_is_off_is_corrected(stage: Stage) -> None:
    upstream = await stage.upstream()
    ahead_s = 3600.0
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        there = email.utils.formatdate(time.time() + ahead_s, usegmt=True)
        await refuse(upstream, "403 Forbidden", DATE_WORDS, f"Date: {there}")
        far = await serve(upstream, *answer("ok"))
        await client.json()
        second = await Client.asking(relay)
        other = await serve(upstream, *answer("ok"))
        await second.json()

    assert client.status == second.status == 200
    (line,) = stage.log.of(LogEvent.CLOCK_SKEWED)
    assert line["account"] == "one"
    assert abs(line["offset_s"] - ahead_s) < 5
    for wire in (far, other):
        assert abs(date_of(bytes(wire.seen)) - time.time() - ahead_s) < 5
    assert stage.log.of(LogEvent.ACCOUNT_DISABLED) == []


async def test_a_clock_that_was_set_meanwhile_is_believed_again(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        there = email.utils.formatdate(time.time() + 3600, usegmt=True)
        await refuse(upstream, "403 Forbidden", DATE_WORDS, f"Date: {there}")
        await serve(upstream, *answer("ok"))
        await client.json()
        client = await Client.asking(relay)
        here = email.utils.formatdate(time.time(), usegmt=True)
        await refuse(upstream, "403 Forbidden", DATE_WORDS, f"Date: {here}")
        far = await serve(upstream, *answer("ok"))
        await client.json()

    assert client.status == 200
    assert abs(date_of(bytes(far.seen)) - time.time()) < 5
    assert [round(each["offset_s"], -2) for each in stage.log.of(LogEvent.CLOCK_SKEWED)] == [
        3600,
        0,
    ]


async def test_a_date_that_is_never_right(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        for ahead_s in (3600, 7200):
            there = email.utils.formatdate(time.time() + ahead_s, usegmt=True)
            await refuse(upstream, "403 Forbidden", DATE_WORDS, f"Date: {there}")
        body = await client.json()

    assert client.status == 502
    assert body["error"]["code"] == "upstream_auth_failed"
    assert len(upstream.wires) == 2


def date_of(seen: bytes) -> float:
    target = seen.split(b" ")[1].decode()
    (date,) = parse_qs(target.partition("?")[2])["date"]
    return email.utils.parsedate_to_datetime(date).timestamp()


# -- how many at once


async def test_an_account_takes_as_many_as_it_may(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream, sessions_max=1)) as relay:
        first = await Client.asking(relay)
        far, _ = await take(upstream)
        second = await Client.asking(relay)
        body = await second.json()
        await far.send(wired(*answer("ok")))
        await first.json()
        third = await Client.asking(relay)
        await serve(upstream, *answer("ok"))
        await third.json()

    assert (first.status, second.status, third.status) == (200, 503, 200)
    assert body["error"]["code"] == "account_busy"
    assert second.headers["retry-after"] == "1"


async def test_a_close_of_its_own_code(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        far, _ = await take(upstream)
        await far.send(wired(said("Hi", 0)) + close(1011, "oops", masked=False))
        events = await client.events()

    assert events[-2]["error"]["code"] == "upstream_truncated"
