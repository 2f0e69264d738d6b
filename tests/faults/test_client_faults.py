"""What a client can do wrong once its session runs. Attackers come from 127.0.0.2 and up."""

from __future__ import annotations

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent
from tests.faults.harness import LIMITS, Stage, account, one_end
from tests.faults.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close,
    frame,
    prefixes,
)

ATTACKER = "127.0.0.2"
LOOK_EVERY_S = 0.001
LARGE = 100_000


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_may_leave_at_each_byte_of_a_frame(stage: Stage, how: str) -> None:
    """The upstream never sees a part of it, hears 1001, and relayd goes on."""
    upstream = await stage.upstream()
    whole = frame(TEXT, bytes(range(65, 65 + 20)))
    async with stage.relay(account(upstream)) as relay:
        for number, beginning in enumerate(prefixes(whole), 1):
            client, far = await relay.session(upstream, source=ATTACKER)
            await client.send(beginning)
            if how == "fin":
                await client.finish()
            else:
                client.reset()
            assert await far.goodbye() == 1001
            await relay.log.session_ended(number)
            client.close()
            far.close()
        client, far = await relay.session(upstream)
        await client.send(whole)
        assert len((await far.frame()).payload) == 20

    ends = stage.log.of(LogEvent.SESSION_ENDED)[: len(whole)]
    assert {(line["reason"], line["fault"]) for line in ends} == {("client_gone", "client")}


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_that_leaves_inside_a_large_frame_resets_its_upstream(
    stage: Stage, how: str
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        await client.send(frame(BINARY, bytes(LARGE))[:-1])
        got = 0
        while got < LARGE:
            got += len(await far.receive())
        if how == "fin":
            await client.finish()
        else:
            client.reset()
        assert (await far.end()).name == "RESET"
        line = await relay.log.session_ended()

    assert (line["reason"], line["upstream_close"]) == ("client_gone", None)


@pytest.mark.parametrize(
    ("sent", "reason", "code"),
    [
        (frame(TEXT, b"bare", masked=False), "protocol_error_client", 1002),
        (frame(3), "protocol_error_client", 1002),
        (frame(11), "protocol_error_client", 1002),
        (frame(TEXT, b"rsv", first=0x40), "protocol_error_client", 1002),
        (frame(CONTINUATION, b"no start"), "protocol_error_client", 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), "protocol_error_client", 1002),
        (frame(PING, fin=False), "protocol_error_client", 1002),
        (frame(PING, bytes(126)), "protocol_error_client", 1002),
        (frame(CLOSE, b"\x03"), "protocol_error_client", 1002),
        (close(1006), "protocol_error_client", 1002),
        (b"\x82\xfe\x00\x05" + bytes(4) + b"12345", "protocol_error_client", 1002),
        (b"\x82\xff" + (1 << 63).to_bytes(8, "big") + bytes(4), "protocol_error_client", 1002),
        (frame(TEXT, b"\xc3("), "bad_utf8", 1007),
        (frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"("), "bad_utf8", 1007),
        (frame(CLOSE, b"\x03\xe8\xff"), "bad_utf8", 1007),
        (b"\x82\xff" + (9 << 20).to_bytes(8, "big") + bytes(4), "too_big", 1009),
        (frame(BINARY, fin=False) + frame(CONTINUATION, fin=False) * 65, "control_flood", 1008),
        (frame(PING) * 101, "control_flood", 1008),
        (frame(PONG) * 101, "control_flood", 1008),
    ],
    ids=[
        *("unmasked", "opcode", "control-opcode", "reserved", "continuation", "interleaved"),
        *("cut-ping", "long-ping", "short-close", "close-1006", "long-form", "63-bits"),
        *("utf8", "utf8-in-parts", "close-utf8", "too-big", "empty-fragments"),
        *("pings", "pongs"),
    ],
)
async def test_a_client_that_breaks_the_protocol_is_told_how(
    stage: Stage, sent: bytes, reason: str, code: int
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream, source=ATTACKER)
        await client.send(sent)

        assert await client.goodbye() == code
        assert await far.goodbye() == 1001
        await relay.log.session_ended()

    line = one_end(stage.log)
    assert (line["reason"], line["fault"]) == (reason, "client")
    assert (line["client_close"], line["upstream_close"]) == (code, 1001)


async def test_pings_below_the_limit_are_answered_each_and_in_order(stage: Stage) -> None:
    upstream = await stage.upstream()
    payloads = [bytes([number]) * number for number in range(100)]
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        for near in (client, far):
            pings = (frame(PING, payload, masked=near.is_client) for payload in payloads)
            await near.send(b"".join(pings))
            got = await near.frames(100)
            assert [(each.opcode, each.payload) for each in got] == [
                (PONG, payload) for payload in payloads
            ]
        await client.send(frame(TEXT, b"on"))
        assert (await far.frame()).payload == b"on"  # and none of them went through


async def test_fragments_with_a_ping_between_arrive_as_one_message(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        await client.send(
            frame(TEXT, b"a", fin=False) + frame(PING, b"?") + frame(CONTINUATION, b"b")
        )
        assert (await client.frame()).payload == b"?"
        first, second = await far.frames(2)
        assert (first.opcode, first.payload, first.fin) == (TEXT, b"a", False)
        assert (second.opcode, second.payload, second.fin) == (CONTINUATION, b"b", True)


async def test_a_flood_of_pings_from_a_client_that_does_not_read_holds_nothing(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream, source=ATTACKER, receive_buffer=4096)
        await client.send(frame(PING, bytes(125)) * 10_000)
        assert await far.goodbye() == 1001
        client.reset()
        line = await relay.log.session_ended()
        held = relay.hold.bytes_held

    assert line["reason"] == "control_flood"
    assert held == 0


async def test_a_second_session_is_not_hurt_by_the_first_one_s_violation(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        good, good_far = await relay.session(upstream)
        bad, _ = await relay.session(upstream, source=ATTACKER)
        await bad.send(frame(TEXT, b"x", masked=False))
        assert (await bad.until_close()).close_code == 1002
        await good.send(frame(TEXT, b"still here"))
        assert (await good_far.frame()).payload == b"still here"


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_an_upstream_that_does_not_read_stops_its_client_and_is_cut(
    stage: Stage, side: str
) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, stall_s=0.3)
    async with stage.relay(account(upstream), limits=limits) as relay:
        client, far = await relay.session(upstream)
        reader, writer = (client, far) if side == "client" else (far, client)
        message = frame(BINARY, bytes(32768), masked=writer.is_client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.send, message * 600)  # more than all buffers on the way
            nursery.start_soon(writer.hang_up)
            peak = 0
            while not relay.log.of(LogEvent.SESSION_ENDED):
                peak = max(peak, relay.hold.bytes_held)
                await trio.sleep(LOOK_EVERY_S)
            nursery.cancel_scope.cancel()
        assert (await reader.end()).name == "RESET"

    line = one_end(stage.log)
    assert (line["reason"], line["fault"]) == (f"{side}_stalled", side)
    assert 0 < peak < 300_000
