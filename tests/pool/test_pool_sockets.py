"""The pool over the real byte path: socket pairs, a reactor, an upstream that speaks by hand."""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.config.pools import PoolSettings
from relayd.config.snapshot import Account
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.pool.events import PoolEvent
from relayd.pool.identity import Identity
from relayd.pool.janitor import PARTING_S
from relayd.pool.lease import Lease
from relayd.pool.pool import Pool
from relayd.pool.wire import ReactorWire
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.frames import Opcode, close_frame, encode_frame
from relayd.protocol.outcomes import Notice, Violation
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor
from tests.pool.fakes import MAIN, give, identity

SOON_S = 2.0
DONE = b'{"type":"response.completed"}'
PONG = encode_frame(Opcode.PONG, b"relayd", masked=False)


class Turn:
    """A lease's reader."""

    proof = b"\x00"

    def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
        return Notice("end") if payload == DONE else None

    def harmless(self, head: bytes | bytearray) -> bool:
        return False

    def oversize(self, head: bytes | bytearray, now: float) -> Violation | None:
        return None


@attrs.define(eq=False)
class Real:
    """A pool, and the far ends of its sockets."""

    reactor: Reactor = attrs.Factory(Reactor)
    hold: HoldBudget = attrs.Factory(lambda: HoldBudget(1 << 24))
    fars: list[trio.SocketStream] = attrs.Factory(list)
    told: list[PoolEvent] = attrs.Factory(list)
    pool: Pool = attrs.field(init=False)

    async def open(self, account: Account, who: Identity, until: float) -> Endpoint:
        near, far = socket.socketpair()
        near.setblocking(False)
        self.fars.append(trio.SocketStream(trio.socket.from_stdlib_socket(far)))
        return Endpoint(near, Side.UPSTREAM, self.hold, trio.current_time())

    async def acquire(self, tenant: str = "t") -> Lease:
        deadline = trio.current_time() + SOON_S
        return await self.pool.acquire(MAIN, identity(tenant), deadline=deadline)

    async def turn(self, lease: Lease, far: trio.SocketStream, create: bytes) -> bytes:
        """One turn on the lease; returns what the upstream was sent."""
        now = trio.current_time()
        flow = lease.endpoint.flow
        assert isinstance(flow, EventFlow)
        flow.reader = Turn()
        assert lease.endpoint.sink.send_message(create, now)
        self.reactor.arm(lease.endpoint, now)
        received = bytes(await far.receive_some())
        await far.send_all(encode_frame(Opcode.TEXT, DONE, masked=False))
        assert await lease.endpoint.next_event() == Notice("end")
        return received

    async def until(self, word: str) -> PoolEvent:
        """What was told of in these words, once it is."""
        said = await soon(lambda: [e for e in self.told if f"{e.kind}:{e.reason}" == word])
        return said[0]


async def soon(look: Callable[[], list[PoolEvent]], within_s: float = SOON_S) -> list[PoolEvent]:
    """Look until something is there."""
    with trio.fail_after(within_s):
        for _ in itertools.count():
            if found := look():
                return found
            await trio.sleep(0.001)
    raise AssertionError


@asynccontextmanager
async def real(settings: PoolSettings | None = None) -> AsyncIterator[Real]:
    """Afterwards nothing is registered, nothing held."""
    stage = Real()
    stage.pool = Pool(
        settings=settings or PoolSettings(),
        accounts=[MAIN],
        opener=stage.open,
        wire=ReactorWire(stage.reactor, stage.hold, 1 << 20),
        tell=stage.told.append,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.reactor.run)
        nursery.start_soon(stage.pool.run)
        with trio.fail_after(2 * SOON_S):
            yield stage
        nursery.cancel_scope.cancel()
    for far in stage.fars:
        far.socket.close()
    assert len(stage.reactor) == 0
    assert stage.hold.bytes_held == 0
    stage.reactor.close()


async def test_turn_after_turn_on_one_socket() -> None:
    async with real() as stage:
        for number in range(5):
            with await stage.acquire() as lease:
                create = b'{"n":%d}' % number
                received = await stage.turn(lease, stage.fars[0], create)
                assert len(received) == 6 + len(create)
                assert give(lease)

        assert len(stage.fars) == 1
        assert stage.pool.statistics()[0].reused == 4


async def test_a_stray_event_between_turns_breaks_the_socket_and_the_next_turn_has_another() -> (
    None
):
    async with real() as stage:
        with await stage.acquire() as lease:
            await stage.turn(lease, stage.fars[0], b"{}")
            assert give(lease)
        await stage.fars[0].send_all(encode_frame(Opcode.TEXT, b'{"type":"x"}', masked=False))
        await stage.until("slot.broken:stray_event")
        with await stage.acquire() as lease:
            await stage.turn(lease, stage.fars[1], b"{}")
            assert give(lease)


async def test_a_close_between_turns_is_answered() -> None:
    async with real() as stage:
        with await stage.acquire() as lease:
            await stage.turn(lease, stage.fars[0], b"{}")
            assert give(lease)
        await stage.fars[0].send_all(close_frame(1012, "restart", masked=False))
        await stage.until("slot.broken:peer_closed")

        answer = bytes(await stage.fars[0].receive_some())
        assert answer[0] & 0x0F == Opcode.CLOSE
        assert await stage.fars[0].receive_some() == b""


async def test_a_lease_left_amid_a_turn_closes_its_socket_at_once() -> None:
    async with real() as stage:
        with await stage.acquire() as lease:
            assert lease.endpoint.sink.send_message(b"{}", trio.current_time())
        with trio.fail_after(SOON_S):
            while await stage.fars[0].receive_some():
                pass

        assert stage.pool.statistics()[0].sv_active == 0


async def test_pings_are_answered_or_end_it() -> None:
    settings = PoolSettings(ping_after_s=0.01, ping_timeout_s=0.05, ping_every_s=0.01)
    async with real(settings) as stage:
        with await stage.acquire() as lease:
            assert give(lease)
        far = stage.fars[0]
        for _ in range(2):
            assert bytes(await far.receive_some())[0] & 0x0F == Opcode.PING
            await far.send_all(PONG)
        event = await stage.until("slot.broken:ping_timeout")

        assert event.seconds > 2 * settings.ping_timeout_s


async def test_a_socket_that_was_silent_answers_before_its_next_turn() -> None:
    async with real(PoolSettings(preflight_idle_s=0.01)) as stage:
        with await stage.acquire() as lease:
            assert give(lease)
        await trio.sleep(0.02)
        leases = []

        async def acquire() -> None:
            leases.append(await stage.acquire())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire)
            assert bytes(await stage.fars[0].receive_some())[0] & 0x0F == Opcode.PING
            assert stage.pool.statistics()[0].sv_tested == 1
            await stage.fars[0].send_all(PONG)

        assert leases[0].reused
        assert give(leases[0])


async def test_a_drained_pool_says_goodbye() -> None:
    async with real() as stage:
        with await stage.acquire() as lease:
            assert give(lease)
        stage.pool.drain()
        goodbye = bytes(await stage.fars[0].receive_some())
        assert goodbye[0] & 0x0F == Opcode.CLOSE
        await stage.fars[0].send_all(close_frame(1000, "", masked=False))
        await stage.until("slot.rotated:drain")
        # When it has answered, not when its time is up.
        await soon(lambda: [] if len(stage.reactor) else stage.told, PARTING_S / 2)


async def test_a_waiter_s_socket_is_read_until_it_has_it() -> None:
    """What comes between the hand-over and the waiter's next step is not lost on it."""
    async with real(PoolSettings(slots_max=1)) as stage:
        lease = await stage.acquire()
        leases = []

        async def acquire() -> None:
            leases.append(await stage.acquire())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire)
            await wait_all_tasks_blocked()
            assert give(lease)
            stage.fars[0].socket.close()

        assert leases[0].endpoint is not lease.endpoint
        assert leases[0].generation == 2
        assert give(leases[0])
