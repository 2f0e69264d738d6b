"""Sockets for one use that are opened ahead of it: dialled, upgraded, and silent.

Where each request has a socket of its own, opening it is most of the wait for the first word. So
some are kept for what was used lately, none for long: upstreams close a socket that is sent nothing
for a minute. A socket is handed out once and never comes back; one that says anything, or is lost,
before that is thrown away.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import trio

from relayd.config.snapshot import Account
from relayd.core.hold import HoldBudget
from relayd.pool.parting import Partings
from relayd.pool.ready_counts import AccountReady, Counts
from relayd.pool.silence import SILENCE
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.outcomes import Event
from relayd.transport.endpoint import Endpoint, clean
from relayd.transport.reactor import Reactor

AGE_MAX_S: Final = 45.0
"""Past this a socket is not used: Spark closes those that are silent at 60 s."""

LATELY_S: Final = 120.0
"""Sockets are kept ready for what was used this lately."""

READY_MAX: Final = 256
DIALS_MAX: Final = 8
TARGETS_MAX: Final = 64
"""In all: sockets, those of them that are being opened, and what they are for."""

FAILURES_MAX: Final = 2
SUPPRESSED_S: Final = 30.0
"""After that many failures in a row nothing is opened for this long."""

OPEN_S: Final = 10.0
"""How long opening one may take; the account's own limit is mostly shorter."""

LOOKS_MAX: Final = 4
"""Receives by hand until one would block. Who has more to say than that is not silent."""

Open = Callable[[Account, str, float], Awaitable[Endpoint]]
"""Dials and upgrades to an account, for a model by the account's name, until the given time.

The endpoint is not adopted and is the caller's. When it is cancelled it closes what it opened.
"""

InForce = Callable[[str], Account | None]
"""The account of a name as it is now; ``None``: there is none, or it takes no requests."""

Failed = Callable[[Account, Exception], None]
"""Hears why a socket could not be opened; must not raise."""


@attrs.define(eq=False)
class _Kept:
    """A socket that waits."""

    endpoint: Endpoint
    opened_at: float
    lost: bool = False


@attrs.define(eq=False)
class _Target:
    """What some sockets are for, and how it goes there."""

    account: Account
    model: str
    used_at: float
    kept: deque[_Kept] = attrs.field(factory=deque)
    opening: int = 0
    failures: int = 0  # in a row
    not_before: float = -math.inf


class ReadySockets:
    """See the module's text. :meth:`run` goes on in a task of its own.

    Args:
        wanted: Sockets for each target; 0: none are opened ahead.
        in_force: Knows the accounts as they are now. Nothing is opened for any other one: requests
            that began before a reload still name those.
        open: Opens them.
        failed: Hears of failures.
        reactor: Serves them.
        partings: Closes those that were not used.
        hold: The process's count of held bytes.
        message_max_bytes: Of one message, once they are used.

    Attributes:
        wanted: Sockets for each target.
    """

    def __init__(
        self,
        *,
        wanted: int,
        in_force: InForce,
        open: Open,  # noqa: A002 - what it does
        failed: Failed,
        reactor: Reactor,
        partings: Partings,
        hold: HoldBudget,
        message_max_bytes: int,
    ) -> None:
        self.wanted = wanted
        self._in_force = in_force
        self._open = open
        self._failed = failed
        self._reactor = reactor
        self._partings = partings
        self._hold = hold
        self._message_max_bytes = message_max_bytes
        self._targets: dict[tuple[str, str], _Target] = {}
        self._counts: dict[str, Counts] = {}
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._total = 0  # kept and being opened
        self._dials = 0

    def __len__(self) -> int:
        """How many sockets are ready."""
        return self._total - self._dials

    def __repr__(self) -> str:
        return f"<ReadySockets {len(self)} ready, {self._dials} opening>"

    def statistics(self) -> tuple[AccountReady, ...]:
        """Each account that was used since it is there, at this moment."""
        made = {name: AccountReady(name, attrs.evolve(n)) for name, n in self._counts.items()}
        for (name, _), target in self._targets.items():
            made[name].ready += len(target.kept)
            made[name].opening += target.opening
        return tuple(made.values())

    # -- using them

    def take(self, account: Account, target: str, model: str) -> Endpoint | None:
        """A socket for one use, armed, with :data:`SILENCE` as its reader; ``None``: none is ready.

        From now on some are kept ready for the next use, unless the account is not in force any
        more. The caller puts its reader in and closes the socket when it is done; it never comes
        back.

        Args:
            account: Where to. Sockets that were opened with other settings of it are not used.
            target: What a socket is good for there; a path, of which there are few.
            model: What is named when one is opened.
        """
        if self._in_force(account.name) != account:
            return None
        now = trio.current_time()
        found = self._target(account, target, model, now)
        counts = self._counts.setdefault(account.name, Counts())
        self._ring()
        while found.kept:
            kept = found.kept.popleft()
            self._total -= 1
            if self._is_good(kept, now):
                kept.endpoint.on_event = None
                found.failures = 0
                counts.taken += 1
                return kept.endpoint
            self._discard(found, kept, now)
        counts.missed += 1
        return None

    def _counts_of(self, account: Account) -> Counts:
        return self._counts.get(account.name) or Counts()  # of one that is gone nobody asks

    def _target(self, account: Account, target: str, model: str, now: float) -> _Target:
        key = account.name, target
        found = self._targets.get(key)
        if found is not None and found.account != account:
            self._let_go(found, now)
            found.account, found.failures, found.not_before = account, 0, -math.inf
        if found is None:
            if len(self._targets) >= TARGETS_MAX:
                oldest = min(self._targets, key=lambda each: self._targets[each].used_at)
                self._let_go(self._targets.pop(oldest), now)
            found = self._targets[key] = _Target(account, model, now)
        found.model, found.used_at = model, now
        return found

    def _is_good(self, kept: _Kept, now: float) -> bool:
        """Whether it is silent and sound to this moment."""
        endpoint = kept.endpoint
        if kept.lost or now >= kept.opened_at + AGE_MAX_S:
            return False
        for _ in range(LOOKS_MAX):
            if not clean(endpoint) or not endpoint.armed:
                return False
            if not self._reactor.look(endpoint, now):
                return clean(endpoint)
        return False

    # -- keeping them

    def apply(self, wanted: int) -> None:
        """Go by another configuration: sockets of accounts that are not as they were are closed."""
        self.wanted = wanted
        self._drop_others(trio.current_time())
        self._counts = {name: n for name, n in self._counts.items() if self._in_force(name)}
        self._ring()

    def _drop_others(self, now: float) -> None:
        """Let go of what is not wanted, or not in force, any more."""
        for key, target in tuple(self._targets.items()):
            if not self.wanted or self._in_force(target.account.name) != target.account:
                self._let_go(self._targets.pop(key), now)

    async def run(self) -> None:
        """Open and close sockets until cancelled; then close all that are left."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                while True:
                    due_at = self._look(nursery, trio.current_time())
                    self._scope = trio.CancelScope(deadline=due_at)
                    with self._scope:
                        await trio.sleep_forever()
            finally:
                self._nursery = None
                now = trio.current_time()
                for target in self._targets.values():
                    self._let_go(target, now)
                self._targets.clear()

    def _ring(self) -> None:
        """Look now. May be called in the pass."""
        self._scope.deadline = -math.inf

    def _look(self, nursery: trio.Nursery, now: float) -> float:
        """Throw away what is of no use, open what is missing; returns when to look again."""
        next_at = math.inf
        self._drop_others(now)
        for key, target in tuple(self._targets.items()):
            self._weed(target, now)
            lately_until = target.used_at + LATELY_S
            if now >= lately_until:
                self._let_go(self._targets.pop(key), now)
                continue
            if now < target.not_before:
                next_at = min(next_at, target.not_before)
            else:
                self._fill(nursery, target)
            due = (kept.opened_at + AGE_MAX_S for kept in target.kept)
            next_at = min(next_at, lately_until, *due)
        return next_at

    def _weed(self, target: _Target, now: float) -> None:
        kept, target.kept = target.kept, deque()
        for each in kept:
            if each.lost or now >= each.opened_at + AGE_MAX_S:
                self._total -= 1
                self._discard(target, each, now)
            else:
                target.kept.append(each)

    def _fill(self, nursery: trio.Nursery, target: _Target) -> None:
        while (
            len(target.kept) + target.opening < self.wanted
            and self._total < READY_MAX
            and self._dials < DIALS_MAX
        ):
            target.opening += 1
            self._dials += 1
            self._total += 1
            nursery.start_soon(self._open_one, target)

    async def _open_one(self, target: _Target) -> None:
        """Open one. Its failure is told and counted; it ends nothing else."""
        account, endpoint = target.account, None
        try:
            until = trio.current_time() + OPEN_S
            endpoint = await self._open(account, target.model, until)
            self._keep(target, account, endpoint)
        except Exception as error:  # noqa: BLE001 - the boundary of this task: an upstream that cannot be reached ends nothing else
            if endpoint is not None:
                self._reactor.release(endpoint)
                endpoint.close()
            self._total -= 1
            self._counts_of(account).failed += 1
            self._note_failure(target)
            self._failed(account, error)
        except BaseException:
            self._total -= 1
            raise
        finally:
            target.opening -= 1
            self._dials -= 1
            self._ring()

    def _keep(self, target: _Target, account: Account, endpoint: Endpoint) -> None:
        """Watch a new socket. Raises ``OSError`` where the kernel watches no more."""
        endpoint.flow = EventFlow(
            message_max_bytes=self._message_max_bytes, hold=self._hold, reader=SILENCE
        )
        self._reactor.adopt(endpoint)
        now = trio.current_time()
        kept = _Kept(endpoint, now)
        endpoint.on_event = partial(self._noticed, kept)
        self._reactor.arm(endpoint, now)
        self._counts_of(account).opened += 1
        is_wanted = self._nursery is not None and target in self._targets.values()
        if is_wanted and target.account == account:
            target.kept.append(kept)
        else:
            self._total -= 1
            self._partings.part(endpoint, 1000, now)

    def _noticed(self, kept: _Kept, event: Event) -> None:
        """In the pass: it is of no use any more. The rest is done by the task."""
        kept.lost = True
        self._ring()

    def _note_failure(self, target: _Target) -> None:
        target.failures += 1
        if target.failures >= FAILURES_MAX:
            target.not_before = trio.current_time() + SUPPRESSED_S

    def _discard(self, target: _Target, kept: _Kept, now: float) -> None:
        counts = self._counts_of(target.account)
        if now >= kept.opened_at + AGE_MAX_S and not kept.lost:
            counts.aged += 1
        else:
            counts.lost += 1
            self._note_failure(target)
        self._partings.part(kept.endpoint, 1000, now)

    def _let_go(self, target: _Target, now: float) -> None:
        """Close the sockets of a target."""
        while target.kept:
            self._total -= 1
            self._partings.part(target.kept.popleft().endpoint, 1000, now)
