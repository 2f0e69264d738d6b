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

from relayd.observe.events import LogEvent
from relayd.service.acceptor import BATCH_MAX, Acceptor, Reserve, SlowHeads
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


@attrs.define
class Heads:
    """Requests that are under way, with the order in which they were told to go."""

    slow: SlowHeads
    scopes: dict[int, trio.CancelScope] = attrs.field(factory=dict)

    def begin(self, token: int, address: str = HERE) -> None:
        scope = self.scopes[token] = trio.CancelScope()
        self.slow.add(address, token, scope, slow_at=trio.current_time() + 1)

    @property
    def gone(self) -> list[int]:
        return [token for token, scope in self.scopes.items() if scope.cancel_called]


@pytest.fixture
async def heads(nursery: trio.Nursery) -> Heads:
    slow = SlowHeads(2)
    nursery.start_soon(slow.watch)
    return Heads(slow)


async def test_over_the_limit_the_oldest_goes_as_soon_as_too_many_are_slow(
    autojump_clock: MockClock, heads: Heads
) -> None:
    for token in range(3):
        heads.begin(token)
        await trio.sleep(0.5)
    assert heads.gone == []

    await trio.sleep(0.4)
    assert heads.gone == [], "the third is not slow yet"
    await trio.sleep(0.7)
    assert heads.gone == [0]

    for token in range(3, 5):
        heads.begin(token)
    await trio.sleep(2.5)
    assert heads.gone == [0, 1, 2]
    assert len(heads.slow) == 2


async def test_the_oldest_is_the_one_accepted_first_in_whatever_order_tasks_start(
    autojump_clock: MockClock, heads: Heads
) -> None:
    for number in (2, 0, 1):
        scope = heads.scopes[number] = trio.CancelScope()
        heads.slow.add(HERE, number, scope, slow_at=1.0, number=number)

    await trio.sleep(5)

    assert heads.gone == [0]


async def test_heads_that_are_complete_in_time_do_not_count(
    autojump_clock: MockClock, heads: Heads
) -> None:
    for token in range(100):
        heads.begin(token)
    for token in range(98):
        heads.slow.remove(HERE, token)

    await trio.sleep(10)

    assert heads.gone == []
    assert len(heads.slow) == 2


async def test_every_address_has_its_own_count(autojump_clock: MockClock, heads: Heads) -> None:
    for token in range(4):
        heads.begin(token, HERE if token % 2 else THERE)

    await trio.sleep(10)

    assert heads.gone == []


async def test_removing_is_always_fine_and_leaves_nothing(
    autojump_clock: MockClock, heads: Heads
) -> None:
    heads.begin(1)

    heads.slow.remove(HERE, 1)
    heads.slow.remove(HERE, 1)
    heads.slow.remove(THERE, 2)

    assert len(heads.slow) == 0


async def test_none_takes_longer_than_it_is_hastened_to(
    autojump_clock: MockClock, heads: Heads
) -> None:
    heads.begin(1)
    heads.begin(2)
    heads.scopes[2].deadline = 3.0

    heads.slow.hasten(5.0)

    assert [scope.deadline for scope in heads.scopes.values()] == [5.0, 3.0]
