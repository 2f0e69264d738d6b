"""What an upstream can do wrong once the session runs: what the client sees, what the log says."""

from __future__ import annotations

import json

import attrs
import pytest
import trio

from relayd.config.accounts import Timeouts
from relayd.observe.events import LogEvent
from tests.faults.harness import CREATE, LIMITS, Relay, Stage, account, one_end
from tests.faults.wire import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Ending,
    Frame,
    Wire,
    close,
    frame,
)

LARGE = 300_000


def verdict(stage: Stage) -> tuple[str, str, int | None, int | None]:
    line = one_end(stage.log)
    return line["reason"], line["fault"], line["client_close"], line["upstream_close"]


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("cut", [1, 2, 3, 50, 101])
async def test_an_upstream_lost_inside_a_small_frame_costs_the_client_that_frame_only(
    stage: Stage, cut: int, how: str
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        # In one segment: when the client has the first, relayd has read the beginning of the next.
        beginning = frame(BINARY, bytes(100), masked=False)[:cut]
        await far.send(frame(BINARY, b"whole", masked=False) + beginning)
        assert (await client.frame()).payload == b"whole"
        if how == "reset":
            far.reset()
        else:
            await far.finish()

        assert (await client.frame()).close_code == 1011
        await client.finish()
        await relay.log.session_ended()

    assert verdict(stage) == ("upstream_lost_mid_frame", "upstream", 1011, None)


async def test_an_upstream_lost_inside_a_large_frame_resets_the_client(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        await far.send(frame(BINARY, bytes(LARGE), masked=False)[:-1])
        await received(client, LARGE)
        await far.finish()

        assert await client.end() is Ending.RESET
        await relay.log.session_ended()

    assert verdict(stage) == ("upstream_lost_mid_frame", "upstream", None, None)


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_an_upstream_lost_between_frames_closes_the_client_with_1011(
    stage: Stage, how: str
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        await far.send(frame(TEXT, b"last", masked=False))
        assert (await client.frame()).payload == b"last"
        if how == "reset":
            far.reset()
        else:
            await far.finish()

        assert (await client.frame()).close_code == 1011
        await client.finish()
        await relay.log.session_ended()

    assert verdict(stage) == ("upstream_lost", "upstream", 1011, None)


@pytest.mark.parametrize(
    ("sent", "reason", "told"),
    [
        (frame(TEXT, b"masked", masked=True), "protocol_error_upstream", 1002),
        (frame(3, b"", masked=False), "protocol_error_upstream", 1002),
        (frame(TEXT, b"rsv", masked=False, first=0x40), "protocol_error_upstream", 1002),
        (frame(0, b"no start", masked=False), "protocol_error_upstream", 1002),
        (frame(PING, bytes(126), masked=False), "protocol_error_upstream", 1002),
        (frame(CLOSE, b"\x03", masked=False), "protocol_error_upstream", 1002),
        (close(1005, masked=False), "protocol_error_upstream", 1002),
        (frame(TEXT, b"\xff\xfe", masked=False), "bad_utf8", 1007),
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), "too_big", 1009),
        (frame(PING, masked=False) * 101, "control_flood", 1008),
        (frame(PONG, masked=False) * 101, "control_flood", 1008),
    ],
    ids=[
        *("masked", "opcode", "reserved", "continuation", "long-ping", "short-close"),
        *("close-1005", "utf8", "too-big", "pings", "pongs"),
    ],
)
async def test_an_upstream_that_breaks_the_protocol_is_told_how_and_its_client_hears_1011(
    stage: Stage, sent: bytes, reason: str, told: int
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        await far.send(sent)

        assert await client.goodbye() == 1011
        assert await far.goodbye() == told
        await relay.log.session_ended()

    assert verdict(stage) == (reason, "upstream", 1011, told)


async def test_an_upstream_that_stops_answering_pings_is_given_up(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, keepalive_s=0.1, keepalive_timeout_s=0.4)
    async with stage.relay(account(upstream), limits=limits) as relay:
        client, far = await relay.session(upstream)
        got: Frame | None = None
        while got is None or got.opcode == PING:  # a client that answers, beside a dead upstream
            got = await client.frame()
            if got.opcode == PING:
                await client.send(frame(PONG, got.payload))
        assert got.close_code == 1011
        await client.finish()
        await relay.log.session_ended()
        assert (await far.frame()).opcode == PING

    assert verdict(stage) == ("upstream_keepalive_timeout", "upstream", 1011, None)


async def test_a_client_that_stops_answering_pings_is_given_up(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, keepalive_s=0.1, keepalive_timeout_s=0.4)
    async with stage.relay(account(upstream), limits=limits) as relay:
        client, far = await relay.session(upstream)
        got: Frame | None = None
        while got is None or got.opcode == PING:
            got = await far.frame()
            if got.opcode == PING:
                await far.send(frame(PONG, got.payload, masked=False))
        assert got.close_code == 1001
        await far.finish()
        assert (await client.until_close()).close_code == 1001
        await client.finish()
        await relay.log.session_ended()

    assert verdict(stage) == ("client_silent", "client", 1001, 1001)


async def test_an_upstream_silent_inside_a_turn_is_an_error_event_and_1011(stage: Stage) -> None:
    upstream = await stage.upstream()
    timeouts = Timeouts(connect_s=1.0, first_frame_s=0.5, idle_s=0.2)
    async with stage.relay(account(upstream, provider="compatible", timeouts=timeouts)) as relay:
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        assert (await far.frame()).payload == CREATE

        error = json.loads((await client.frame()).payload)
        assert (error["type"], error["error"]["code"]) == ("error", "upstream_silent")
        assert await client.goodbye() == 1011
        assert await far.goodbye() == 1001
        await relay.log.session_ended()

    assert verdict(stage) == ("upstream_silent", "upstream", 1011, 1001)
    (turn,) = stage.log.of(LogEvent.TURN_ENDED)
    assert turn["reason"] == "upstream_silent"


async def test_a_turn_that_never_ends_is_cut_at_its_total_time(stage: Stage) -> None:
    upstream = await stage.upstream()
    timeouts = Timeouts(connect_s=1.0, first_frame_s=0.5, idle_s=0.2, total_s=0.5)
    async with stage.relay(account(upstream, provider="compatible", timeouts=timeouts)) as relay:
        client, far = await relay.conversation(upstream)
        await client.send(frame(TEXT, CREATE))
        delta = b'{"type":"response.output_audio.delta","delta":"AAAA"}'
        await far.send(frame(TEXT, delta, masked=False))
        while (got := await client.frame()).payload == delta:
            await far.send(frame(TEXT, delta, masked=False))
        assert json.loads(got.payload)["error"]["code"] == "turn_timeout"
        assert await client.goodbye() == 1011
        assert await far.goodbye() == 1001
        await relay.log.session_ended()

    assert verdict(stage) == ("turn_timeout", "upstream", 1011, 1001)


# A client that talks to an upstream that has left altogether makes the kernel reset the
# connection, which ends the session at once.
@pytest.mark.parametrize(
    ("talks", "leaves"),
    [(False, False), (False, True), (True, False)],
    ids=["listens", "listens-to-nobody", "talks"],
)
async def test_what_an_upstream_says_last_reaches_a_client_that_reads_late(
    stage: Stage, talks: bool, leaves: bool
) -> None:
    """Several megabytes, the Close and the FIN arrive while the client does not read."""
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, stall_s=2.0)
    message, count = bytes(range(256)) * 128, 160
    async with stage.relay(account(upstream), limits=limits) as relay:
        client, far = await relay.session(upstream, receive_buffer=65536)
        data = frame(BINARY, message, masked=False) * count + close(1000, "done", masked=False)
        async with trio.open_nursery() as sending:
            sending.start_soon(send_and_leave, far, data, leaves)
            await stuck(relay)
            if talks:
                await client.send(frame(BINARY, b"I am still here"))
            for _ in range(count):
                got = await client.frame()
                assert got.payload == message
        assert (await client.frame()).close_code == 1000
        await client.finish()
        await relay.log.session_ended()

    assert verdict(stage) == ("upstream_closed", "none", 1000, 1000)
    assert one_end(stage.log)["bytes_down"] == count * len(message)


async def send_and_leave(far: Wire, data: bytes, leaves: bool) -> None:
    await far.send(data)
    if leaves:
        far.close()
    else:
        await far.finish()


async def stuck(relay: Relay) -> None:
    """Until relayd holds bytes that its client does not take."""
    with trio.fail_after(5):
        while relay.hold.bytes_held == 0:
            await trio.lowlevel.checkpoint()


async def received(client: Wire, count: int) -> None:
    """Wait for ``count`` bytes."""
    got = 0
    while got < count:
        got += len(await client.receive())
