"""Goodbyes on socket pairs over a real reactor."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.pool import parting
from relayd.pool.parting import PARTING_S, Partings
from relayd.pool.silence import SILENCE
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.frames import Opcode, encode_frame
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor


@attrs.define(eq=False)
class Stage:
    """Sockets to part from, and their far ends."""

    reactor: Reactor = attrs.Factory(Reactor)
    hold: HoldBudget = attrs.Factory(lambda: HoldBudget(1 << 20))
    partings: Partings = attrs.field(init=False)
    opened: list[Endpoint] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.partings = Partings(self.reactor)

    def pair(self) -> tuple[Endpoint, socket.socket]:
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        endpoint = Endpoint(near, Side.UPSTREAM, self.hold, trio.current_time())
        endpoint.flow = EventFlow(message_max_bytes=1000, hold=self.hold, reader=SILENCE)
        self.reactor.adopt(endpoint)
        self.reactor.arm(endpoint, trio.current_time())
        self.opened.append(endpoint)
        return endpoint, far


@pytest.fixture
async def stage(autojump_clock: MockClock) -> AsyncIterator[Stage]:
    made = Stage()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.reactor.run)
        yield made
        nursery.cancel_scope.cancel()
    assert len(made.reactor) == 0
    made.reactor.close()
    assert all(each.sock.fileno() == -1 for each in made.opened)
    assert made.hold.bytes_held == 0


def close_code(data: bytes) -> int:
    """Of a masked Close frame."""
    assert data[0] == 0x88
    mask = data[2:6]
    return (data[6] ^ mask[0]) << 8 | (data[7] ^ mask[1])


def is_open(endpoint: Endpoint) -> bool:
    return endpoint.sock.fileno() != -1


async def test_a_socket_is_closed_when_its_peer_has_ended(
    autojump_clock: MockClock, stage: Stage
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.partings.run)
        await wait_all_tasks_blocked()
        endpoint, far = stage.pair()
        stage.partings.part(endpoint, 1000, trio.current_time())
        assert len(stage.partings) == 1
        data = far.recv(100)
        assert close_code(data) == 1000
        assert far.recv(100) == b"", "nothing follows a Close"
        far.send(encode_frame(Opcode.TEXT, b"late", masked=False))
        await wait_all_tasks_blocked()
        assert is_open(endpoint), "what still comes is thrown away"
        far.close()
        await trio.sleep(PARTING_S / 100)
        assert not is_open(endpoint)
        assert len(stage.partings) == 0
        nursery.cancel_scope.cancel()


async def test_a_peer_that_does_not_answer_is_not_waited_for_long(
    autojump_clock: MockClock, stage: Stage
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.partings.run)
        await wait_all_tasks_blocked()
        endpoint, far = stage.pair()
        stage.partings.part(endpoint, 1000, trio.current_time())
        await trio.sleep(PARTING_S - 0.01)
        assert is_open(endpoint)
        await trio.sleep(0.02)
        assert not is_open(endpoint)
        far.close()
        nursery.cancel_scope.cancel()


async def test_without_its_task_a_socket_is_closed_at_once(
    autojump_clock: MockClock, stage: Stage
) -> None:
    endpoint, far = stage.pair()
    stage.partings.part(endpoint, 1002, trio.current_time())
    assert not is_open(endpoint)
    assert close_code(far.recv(100)) == 1002
    far.close()


async def test_no_more_than_so_many_are_waited_for(
    autojump_clock: MockClock, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parting, "PARTING_MAX", 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.partings.run)
        await wait_all_tasks_blocked()
        (first, far), (second, other) = stage.pair(), stage.pair()
        for endpoint in (first, second):
            stage.partings.part(endpoint, 1000, trio.current_time())
        assert is_open(first)
        assert not is_open(second)
        assert close_code(other.recv(100)) == 1000
        nursery.cancel_scope.cancel()
    assert not is_open(first), "its end closes what is left"
    far.close()
    other.close()


async def test_a_socket_that_has_ended_is_closed_at_once(
    autojump_clock: MockClock, stage: Stage
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.partings.run)
        await wait_all_tasks_blocked()
        endpoint, far = stage.pair()
        far.close()
        await endpoint.next_event()
        stage.partings.part(endpoint, 1000, trio.current_time())
        assert not is_open(endpoint)
        nursery.cancel_scope.cancel()
