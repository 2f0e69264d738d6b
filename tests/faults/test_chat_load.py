"""Many chat streams at once: every word of every one arrives, in order, and nothing is left."""

from __future__ import annotations

import attrs
import pytest
import trio

from relayd.config.accounts import Timeouts
from relayd.observe.events import LogEvent
from tests.faults import chat, harness, wire
from tests.faults.chat import (
    DONE,
    USAGE,
    Client,
    Prewarmed,
    answer,
    said,
    serve,
    spark,
    take,
    wired,
)
from tests.faults.harness import LIMITS, Stage, Upstream
from tests.faults.wire import Wire, accepting, close

STREAMS = 500
FRAMES = 40
PATIENT = Timeouts(connect_s=30.0, first_frame_s=60.0, idle_s=60.0, total_s=300.0)


async def play(upstream: Upstream, count: int, frames: int) -> None:
    """Answer so many requests, each with words of its own."""
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            far = await upstream.accept()

            async def one(far: Wire) -> None:
                request_head = await far.head()
                await far.send(accepting(request_head))
                request = await chat.request_of(far)
                name = request["payload"]["message"]["text"][-1]["content"]
                for number in range(frames):
                    await far.send(wired(said(f"{name}-{number} ", 0 if number == 0 else 1)))
                    if number % 8 == 0:
                        await trio.sleep(0.001)
                await far.send(wired(said("", 2, usage=USAGE)))
                await far.until_close()
                far.close()

            nursery.start_soon(one, far)


@pytest.mark.slow
async def test_five_hundred_streams_lose_no_frame(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (wire, harness):  # both ends of all streams are played by this process as well
        monkeypatch.setattr(module, "SOON_S", 50.0)
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, stall_s=60.0, handshakes_per_ip_max=2 * STREAMS)
    done: dict[str, str] = {}
    async with stage.relay(spark(upstream, timeouts=PATIENT), limits=limits) as relay:

        async def ask(name: str) -> None:
            messages = [{"role": "user", "content": name}]
            client = await Client.asking(relay, stream=True, messages=messages)
            events = await client.events()
            assert chat.finishes_of(events) == ["stop"]
            assert events[-1] == DONE
            done[name] = chat.text_of(events)
            client.wire.close()

        with trio.fail_after(50):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play, upstream, STREAMS, FRAMES)
                for number in range(STREAMS):
                    nursery.start_soon(ask, f"s{number}")

    assert done == {
        name: "".join(f"{name}-{number} " for number in range(FRAMES))
        for name in (f"s{number}" for number in range(STREAMS))
    }
    assert len(stage.log.of(LogEvent.TURN_ENDED)) == STREAMS


async def test_a_burst_in_one_segment_arrives_whole(stage: Stage) -> None:
    upstream = await stage.upstream()
    words = [f"{number} " for number in range(1000)]
    async with stage.relay(spark(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        await serve(upstream, *answer(*words))
        events = await client.events()

    assert chat.text_of(events) == "".join(words)
    assert chat.finishes_of(events) == ["stop"]


# -- sockets that are opened ahead


async def test_a_ready_socket_serves_one_request(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with Prewarmed.over(stage).relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        await serve(upstream, *answer("first"))
        await client.json()
        for number in range(3):
            far = await upstream.accept_upgrade()  # before anybody asks
            client = await Client.asking(relay)
            request = await chat.request_of(far)
            assert request["payload"]
            await far.send(wired(*answer(f"{number}")) + close(1000, masked=False))
            body = await client.json()
            assert body["choices"][0]["message"]["content"] == f"{number}"

    targets = [bytes(far.seen).split(b" ")[1] for far in upstream.wires]
    assert all(b"/v3.5/chat?authorization=" in target for target in targets)


async def test_a_ready_socket_that_was_lost_costs_its_client_nothing(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with Prewarmed.over(stage).relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        far, _ = await take(upstream)
        ready = await upstream.accept_upgrade()
        await far.send(wired(*answer("first")))
        await client.json()

        async def lose() -> None:
            await chat.request_of(ready)  # it was sound when it was taken
            ready.reset()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            client = await Client.asking(relay)
            later = [await upstream.accept_upgrade() for _ in range(2)]  # the next one, and its own
            for each in later:
                nursery.start_soon(answer_if_asked, each)
            body = await client.json()
            nursery.cancel_scope.cancel()

    assert body["choices"][0]["message"]["content"] == "ok"
    assert stage.log.of(LogEvent.BREAKER_OPENED) == []


async def answer_if_asked(far: Wire) -> None:
    await chat.request_of(far)
    await far.send(wired(*answer("ok")))


async def test_what_cannot_be_opened_ahead_is_told_and_suppressed(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with Prewarmed.over(stage).relay(spark(upstream)) as relay:
        client = await Client.asking(relay)
        await serve(upstream, *answer("first"))
        await client.json()
        for _ in range(2):
            (await upstream.accept()).close()
        line = await stage.log.wait(LogEvent.UPSTREAM_FAILED, 2)

    assert line["session_id"] is None
    assert line["account"] == "one"
    assert len(upstream.wires) == 3
