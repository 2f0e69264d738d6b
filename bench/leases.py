"""A pool without a relay around it: its sockets acquired and yielded, as fast as it goes.

Half of the slots are leased all the time and half are unused, of a hundred tenants. Every second
lease asks for the very socket that an earlier one had, as a turn does which goes on from another.
"""

from __future__ import annotations

import itertools
import socket
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import Final

import trio

from bench.board import Board, Counter, Phase, Tally
from bench.failures import RunFailed
from bench.loop import READ, TICK_S, Loop, Peer, prepare
from relayd.config.pools import PoolSettings
from relayd.config.providers import Provider
from relayd.config.snapshot import Account
from relayd.core.endings import Side
from relayd.core.hold import HoldBudget
from relayd.pool.book import Book
from relayd.pool.claims import Claim
from relayd.pool.events import PoolEvent
from relayd.pool.identity import Identity, SlotRef, credential_of
from relayd.pool.lease import Lease
from relayd.pool.pool import Pool
from relayd.pool.wire import ReactorWire
from relayd.service.process import settle_garbage_collector
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

TENANTS: Final = 100
OPENING_MAX: Final = 100
"""Sockets that are opened side by side."""
RUN_LENGTH: Final = 100
"""Leases in a row; then the process's other tasks run, the pool's own among them."""
_MESSAGE_MAX_BYTES: Final = 1 << 20
_HOLD_BYTES: Final = 1 << 24
_LONG_S: Final = 3600.0

_ACCOUNT: Final = Account(name="bench", provider=Provider.WEBSOCKET)
_IDENTITIES: Final = tuple(
    Identity(tenant=f"tenant-{number}", account=_ACCOUNT.name, credential=credential_of(_ACCOUNT))
    for number in range(TENANTS)
)


def pool_settings(slots: int) -> PoolSettings:
    """A pool that keeps so many, and pings none of them meanwhile: their peers do not answer."""
    return PoolSettings(
        slots_max=slots,
        idle_max=slots,
        idle_ttl_s=_LONG_S,
        age_max_s=_LONG_S,
        ping_after_s=_LONG_S,
        preflight_idle_s=_LONG_S,
    )


class Holder:
    """The other ends of the pool's sockets, in a process whose descriptors they are.

    Args:
        listener: Listens already.
    """

    def __init__(self, listener: socket.socket, *, board: Board) -> None:
        self._board = board
        self._loop = Loop()
        self._held: list[socket.socket] = []
        self._loop.add(Peer(listener, self._accept), READ)

    def run(self) -> array[int]:
        """Accept whoever comes, until the board says that it is over."""
        while not self._board.has_reached(Phase.END):
            self._loop.turn(TICK_S)
        return array("q")

    def _accept(self, listener: Peer) -> None:
        while True:
            try:
                sock, _ = listener.sock.accept()
            except OSError:  # nothing more to accept
                return
            self._held.append(sock)


class Bookkeeper:
    """Leases of a book's slots, whose sockets are numbers: the decisions, and nothing else.

    Args:
        slots: How many there are.
        address: Of no use here.
    """

    def __init__(self, slots: int, address: tuple[str, int], *, board: Board, tally: Tally) -> None:
        del address
        self._slots = slots
        self._board = board
        self._tally = tally
        self._owners = itertools.count()
        self._book = Book[int](pool_settings(slots), {_ACCOUNT.name: credential_of(_ACCOUNT)})
        self._shelf = self._book.shelf(_ACCOUNT.name)

    def run(self) -> array[int]:
        """Ask and yield, until the board says that it is over.

        Returns:
            How long each recorded lease took to acquire and yield, in nanoseconds.
        """
        settle_garbage_collector()
        claims = [self._lease(number) for number in range(self._slots)]
        refs = [_ref(claim) for claim in claims]
        for claim in claims[: self._slots // 2]:
            self._shelf.yield_(claim, time.monotonic())
        self._tally.add(Counter.ESTABLISHED, self._slots)
        _wait(self._board, Phase.TRAFFIC)
        delays_ns = array("q")
        asked = _requests(refs[: self._slots // 2])
        while not self._board.has_reached(Phase.DRAIN):
            recording = self._board.is_recording
            for identity, pinned in itertools.islice(asked, RUN_LENGTH):
                began_ns = time.perf_counter_ns()
                claim = self._ask(identity, pinned)
                self._shelf.picked_up(claim)
                self._shelf.yield_(claim, time.monotonic())
                if recording:
                    delays_ns.append(time.perf_counter_ns() - began_ns)
            self._tally.add(Counter.COMPLETED, RUN_LENGTH)
        _wait(self._board, Phase.END)
        return delays_ns

    def _lease(self, number: int) -> Claim[int]:
        claim = self._ask(_IDENTITIES[number % TENANTS], None)
        self._shelf.opened(claim, number, time.monotonic())
        return claim

    def _ask(self, identity: Identity, pinned: SlotRef | None) -> Claim[int]:
        claim = Claim[int](
            owner=str(next(self._owners)),
            identity=identity,
            pinned=pinned,
            since=time.monotonic(),
        )
        self._shelf.ask(claim, claim.since)
        if claim.slot is None:
            raise RunFailed("the book gives no slot although some are unused")
        return claim


class Asker:
    """Leases of a pool's slots, over real sockets on a reactor.

    Args:
        slots: How many there are.
        address: Where their sockets lead.
    """

    def __init__(self, slots: int, address: tuple[str, int], *, board: Board, tally: Tally) -> None:
        self._slots = slots
        self._address = address
        self._board = board
        self._tally = tally
        self._hold = HoldBudget(_HOLD_BYTES)
        self._delays_ns = array("q")

    def run(self) -> array[int]:
        """Acquire and yield, until the board says that it is over.

        Returns:
            How long each recorded lease took to acquire and yield, in nanoseconds.
        """
        trio.run(self._run)
        return self._delays_ns

    async def _run(self) -> None:
        reactor = Reactor()
        pool = Pool(
            settings=pool_settings(self._slots),
            accounts=[_ACCOUNT],
            opener=self._open,
            wire=ReactorWire(reactor, self._hold, _MESSAGE_MAX_BYTES),
            tell=_heard,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            nursery.start_soon(pool.run)
            leased = await self._fill(pool)
            settle_garbage_collector()
            self._tally.add(Counter.ESTABLISHED, self._slots)
            _wait(self._board, Phase.TRAFFIC)
            unused = leased[: self._slots // 2]
            refs = [lease.ref() for lease in unused]
            for lease in unused:
                _yield(lease)
            asked = _requests(refs)
            while not self._board.has_reached(Phase.DRAIN):
                await self._ask_some(pool, asked)
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        _wait(self._board, Phase.END)

    async def _ask_some(self, pool: Pool, asked: Iterator[tuple[Identity, SlotRef | None]]) -> None:
        recording = self._board.is_recording
        for identity, pinned in itertools.islice(asked, RUN_LENGTH):
            began_ns = time.perf_counter_ns()
            deadline = trio.current_time() + _LONG_S
            lease = await pool.acquire(_ACCOUNT, identity, pinned=pinned, deadline=deadline)
            _yield(lease)
            if recording:
                self._delays_ns.append(time.perf_counter_ns() - began_ns)
        self._tally.add(Counter.COMPLETED, RUN_LENGTH)

    async def _fill(self, pool: Pool) -> Sequence[Lease]:
        """Lease as many slots as there are, some opened at a time."""
        leased: dict[int, Lease] = {}

        async def lease(number: int) -> None:
            identity = _IDENTITIES[number % TENANTS]
            deadline = trio.current_time() + _LONG_S
            leased[number] = await pool.acquire(_ACCOUNT, identity, deadline=deadline)

        for start in range(0, self._slots, OPENING_MAX):
            async with trio.open_nursery() as nursery:
                for number in range(start, min(start + OPENING_MAX, self._slots)):
                    nursery.start_soon(lease, number)
        return [leased[number] for number in range(self._slots)]

    async def _open(self, account: Account, identity: Identity, until: float) -> Endpoint:
        del account, identity, until
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.connect(self._address)
        prepare(sock)
        return Endpoint(sock, Side.UPSTREAM, self._hold, trio.current_time())


def _requests(refs: Sequence[SlotRef]) -> Iterator[tuple[Identity, SlotRef | None]]:
    """Who asks, without end: each tenant in turn, every second time for a slot of its own."""
    for number in itertools.count():
        index = number % len(refs)
        yield _IDENTITIES[index % TENANTS], refs[index] if number % 2 else None


def _ref(claim: Claim[int]) -> SlotRef:
    assert claim.slot is not None, "the claim was answered"
    return claim.slot.ref


def _yield(lease: Lease) -> None:
    if not lease.yield_(trio.current_time()):
        raise RunFailed("a socket of the pool was lost")


def _wait(board: Board, phase: Phase) -> None:
    while not board.has_reached(phase):
        time.sleep(TICK_S)


def _heard(event: PoolEvent) -> None:
    """What happens in the pool is told to somebody, as in relayd; nobody acts on it."""
    del event
