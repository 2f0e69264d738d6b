"""The bookkeeper: one task that tells the store what sessions have used, when they cannot wait.

What has been used is noted where it happens, inside the pass, by adding to a number. The numbers of
one key are one :class:`KeyUse`, and a key waits in the queue once, however much is noted about it.
So the queue is as long as there are limited keys at most, and nothing of one key overtakes
anything else of it.

A change that failed may have been made all the same. Counts of sessions and of money are therefore
never repaired but written anew, as they are known here; this process alone keeps them. A debit of a
bucket is repeated, and one that is made twice is made up for within minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from typing import Final, Literal, Protocol

import attrs
import trio

from relayd.config.snapshot import Key
from relayd.dialect.meter import Refuse
from relayd.ledger.budgets import Budgets
from relayd.ledger.errors import LedgerError
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.session import denials
from relayd.state.buckets import Taken, take
from relayd.state.store import Store, StoreError

log = get_logger()

BACK_OFFS_S: Final = (0.05, 0.1, 0.2, 0.4)
"""Between attempts to tell the store; after the last one the attempt is given up."""

LAST_S: Final = 1.0
"""How long a cancelled bookkeeper still applies what waits."""

REPORT_EVERY_S: Final = 10.0
"""How often it is said at most that the store is away."""

_MEANWHILE: Final = {
    "open": "limits let everything through meanwhile",
    "closed": "limits let nothing through meanwhile",
}
_WITHOUT_LEDGER: Final = "keys with a budget start nothing meanwhile"


@attrs.define(eq=False)
class SessionCount:
    """How many sessions a key has open, here and in the store.

    Attributes:
        live: Sessions that are counted.
        shared: Whether the store counts them at all: without a limit nobody asks it to.
    """

    name: str
    _store: Store
    live: int = attrs.field(default=0, init=False)
    shared: bool = attrs.field(default=False, init=False)
    _stored: int | None = attrs.field(default=None, init=False)
    """What the store counts; ``None`` where that is in doubt."""
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def admit(self, sessions_max: int) -> bool:
        """Count one more, if that makes ``sessions_max`` at most; 0: no limit.

        Cancelled, or with a :class:`StoreError`, it counts none.
        """
        if not sessions_max:
            self.live += 1
            return True
        async with self._lock:
            self.shared = True
            await self._write_if_in_doubt()
            applied = await self._add(1, at_most=sessions_max)
            self.live += applied
            return applied

    def admit_anyway(self) -> None:
        """Count one more without asking; the store is told the next time it is asked."""
        self.live += 1

    def release(self) -> None:
        """Count one less."""
        self.live -= 1

    async def post(self) -> None:
        """Bring the store up to date. Raises :class:`StoreError`."""
        if not self.shared:
            return
        async with self._lock:
            await self._write_if_in_doubt()
            if self._stored != self.live:
                await self._add(0)

    async def _write_if_in_doubt(self) -> None:
        if self._stored is None:
            live = self.live
            await self._store.put(self.name, b"%d" % live)
            self._stored = live

    async def _add(self, more: int, *, at_most: int | None = None) -> bool:
        """Tell the store what has changed and ``more``. In doubt unless it answers as expected."""
        assert self._stored is not None
        stored, self._stored = self._stored, None
        change = self.live - stored + more
        done = await self._store.add(self.name, change, at_most=at_most)
        expected = stored + change * done.applied
        if done.value != expected:
            raise StoreError("the count of a key's sessions was lost, or changed by somebody else")
        self._stored = expected
        return done.applied


@attrs.define(eq=False)
class Rate:
    """A key's limit of so many a minute: the bucket in the store, and what is owed to it.

    Attributes:
        owed: What was used and is not debited yet.
        debited: What became of the last debit of that: not ``ok`` where it was too much.
    """

    name: str
    _store: Store
    owed: int = attrs.field(default=0, init=False)
    debited: Taken = attrs.field(default=Taken(ok=True), init=False)
    _per_minute: int = attrs.field(default=0, init=False)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    def owe(self, per_minute: int, amount: int) -> None:
        """``amount`` has been used, whether that is allowed or not."""
        self._per_minute = per_minute
        self.owed += amount

    async def take(self, per_minute: int, amount: int, wall: float, *, need: int) -> Taken:
        """See :func:`relayd.state.buckets.take`; what is owed goes first."""
        async with self._lock:
            self._per_minute = per_minute
            await self._debit_owed(wall)
            return await take(self._store, self.name, per_minute, amount, wall, need=need)

    async def post(self, wall: float) -> None:
        """Debit what is owed. Raises :class:`StoreError`."""
        if self.owed:
            async with self._lock:
                await self._debit_owed(wall)

    async def _debit_owed(self, wall: float) -> None:
        amount = self.owed
        if amount:
            self.debited = await take(
                self._store, self.name, self._per_minute, amount, wall, need=None
            )
            self.owed = max(self.owed - amount, 0)  # less, if it was given up meanwhile


@attrs.frozen
class RateWatch:
    """Looks, once a turn that was not asked for is debited, whether it was one too many.

    Attributes:
        requests: What it is debited to.
        key: Whose turn it is.
        too_fast: Told, if so.
    """

    requests: Rate
    key: Key
    too_fast: Callable[[Refuse], None]

    def __call__(self) -> None:
        """See the class."""
        debited, per_minute = self.requests.debited, self.key.requests_per_minute
        if not debited.ok:
            self.too_fast(denials.too_fast("requests", per_minute, debited.retry_after_s).refuse())


@attrs.define(eq=False)
class KeyUse:
    """What one key uses, as it is known here.

    Attributes:
        watches: What to look at once the key's money is posted, each once. They must not raise.
    """

    name: str
    sessions: SessionCount
    tokens: Rate
    requests: Rate
    _budgets: Budgets
    watches: dict[Hashable, Callable[[], None]] = attrs.field(factory=dict, init=False)

    @classmethod
    def of(cls, name: str, store: Store, budgets: Budgets) -> KeyUse:
        """A key of which nothing is known yet."""
        return cls(
            name,
            SessionCount(f"sessions:{name}", store),
            Rate(f"tokens:{name}", store),
            Rate(f"requests:{name}", store),
            budgets,
        )

    async def post(self, wall: float) -> None:
        """Tell the store everything. Raises :class:`StoreError` and :class:`LedgerError`.

        What was not told when this fails, or is cancelled, is told the next time.
        """
        await self.sessions.post()
        await self.tokens.post(wall)
        await self.requests.post(wall)
        await self._budgets.post(self.name)
        watches, self.watches = self.watches, {}
        for watch in watches.values():
            watch()

    def give_up(self) -> int:
        """Forget what cannot be told; returns how many changes that are.

        Sessions and money are not among them: both are written anew when they are asked for.
        """
        lost = len(self.watches) + bool(self.tokens.owed) + bool(self.requests.owed)
        self.watches.clear()
        self.tokens.owed = self.requests.owed = 0
        return lost


class Use(Protocol):
    """Of whom something is noted; hashed by identity."""

    async def post(self, wall: float) -> None:
        """See :meth:`KeyUse.post`."""

    def give_up(self) -> int:
        """See :meth:`KeyUse.give_up`."""


@attrs.define(eq=False)
class Bookkeeper:
    """Applies what was noted, one :class:`Use`, of a key or of a device, after the other."""

    _wall: Callable[[], float]
    _on_failure: Literal["open", "closed"]
    _away: bool = attrs.field(default=False, init=False)
    """Whether something was given up and nothing was applied since."""
    _due: dict[Use, None] = attrs.field(factory=dict, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)
    _dropped: int = attrs.field(default=0, init=False)
    _quiet_until: float = attrs.field(default=-math.inf, init=False)

    @property
    def waiting(self) -> int:
        """Keys about which something was noted."""
        return len(self._due)

    @property
    def away(self) -> bool:
        """Whether the store did not answer when it was last told something."""
        return self._away

    def post(self, use: Use) -> None:
        """Something was noted."""
        self._due[use] = None
        self._wake.set()

    async def run(self) -> None:
        """Apply what is noted, as long as this runs.

        Cancelled, it applies what waits for up to a second, and says how much was left.
        """
        try:
            while True:
                while self._due:
                    await self._post_next(BACK_OFFS_S)
                self._wake = trio.Event()
                await self._wake.wait()
        finally:
            with trio.move_on_after(LAST_S, shield=True):
                while self._due:
                    await self._post_next(())
            self._dropped += sum(use.give_up() for use in self._due)
            if self._dropped:
                self._log("relayd stops, and the store has not answered")

    def report(self, error: StoreError | LedgerError, *, dropped: int = 0) -> None:
        """Say that the store, or the ledger, did not answer; not more often than it helps."""
        self._dropped += dropped
        now = trio.current_time()
        if now >= self._quiet_until:
            self._quiet_until = now + REPORT_EVERY_S
            meanwhile = _MEANWHILE[self._on_failure]
            self._log(
                f"{error}; {_WITHOUT_LEDGER if isinstance(error, LedgerError) else meanwhile}"
            )

    def _log(self, message: str) -> None:
        log.warning(LogEvent.STATE_FAILED, message=message, dropped=self._dropped)
        self._dropped = 0

    async def _post_next(self, back_offs_s: tuple[float, ...]) -> None:
        use = next(iter(self._due))
        del self._due[use]
        with ExitStack() as undo:
            undo.callback(self.post, use)  # cancelled, it is due as before
            error = await self._attempt(use, back_offs_s)
            undo.pop_all()
        self._away = error is not None
        if error is not None:
            self.report(error, dropped=use.give_up())

    async def _attempt(
        self, use: Use, back_offs_s: tuple[float, ...]
    ) -> StoreError | LedgerError | None:
        """Tell the store; while it is known to be away, only once. Returns the last error."""
        for back_off_s in (*back_offs_s, None):
            try:
                await use.post(self._wall())
            except (StoreError, LedgerError) as error:
                if back_off_s is None or self._away:
                    return error
                await trio.sleep(back_off_s)
            else:
                return None
        raise AssertionError("the last attempt has an outcome")
