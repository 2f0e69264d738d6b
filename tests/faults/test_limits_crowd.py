"""Many connections of one key at its limits: exactly as many as may run do, and nothing leaks."""

from __future__ import annotations

import json
from typing import Self

import attrs
import pytest
import trio
import trio.testing

from relayd.config.schema import Timeouts
from relayd.observe.events import LogEvent
from relayd.session.limits import Limits
from tests.faults.harness import BEARER, CREATED, LIMITS, REALTIME, Relay, Stage, Upstream, account
from tests.faults.money import (
    NOON,
    PRICES,
    UNTIL_MIDNIGHT_S,
    Wall,
    count_of_sessions,
    create,
    created,
    done,
    error_of,
    header,
    key,
    watch_books,
)
from tests.faults.wire import CLOSE, TEXT, Response, Wire, accepting, close, frame, upgrade

CROWD = 1000
DAY = int(NOON.timestamp()) - UNTIL_MIDNIGHT_S
SESSIONS_MAX = 100
REQUESTS_PER_MINUTE = 150


@attrs.define
class Crowd:
    """What became of many connections of one key."""

    inside: list[Wire] = attrs.field(factory=list)
    refused: list[Response] = attrs.field(factory=list)

    async def join(self, client: Wire) -> None:
        """Ask for a session, and hear what becomes of it."""
        await client.send(upgrade(REALTIME, BEARER))
        head = await client.head()
        if head.startswith(b"HTTP/1.1 101 "):
            assert (await client.frame()).payload == CREATED
            self.inside.append(client)
        else:
            await client.end()
            self.refused.append(Response.parse(bytes(client.seen)))
            client.close()

    @classmethod
    async def of(cls, relay: Relay, size: int) -> Self:
        """So many that are all connected before the first one asks."""
        crowd, clients = cls(), [await relay.client() for _ in range(size)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(crowd.join, client)
        return crowd

    async def leave(self) -> None:
        """All who are inside go."""
        async with trio.open_nursery() as nursery:
            for client in self.inside:
                await client.send(close(1000))
                nursery.start_soon(client.goodbye)


async def serve_all(upstream: Upstream, asked: list[str]) -> None:
    """Play the upstream to whoever connects; every create that comes is noted."""
    async with trio.open_nursery() as nursery:
        while True:
            sock, _ = await upstream.sock.accept()
            far = Wire(sock, is_client=False)
            upstream.wires.append(far)
            nursery.start_soon(serve_one, far, asked)


async def serve_one(far: Wire, asked: list[str]) -> None:
    """One session: every create is answered with a turn of 10 tokens."""
    await far.send(accepting(await far.head()) + frame(TEXT, CREATED, masked=False))
    while (got := await far.frame()).opcode == TEXT:
        asked.append(f"r{len(asked)}")
        for event in (created(asked[-1]), done(asked[-1], text_in=10)):
            await far.send(frame(TEXT, event, masked=False))
    await far.send(frame(CLOSE, got.payload, masked=False))
    await far.finish()


async def ask_twice(client: Wire, refusals: list[str]) -> None:
    """Ask for a turn, hear of it or of its refusal, and ask again."""
    for number in range(2):
        await client.send(frame(TEXT, create(f"evt_{number}")))
        event = json.loads((await client.frame()).payload)
        if event["type"] == "error":
            assert event["error"]["event_id"] == f"evt_{number}"
            refusals.append(event["error"]["code"])
        else:
            assert json.loads((await client.frame()).payload)["type"] == "response.done"


@pytest.mark.slow
async def test_of_a_crowd_exactly_as_many_as_may_run_and_nothing_leaks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, wall, books = await stage.upstream(), Wall(), watch_books(monkeypatch)
    limited = key("1", sessions_max=SESSIONS_MAX, requests_per_minute=REQUESTS_PER_MINUTE)
    patient = attrs.evolve(
        LIMITS, handshake_s=30.0, admission_s=30.0, stall_s=5.0, handshakes_per_ip_max=CROWD
    )
    patience = Timeouts(connect_s=30.0, first_frame_s=30.0)
    only = account(upstream, provider="compatible", timeouts=patience)
    async with (
        stage.relay(only, key=limited, prices=PRICES, wall=wall, limits=patient) as relay,
        trio.open_nursery() as peers,
    ):
        limits, ledger = books[0].limits, books[0].ledger
        asked, refusals = list[str](), list[str]()
        peers.start_soon(serve_all, upstream, asked)

        first = await Crowd.of(relay, CROWD)
        assert (len(first.inside), limits.live) == (SESSIONS_MAX, SESSIONS_MAX)
        async with trio.open_nursery() as nursery:
            for client in first.inside:
                nursery.start_soon(ask_twice, client, refusals)
        await first.leave()
        await relay.log.session_ended(SESSIONS_MAX)
        assert (limits.live, await settled_sessions(limits)) == (0, 0)

        wall.now += 60
        second = await Crowd.of(relay, 2 * SESSIONS_MAX)
        assert len(second.inside) == SESSIONS_MAX
        await second.leave()
        await relay.log.session_ended(2 * SESSIONS_MAX)
        assert (limits.live, await settled_sessions(limits)) == (0, 0)

        spent = await ledger.spent("dev", 0.0, counted=lambda: None)
        assert spent == REQUESTS_PER_MINUTE * 10_000
        assert await limits.store.get(f"budget:dev:day:{DAY}") == b"%d" % spent
        peers.cancel_scope.cancel()

    answers = [*first.refused, *second.refused]
    assert len(answers) == CROWD - SESSIONS_MAX + SESSIONS_MAX
    assert {each.status for each in answers} == {429}
    assert {header(each, "Retry-After") for each in answers} == {"1"}
    assert {error_of(each)["code"] for each in answers} == {"session_limit_reached"}
    assert len(asked) == REQUESTS_PER_MINUTE
    assert refusals == ["rate_limit_exceeded"] * (2 * SESSIONS_MAX - REQUESTS_PER_MINUTE)
    assert len(stage.log.of(LogEvent.CONNECTION_REFUSED)) == len(answers)


async def settled_sessions(limits: Limits) -> int:
    """How many sessions of the key the store counts, once it has been told everything."""
    await trio.testing.wait_all_tasks_blocked()
    assert not limits.waiting
    return await count_of_sessions(limits)
