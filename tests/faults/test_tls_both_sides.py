"""The faults that TLS has of its own, or makes harder, with TLS on both sides of relayd."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from tests.faults.conftest import Certificate
from tests.faults.harness import BEARER, LIMITS, PASSTHROUGH, Relay, Stage, accepted, account
from tests.faults.wire import BINARY, TEXT, Ended, Ending, Wire, accepting, close, frame, upgrade

MESSAGE = bytes(range(256)) * 128


@asynccontextmanager
async def secured(
    stage: Stage, certificate: Certificate, stall_s: float = 2.0
) -> AsyncIterator[tuple[Relay, Wire, Wire]]:
    """A session: relayd, its client and its upstream."""
    upstream = await stage.upstream()
    only = account(upstream, tls_ca=certificate.ca)
    limits = attrs.evolve(LIMITS, stall_s=stall_s)
    async with stage.relay(only, limits=limits, tls=certificate.settings) as relay:
        client = await relay.client(receive_buffer=65536)
        await client.start_tls(certificate.trusting)
        await client.send(upgrade(PASSTHROUGH, BEARER))
        far = await upstream.accept()
        await far.start_tls(certificate.showing)
        await far.send(accepting(await far.head()))
        await accepted(client)
        yield relay, client, far


@pytest.mark.parametrize("size", [0, 1, 125, 126, 16384, 16385, 65535, 65536, 1_000_000])
async def test_messages_of_every_size_arrive_whole(
    stage: Stage, certificate: Certificate, size: int
) -> None:
    payload = (MESSAGE * (size // len(MESSAGE) + 1))[:size]
    async with secured(stage, certificate) as (_, client, far):
        for near, other in ((client, far), (far, client)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.send, frame(BINARY, payload, masked=near.is_client))
                assert (await other.frame()).payload == payload


async def test_nothing_is_lost_on_a_client_that_reads_late(
    stage: Stage, certificate: Certificate
) -> None:
    count = 160
    async with secured(stage, certificate) as (relay, client, far):
        data = frame(BINARY, MESSAGE, masked=False) * count + close(1000, "done", masked=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_and_leave, far, data)
            with trio.fail_after(5):
                while relay.hold.bytes_held == 0:
                    await trio.lowlevel.checkpoint()
            for _ in range(count):
                assert (await client.frame()).payload == MESSAGE
        assert (await client.frame()).close_code == 1000
        await client.finish()
        line = await relay.log.session_ended()

    assert (line["reason"], line["bytes_down"]) == ("upstream_closed", count * len(MESSAGE))


@pytest.mark.parametrize("size", [100, 300_000])
async def test_an_upstream_lost_mid_frame_without_a_tls_end(
    stage: Stage, certificate: Certificate, size: int
) -> None:
    """A FIN without close_notify is no end of anything."""
    async with secured(stage, certificate) as (relay, client, far):
        await far.send(frame(TEXT, b"whole", masked=False))
        assert (await client.frame()).payload == b"whole"
        sent = frame(BINARY, bytes(size), masked=False)[:-1]
        await far.send(sent)
        if size > 65536:
            got = 0
            while got < size:
                got += len(await client.receive())
        await far.finish()
        if size > 65536:
            client.tls = None
            assert await client.end() is Ending.RESET
        else:
            assert (await client.frame()).close_code == 1011
            await client.finish()
        line = await relay.log.session_ended()

    assert line["reason"] == "upstream_lost_mid_frame"


async def test_a_record_that_is_no_record_is_a_lost_upstream(
    stage: Stage, certificate: Certificate
) -> None:
    async with secured(stage, certificate) as (relay, client, far):
        far.tls = None
        await far.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert (await client.frame()).close_code == 1011
        await client.finish()
        line = await relay.log.session_ended()

    assert (line["reason"], line["fault"]) == ("upstream_lost", "upstream")


async def test_a_record_that_is_no_record_is_a_client_gone(
    stage: Stage, certificate: Certificate
) -> None:
    async with secured(stage, certificate) as (relay, client, far):
        client.tls = None
        await client.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await far.goodbye() == 1001
        client.reset()
        line = await relay.log.session_ended()

    assert (line["reason"], line["fault"]) == ("client_gone", "client")


async def test_an_upstream_whose_certificate_is_not_trusted_is_502(
    stage: Stage, certificate: Certificate
) -> None:
    upstream = await stage.upstream()
    impostor = attrs.evolve(account(upstream), base_url=f"wss://127.0.0.1:{upstream.port}")
    async with stage.relay(impostor) as relay:
        client = await relay.asking()
        far = await upstream.accept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake_in_vain, far, certificate)
            response = await relay.refusal(client)

    assert response.status == 502
    assert b"tls_ca" in response.body


async def say_and_leave(far: Wire, data: bytes) -> None:
    await far.send(data)
    await far.finish()


async def shake_in_vain(far: Wire, certificate: Certificate) -> None:
    try:
        await far.start_tls(certificate.showing)
        await far.receive()
    except (ssl.SSLError, Ended):
        return
    raise AssertionError("relayd went on with a stranger")
