"""No descriptor is left: connections are turned away politely, sessions go on, and it passes."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

import trio

from relayd.observe.events import LogEvent
from tests.faults.harness import BEARER, PASSTHROUGH, Stage, account
from tests.faults.wire import SOON_S, TEXT, Wire, close, frame, upgrade

ATTACKER = "127.0.0.2"


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open ``count`` more descriptors, as numbers without gaps below them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers = [os.dup(0) for _ in range(64)]  # into every gap, and beyond
    limit = fillers[-1] + 1 + count
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


async def test_a_lack_of_descriptors_is_survived_and_told(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client, far = await relay.session(upstream)
        attackers = [Wire(trio.socket.socket()) for _ in range(7)]
        relay.clients.extend(attackers)
        host, _, port = relay.running.addresses[0].rpartition(":")
        with descriptors_left(4):
            for wire in attackers:
                await wire.sock.bind((ATTACKER, 0))
                with trio.fail_after(SOON_S):
                    await wire.sock.connect((host, int(port)))
            paused = await relay.log.wait(LogEvent.ACCEPT_PAUSED)

            for number in range(20):  # the session notices nothing
                text = b"%d" % number
                await client.send(frame(TEXT, text))
                assert (await far.frame()).payload == text
            for wire in attackers[4:]:  # closing one here would make room for the next
                assert (await relay.refusal(wire)).status == 503

        for wire in attackers:
            wire.close()
        late = await relay.asking()
        other = await upstream.accept_upgrade()
        assert b" 101 " in await late.head()
        await late.send(close(1000))
        await other.goodbye()
        await late.goodbye()
        resumed = await relay.log.wait(LogEvent.ACCEPT_RESUMED)

    assert paused["listen"] == resumed["listen"] == relay.running.addresses[0]
    assert len(stage.log.of(LogEvent.ACCEPT_PAUSED)) == 1


async def test_without_a_descriptor_for_the_upstream_the_client_hears_503(stage: Stage) -> None:
    """The account is not to blame, so it is neither blamed nor failed over from."""
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        client = Wire(trio.socket.socket())
        relay.clients.append(client)
        host, _, port = relay.running.addresses[0].rpartition(":")
        with descriptors_left(1):
            with trio.fail_after(SOON_S):
                await client.sock.connect((host, int(port)))
            await client.send(upgrade(PASSTHROUGH, BEARER))
            response = await relay.refusal(client)
        relay.clients.append(await relay.asking())
        await upstream.accept_upgrade()

    assert response.status == 503
    assert stage.log.of(LogEvent.CONNECTION_REFUSED)[0]["reason"] == "overload"
    assert stage.log.of(LogEvent.BREAKER_OPENED) == []
