"""A pool over sockets that are none: each is opened, answers and breaks when a test says so."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import attrs
import trio

from relayd.config.pools import PoolSettings
from relayd.config.providers import Provider
from relayd.config.snapshot import Account
from relayd.pool.events import PoolEvent
from relayd.pool.identity import Identity, SlotRef, credential_of
from relayd.pool.lease import Lease
from relayd.pool.pool import Pool
from relayd.pool.prewarming import Foresight, no_foresight
from relayd.pool.wire import Noticed
from relayd.protocol.outcomes import EndOfStream, Event
from relayd.transport.endpoint import Endpoint
from relayd.transport.errors import DialError, DialErrorKind

SOON_S = 1.0
MAIN = Account(name="main", provider=Provider.WEBSOCKET)


def identity(tenant: str = "t", account: Account = MAIN, session: str | None = None) -> Identity:
    return Identity(
        tenant=tenant,
        account=account.name,
        credential=credential_of(account),
        session=session,
    )


class Line(Endpoint):
    """A socket, as far as a pool sees one.

    Attributes:
        alive: It answers pings at once.
        dirty: It has more to say.
        heard_at: When a byte last came.
        pings: When it was sent one.
        noticed: Who watches it.
        is_open: It was neither parted from nor cut.
        partings: How often it was told goodbye.
        cuts: How often it was closed.
    """

    __slots__ = (
        "alive",
        "answered",
        "cuts",
        "dirty",
        "heard_at",
        "is_open",
        "noticed",
        "number",
        "partings",
        "pings",
    )

    def __init__(self, number: int, now: float) -> None:  # a socket is what it does without
        self.number = number
        self.alive = True
        self.dirty = False
        self.is_open = True
        self.heard_at = now
        self.pings: list[float] = []
        self.noticed: Noticed | None = None
        self.answered = trio.Event()
        self.partings = 0
        self.cuts = 0

    def __repr__(self) -> str:
        return f"<Line {self.number}>"

    def close(self, *, abort: bool = False) -> None:
        """Whoever opened it closes it."""
        self.is_open = False
        self.cuts += 1

    def hear(self) -> None:
        """A byte comes."""
        self.heard_at = trio.current_time()
        self.answered.set()
        self.answered = trio.Event()

    def end(self, event: Event | None = None) -> None:
        """The peer is gone, in the pass: whoever watches is told, and nobody else."""
        self.dirty = True
        noticed, self.noticed = self.noticed, None
        if noticed is not None:
            noticed(event or EndOfStream())


@attrs.define
class FakeWire:
    """See :class:`~relayd.pool.wire.Wire`.

    Attributes:
        crowded: The kernel watches no more descriptors.
    """

    lines: list[Line] = attrs.Factory(list)
    crowded: bool = False

    @property
    def open(self) -> list[Line]:
        return [line for line in self.lines if line.is_open]

    def adopt(self, endpoint: Endpoint) -> None:
        if self.crowded:
            raise DialError(DialErrorKind.RESOURCES_EXHAUSTED, "no descriptor")

    def keep(self, endpoint: Endpoint, noticed: Noticed, now: float) -> bool:
        line = _line(endpoint)
        line.noticed = noticed
        return not line.dirty

    def lend(self, endpoint: Endpoint, now: float) -> bool:
        line = _line(endpoint)
        if line.dirty:
            return False
        line.noticed = None
        return True

    def heard_at(self, endpoint: Endpoint) -> float:
        return _line(endpoint).heard_at

    def ping(self, endpoint: Endpoint, now: float) -> None:
        line = _line(endpoint)
        line.pings.append(now)
        if line.alive:
            line.hear()

    async def answered(self, endpoint: Endpoint, since: float) -> None:
        line = _line(endpoint)
        while line.heard_at < since:
            await line.answered.wait()

    def part(self, endpoint: Endpoint, noticed: Noticed, now: float) -> None:
        line = _line(endpoint)
        assert line.is_open, "a socket is parted from once"
        line.is_open = False
        line.noticed = noticed
        line.partings += 1

    def cut(self, endpoint: Endpoint, now: float) -> None:
        line = _line(endpoint)
        assert not line.cuts, "a socket is closed once"
        line.noticed = None
        line.close()


def _line(endpoint: Endpoint) -> Line:
    assert isinstance(endpoint, Line)
    assert not endpoint.cuts, "the socket is closed"
    return endpoint


@attrs.define(eq=False)
class Dial:
    """One that waits for the test's word."""

    account: Account
    identity: Identity
    until: float
    _word: trio.Event = attrs.Factory(trio.Event)
    _error: Exception | None = None

    def succeed(self) -> None:
        self._word.set()

    def fail(self, error: Exception | None = None) -> None:
        self._error = error or OSError("refused")
        self._word.set()

    async def wait(self) -> None:
        await self._word.wait()
        if self._error is not None:
            raise self._error


@attrs.define(eq=False)
class Stage:
    """A pool, its sockets, and what it told.

    Attributes:
        dials: Those that wait, while ``by_hand``.
    """

    wire: FakeWire = attrs.Factory(FakeWire)
    told: list[PoolEvent] = attrs.Factory(list)
    dials: list[Dial] = attrs.Factory(list)
    by_hand: bool = False
    dial_s: float = 0.0
    pool: Pool = attrs.field(init=False)
    _numbers: Iterator[int] = attrs.Factory(lambda: itertools.count(1))

    async def open(self, account: Account, who: Identity, until: float) -> Endpoint:
        if self.by_hand:
            dial = Dial(account, who, until)
            self.dials.append(dial)
            try:
                await dial.wait()
            finally:
                self.dials.remove(dial)
        elif self.dial_s:
            await trio.sleep(self.dial_s)
        line = Line(next(self._numbers), trio.current_time())
        self.wire.lines.append(line)
        return line

    async def acquire(
        self,
        tenant: str = "t",
        *,
        account: Account = MAIN,
        session: str | None = None,
        pinned: SlotRef | None = None,
        lane: str | None = None,
        within_s: float = 60.0,
    ) -> Lease:
        return await self.pool.acquire(
            account,
            identity(tenant, account, session),
            pinned=pinned,
            lane=lane,
            deadline=trio.current_time() + within_s,
        )

    def words(self, start: str = "") -> list[str]:
        """What was told, as ``kind:reason``."""
        said = [f"{each.kind}:{each.reason}".rstrip(":") for each in self.told]
        return [word for word in said if word.startswith(start)]

    def line(self, lease: Lease) -> Line:
        assert isinstance(lease.endpoint, Line)
        return lease.endpoint


def give(lease: Lease) -> bool:
    """Yield it now."""
    return lease.yield_(trio.current_time())


@asynccontextmanager
async def staged(
    settings: PoolSettings | None = None,
    *,
    foresight: Foresight = no_foresight,
    accounts: tuple[Account, ...] = (MAIN,),
    runs: bool = True,
) -> AsyncIterator[Stage]:
    """A pool that runs; afterwards all its sockets are closed."""
    stage = Stage()
    stage.pool = Pool(
        settings=settings or PoolSettings(),
        accounts=accounts,
        opener=stage.open,
        wire=stage.wire,
        tell=stage.told.append,
        foresight=foresight,
    )
    async with trio.open_nursery() as nursery:
        if runs:
            nursery.start_soon(stage.pool.run)
        yield stage
        nursery.cancel_scope.cancel()
