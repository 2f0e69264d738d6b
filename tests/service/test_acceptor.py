"""Accepting: every connection once, in spite of a lack of descriptors; heads that take long."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.core.refusals import Refusal, RefusalCode
from relayd.observe.events import LogEvent
from relayd.protocol.head import HeadError
from relayd.service.acceptor import (
    BATCH_MAX,
    ORDER,
    RESTARTING,
    SLOW_AFTER_S,
    Acceptor,
    Reserve,
    SlowHeads,
    read_within,
)
from tests.conftest import LogLines
from tests.faults.wire import SOON_S, Response, Wire

HERE, THERE = "127.0.0.2", "127.0.0.3"


@attrs.define(eq=False)
class Stage:
    """An acceptor that runs on the loopback, and what it accepted."""

    listener: socket.socket
    reserve: Reserve
    accepted: list[tuple[socket.socket, str]] = attrs.field(factory=list)
    _more: trio.Event = attrs.field(factory=trio.Event)

    @property
    def address(self) -> str:
        host, port = self.listener.getsockname()
        return f"{host}:{port}"

    async def handle(self, sock: socket.socket, address: str, number: int) -> None:
        self.accepted.append((sock, address))
        self._more.set()
        self._more = trio.Event()

    async def wait(self, count: int) -> None:
        """Wait until so many were accepted in all."""
        with trio.fail_after(SOON_S):
            while len(self.accepted) < count:
                await self._more.wait()


@pytest.fixture
async def stage(log_lines: LogLines) -> AsyncIterator[Stage]:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        listener.setblocking(False)
        made = Stage(listener, Reserve())
        stack.callback(made.reserve.close)
        async with trio.open_nursery() as nursery:
            acceptor = Acceptor(listener, "here", made.handle, nursery, made.reserve)
            nursery.start_soon(acceptor.run)
            yield made
            nursery.cancel_scope.cancel()
        for sock, _ in made.accepted:
            sock.close()


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process cannot open another one meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_every_connection_is_handed_over_once_with_its_address(stage: Stage) -> None:
    clients = [await Wire.to(stage.address, source=source) for source in (HERE, THERE, HERE)]

    await stage.wait(3)

    assert [address for _, address in stage.accepted] == [HERE, THERE, HERE]
    for client, (sock, _) in zip(clients, stage.accepted, strict=True):
        assert sock.getpeername() == client.sock.getsockname()
        assert not sock.getblocking()
        client.close()


async def test_a_crowd_is_accepted_in_batches(stage: Stage) -> None:
    crowd = [await Wire.to(stage.address) for _ in range(2 * BATCH_MAX)]

    await stage.wait(2 * BATCH_MAX)

    assert len(stage.accepted) == 2 * BATCH_MAX
    for client in crowd:
        client.close()


async def test_the_peer_of_a_unix_socket_has_no_address(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "s")
    addresses: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        client.connect(path)
        reserve = Reserve()
        async with trio.open_nursery() as nursery:

            async def handle(sock: socket.socket, address: str, number: int) -> None:
                addresses.append(address)
                sock.close()
                nursery.cancel_scope.cancel()

            nursery.start_soon(Acceptor(listener, "here", handle, nursery, reserve).run)
        reserve.close()

    assert addresses == ["unix"]


async def test_without_descriptors_each_connection_gets_503_until_there_are_some(
    autojump_clock: MockClock, stage: Stage, log_lines: LogLines
) -> None:
    clients = [socket.socket() for _ in range(3)]
    first, second, third = (Wire(trio.socket.from_stdlib_socket(sock)) for sock in clients)

    with no_descriptor_left():
        clients[0].connect_ex(stage.listener.getsockname())
        clients[1].connect_ex(stage.listener.getsockname())
        for wire in (first, second):
            await wire.end()
            response = Response.parse(bytes(wire.seen))
            assert (response.status, b'"overload"' in response.body) == (503, True)
            assert "Retry-After: 1" in response.head
    clients[2].connect_ex(stage.listener.getsockname())
    await stage.wait(1)

    assert [line["event"] for line in log_lines.all] == [
        LogEvent.ACCEPT_PAUSED,
        LogEvent.ACCEPT_RESUMED,
    ]
    paused, resumed = log_lines.all
    assert paused["listen"] == resumed["listen"] == "here"
    assert paused["message"].startswith("Too many open files; raise LimitNOFILE")
    assert resumed["duration_s"] > 0
    for wire in (first, second, third):
        wire.close()


def test_the_reserve_is_lent_and_taken_back() -> None:
    reserve = Reserve()
    with no_descriptor_left():
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
        reserve.lend()
        lent = os.dup(0)
        reserve.restore()  # in vain: it is in use
        os.close(lent)
        reserve.restore()
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
        reserve.close()
        reserve.close()
        os.close(os.dup(0))


# -- slow heads

LIMIT_S = 60.0


@attrs.define
class Heads:
    """Requests that are under way, and how those ended that were not let finish."""

    slow: SlowHeads
    nursery: trio.Nursery
    ends: dict[int, tuple[float, Refusal]] = attrs.field(factory=dict)
    _complete: dict[int, trio.Event] = attrs.field(factory=dict)

    async def begin(self, name: int, address: str | None = HERE, number: int | None = None) -> None:
        """One more, which has begun when this returns."""
        self._complete[name] = trio.Event()
        await self.nursery.start(self._read, name, address, number)

    def finish(self, name: int) -> None:
        """Its head is complete."""
        self._complete[name].set()

    async def _read(
        self,
        name: int,
        address: str | None,
        number: int | None,
        task_status: trio.TaskStatus[None],
    ) -> None:
        try:
            with self.slow.reading(address, LIMIT_S, number=number):
                task_status.started()
                await self._complete[name].wait()
        except HeadError as error:
            self.ends[name] = trio.current_time(), error.refusal

    @property
    def gone(self) -> list[int]:
        """Which were not let finish."""
        return sorted(self.ends)


@pytest.fixture
async def heads(nursery: trio.Nursery) -> Heads:
    slow = SlowHeads(2)
    nursery.start_soon(slow.watch)
    return Heads(slow, nursery)


async def test_over_the_limit_the_oldest_goes_as_soon_as_too_many_are_slow(
    autojump_clock: MockClock, heads: Heads
) -> None:
    for name in range(3):
        await heads.begin(name)
        await trio.sleep(0.5)
    assert heads.gone == []

    await trio.sleep(0.4)
    assert heads.gone == [], "the third is not slow yet"
    await trio.sleep(0.7)
    assert heads.gone == [0]
    went_at, refusal = heads.ends[0]
    assert went_at == 1.0 + SLOW_AFTER_S
    assert refusal.code is RefusalCode.HEAD_TIMEOUT
    assert refusal.message.startswith("Too many requests of this address")

    for name in range(3, 5):
        await heads.begin(name)
    await trio.sleep(2.5)
    assert heads.gone == [0, 1, 2]
    assert len(heads.slow) == 2


async def test_the_oldest_is_the_one_accepted_first_in_whatever_order_tasks_start(
    autojump_clock: MockClock, heads: Heads
) -> None:
    for number in (2, 0, 1):
        await heads.begin(number, number=number)

    await trio.sleep(5)

    assert heads.gone == [0]


async def test_a_later_request_is_as_young_as_its_first_byte(
    autojump_clock: MockClock, heads: Heads
) -> None:
    """However long its connection has been there, those that began before it are older."""
    for name in range(3):
        await heads.begin(name, number=next(ORDER) if name < 2 else None)

    await trio.sleep(5)

    assert heads.gone == [0]


async def test_heads_that_are_complete_in_time_do_not_count(
    autojump_clock: MockClock, heads: Heads
) -> None:
    for name in range(100):
        await heads.begin(name)
    for name in range(98):
        heads.finish(name)

    await trio.sleep(10)

    assert heads.gone == []
    assert len(heads.slow) == 2


async def test_every_address_has_its_own_count(autojump_clock: MockClock, heads: Heads) -> None:
    for name in range(4):
        await heads.begin(name, HERE if name % 2 else THERE)

    await trio.sleep(10)

    assert heads.gone == []


async def test_those_that_count_against_nobody_are_never_too_many(
    autojump_clock: MockClock, heads: Heads
) -> None:
    for name in range(10):
        await heads.begin(name, None)

    await trio.sleep(LIMIT_S - 1)
    assert heads.gone == []
    assert len(heads.slow) == 10
    await trio.sleep(2)
    late = "The request's head did not arrive within 60 s."
    assert set(heads.ends.values()) == {(LIMIT_S, Refusal(RefusalCode.HEAD_TIMEOUT, late))}
    assert len(heads.slow) == 0


async def test_none_takes_longer_than_it_is_hastened_to_be_it_counted_or_not(
    autojump_clock: MockClock, heads: Heads
) -> None:
    await heads.begin(1)
    await heads.begin(2, None)
    heads.slow.hasten(5.0)
    heads.slow.hasten(8.0)
    await heads.begin(3)

    await trio.sleep(10)

    refusal = Refusal(RefusalCode.HEAD_TIMEOUT, RESTARTING)
    assert heads.ends == dict.fromkeys((1, 2, 3), (5.0, refusal))


async def test_without_a_count_a_head_has_its_time_all_the_same(autojump_clock: MockClock) -> None:
    with pytest.raises(HeadError, match="within 7 s"), read_within(7.0):
        await trio.sleep_forever()

    assert trio.current_time() == 7
    with read_within(7.0):
        await trio.sleep(6.9)
