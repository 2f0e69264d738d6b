"""Many bad peers at once. Attackers come from 127.0.0.2 and up; everybody else is well served."""

from __future__ import annotations

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent
from tests.faults.harness import LIMITS, Relay, Stage, Upstream, account, resident_bytes
from tests.faults.wire import BINARY, PING, TEXT, Ended, Wire, close, frame

pytestmark = pytest.mark.slow

ATTACKERS = 400
SESSIONS = 30


async def well_served(relay: Relay, upstream: Upstream) -> None:
    """A session opens, its messages and pongs arrive, and it ends as asked."""
    client, far = await relay.session(upstream)
    for number in range(20):
        text = b"%d" % number
        await client.send(frame(TEXT, text))
        assert (await far.frame()).payload == text
        await client.send(frame(PING, text))
        assert (await client.frame()).payload == text
    await client.send(close(1000))
    assert await far.goodbye() == 1000
    await client.goodbye()
    client.close()
    far.close()


async def test_slow_heads_from_many_addresses_keep_nobody_out(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, handshake_s=4.0, handshakes_per_ip_max=16)
    async with stage.relay(account(upstream), limits=limits) as relay:
        attackers = [
            await relay.client(source=f"127.0.0.{2 + number % 8}") for number in range(ATTACKERS)
        ]
        async with trio.open_nursery() as nursery:
            for attacker in attackers:
                nursery.start_soon(drip_for_ever, attacker)
            for _ in range(SESSIONS):
                await well_served(relay, upstream)
            # Above the cap of each address the oldest go early, the rest at the deadline.
            await relay.log.refused(ATTACKERS - 8 * 16)
            await well_served(relay, upstream)
            await relay.log.refused(ATTACKERS)
            nursery.cancel_scope.cancel()

    lines = stage.log.of(LogEvent.CONNECTION_REFUSED)
    assert {(line["status"], line["reason"]) for line in lines} == {(408, "head_timeout")}


async def drip_for_ever(wire: Wire) -> None:
    """One byte of a header whenever relayd may have forgotten the last one."""
    await wire.send(b"GET / HTTP/1.1\r\nX: ")
    try:
        while True:
            await wire.send(b"x")
            with trio.move_on_after(0.5):
                await wire.receive()
    except Ended:
        return


async def test_a_crowd_that_stops_reading_costs_bounded_memory(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, stall_s=3.0)
    count = 60
    async with stage.relay(account(upstream), limits=limits) as relay:
        pairs = [
            await relay.session(upstream, source="127.0.0.2", receive_buffer=16384)
            for _ in range(count)
        ]
        before = resident_bytes()
        peak = 0
        async with trio.open_nursery() as nursery:
            for _, far in pairs:
                nursery.start_soon(pour, far)
                nursery.start_soon(far.hang_up)
            while len(relay.log.of(LogEvent.SESSION_ENDED)) < count // 2:
                await relay.log.wait(LogEvent.SERVER_STARTED)
                peak = max(peak, relay.hold.bytes_held)
                await trio.lowlevel.checkpoint()
            await relay.log.session_ended(count)
            nursery.cancel_scope.cancel()
        growth = resident_bytes() - before

    ends = stage.log.of(LogEvent.SESSION_ENDED)
    assert {line["reason"] for line in ends} == {"client_stalled"}
    assert 0 < peak < count * 200_000
    assert growth < count * 1_000_000


async def pour(far: Wire) -> None:
    """Send without end."""
    piece = frame(BINARY, bytes(32768), masked=False)
    while True:
        await far.send(piece)


async def test_sessions_that_come_and_go_leave_no_memory_behind(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        for _ in range(300):
            await well_served(relay, upstream)
        relay.clients.clear()
        upstream.wires.clear()
        before = resident_bytes()
        for _ in range(1500):
            await well_served(relay, upstream)
            relay.clients.clear()
            upstream.wires.clear()
        growth = resident_bytes() - before

    assert growth < 8 << 20
