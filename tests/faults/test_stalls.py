"""A client that stops reading costs bounded memory, harms nobody else, and is cut."""

from __future__ import annotations

import ssl

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent
from tests.faults.conftest import Certificate
from tests.faults.harness import (
    BEARER,
    LIMITS,
    PASSTHROUGH,
    Relay,
    Stage,
    Upstream,
    accepted,
    account,
    resident_bytes,
)
from tests.faults.wire import (
    BINARY,
    PING,
    PONG,
    TEXT,
    Ending,
    Frame,
    Wire,
    close,
    frame,
    upgrade,
)

ATTACKER = "127.0.0.2"
PIECE = frame(BINARY, bytes(32768), masked=False)
HELD_MAX = 400_000
RSS_GROWTH_MAX = 32 << 20


async def session(
    relay: Relay, upstream: Upstream, certificate: Certificate | None, source: str
) -> tuple[Wire, Wire]:
    """A session over TLS, where there is a certificate."""
    client = await relay.client(source=source, receive_buffer=16384)
    if certificate is not None:
        await client.start_tls(certificate.trusting)
    await client.send(upgrade(PASSTHROUGH, BEARER))
    far = await upstream.accept_upgrade()
    await accepted(client)
    return client, far


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_client_that_stops_reading_is_cut_and_the_others_notice_nothing(
    stage: Stage, certificate: Certificate, secure: bool
) -> None:
    upstream = await stage.upstream()
    tls = certificate if secure else None
    limits = attrs.evolve(LIMITS, stall_s=0.5)
    settings = certificate.settings if secure else None
    async with stage.relay(account(upstream), limits=limits, tls=settings) as relay:
        stalled, firehose = await session(relay, upstream, tls, ATTACKER)
        good, good_far = await session(relay, upstream, tls, "127.0.0.1")
        before = resident_bytes()
        peak = exchanged = 0
        ping_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour, firehose)
            nursery.start_soon(firehose.hang_up)
            while not relay.log.of(LogEvent.SESSION_ENDED):
                text = b"message %d" % exchanged
                await good_far.send(frame(TEXT, text, masked=False))
                assert (await good.frame()).payload == text
                exchanged += 1
                if trio.current_time() >= ping_at:  # below the limit of pings in a second
                    await good.send(frame(PING, text))
                    assert await good.frame() == Frame(PONG, text)
                    ping_at += 0.02
                peak = max(peak, relay.hold.bytes_held)
            nursery.cancel_scope.cancel()
        growth = resident_bytes() - before
        assert await end_below_tls(stalled) is Ending.RESET
        await good.send(close(1000))
        assert await good_far.goodbye() == 1000
        await good.goodbye()
        first = await relay.log.session_ended(1)
        second = await relay.log.session_ended(2)

    assert (first["reason"], first["fault"], first["client_close"]) == (
        *("client_stalled", "client", None),
    )
    assert (second["reason"], second["messages_down"]) == ("client_closed", exchanged)
    assert 0.4 < first["duration_s"] < 2.0
    assert 0 < peak < HELD_MAX
    assert growth < RSS_GROWTH_MAX
    assert exchanged > 10


async def test_a_client_that_reads_slowly_but_steadily_is_not_cut(stage: Stage) -> None:
    upstream = await stage.upstream()
    limits = attrs.evolve(LIMITS, stall_s=0.3)
    async with stage.relay(account(upstream), limits=limits) as relay:
        client, far = await relay.session(upstream, receive_buffer=65536)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.send, PIECE * 300)
            began = trio.current_time()
            for count in range(1, 46):  # for three times as long as it may stall
                await client.frame()
                await trio.sleep_until(began + count * limits.stall_s / 15)
            assert relay.log.of(LogEvent.SESSION_ENDED) == []
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("given_up", [0, 3, 200])
async def test_a_tls_client_may_leave_inside_its_handshake(
    stage: Stage, certificate: Certificate, given_up: int
) -> None:
    async with stage.relay(tls=certificate.settings) as relay:
        client = await relay.client(source=ATTACKER)
        tls = certificate.trusting.wrap_bio(
            client.incoming, client.outgoing, server_hostname="127.0.0.1"
        )
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        await client.send(client.outgoing.read()[:given_up])
        client.reset()
        line = await relay.log.refused()

    assert (line["status"], line["reason"]) == (0, "client_gone")


async def test_a_tls_handshake_has_all_of_its_time(stage: Stage, certificate: Certificate) -> None:
    """A slow one takes longer than what makes a head slow, and still gets through."""
    upstream = await stage.upstream()
    async with stage.relay(account(upstream), tls=certificate.settings) as relay:
        client = await relay.client()
        until = trio.current_time() + 1.1
        with trio.move_on_at(until):  # the server stays silent before the ClientHello
            await client.receive()
        await client.start_tls(certificate.trusting)
        await client.send(upgrade(PASSTHROUGH, BEARER))
        await upstream.accept_upgrade()
        await accepted(client)

    assert trio.current_time() >= until
    assert stage.log.of(LogEvent.CONNECTION_REFUSED) == []


async def test_a_tls_handshake_that_never_ends_is_dropped_at_the_deadline(
    stage: Stage, certificate: Certificate
) -> None:
    limits = attrs.evolve(LIMITS, handshake_s=0.2)
    async with stage.relay(tls=certificate.settings, limits=limits) as relay:
        client = await relay.client(source=ATTACKER)
        await client.send(b"\x16\x03\x01")
        assert await client.end() in Ending
        line = await relay.log.refused()

    assert bytes(client.seen) == b""
    assert (line["status"], line["reason"]) == (0, "head_timeout")


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\xff" * 100])
async def test_what_is_no_tls_is_dropped(
    stage: Stage, certificate: Certificate, garbage: bytes
) -> None:
    async with stage.relay(tls=certificate.settings) as relay:
        client = await relay.client(source=ATTACKER)
        await client.send(garbage)
        await client.end()
        line = await relay.log.refused()

    assert (line["status"], line["reason"]) == (0, "tls_failed")


async def pour(far: Wire) -> None:
    """Send without end."""
    while True:
        await far.send(PIECE)


async def end_below_tls(wire: Wire) -> Ending:
    """Read ciphertext to the end."""
    wire.tls = None
    return await wire.end()
