"""The pool: upstream sockets that outlive turns, leased to one turn's session after the other.

Each step is a decision of the book, made at once, and then what follows from it: a dial, a ping, a
Close. Between a decision and the next there may be an await; within one there never is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import trio

from relayd.config.pools import PoolSettings
from relayd.config.snapshot import Account
from relayd.pool.book import Book
from relayd.pool.claims import Claim, tokens
from relayd.pool.errors import AcquireTimeout, LeaseRefused, PinnedGone, PoolClosed
from relayd.pool.events import (
    Broken,
    Outcome,
    PoolEvent,
    PoolEventKind,
    PoolEvents,
    Refused,
)
from relayd.pool.identity import Identity, SlotRef, credential_of
from relayd.pool.idle import why_broken
from relayd.pool.janitor import Janitor
from relayd.pool.lease import Lease
from relayd.pool.opening import Opener, Opening
from relayd.pool.prewarming import Foresight, Prewarmer, no_foresight
from relayd.pool.shelf import Shelf
from relayd.pool.slots import Slot, State
from relayd.pool.statistics import AccountPool
from relayd.pool.wire import Noticed, Wire
from relayd.protocol.outcomes import Crash, Event
from relayd.transport.endpoint import Endpoint


class Pool:
    """One per process. :meth:`run` goes on in a task of its own for as long as it is used.

    Args:
        settings: ``[pool]``.
        accounts: All that there are.
        opener: Opens sockets.
        wire: Handles them.
        tell: Hears of everything that happens.
        foresight: Says which sockets to open before anybody asks.
    """

    def __init__(
        self,
        *,
        settings: PoolSettings,
        accounts: Sequence[Account],
        opener: Opener,
        wire: Wire,
        tell: PoolEvents,
        foresight: Foresight = no_foresight,
    ) -> None:
        self._book = Book[Endpoint](settings, _credentials(accounts))
        self._wire = wire
        self._tell = tell
        self._janitor = Janitor(self._book, wire, tell)
        self._opening = Opening(
            book=self._book, janitor=self._janitor, wire=wire, open=opener, tell=tell
        )
        self._prewarmer = Prewarmer(self._opening, foresight, self._watch)
        self._prewarmer.apply(accounts)
        self._tokens = tokens()
        self._tests: dict[Slot[Endpoint], trio.CancelScope] = {}  # of acquirers who await a pong

    def __repr__(self) -> str:
        return f"<Pool {self._book!r}>"

    async def run(self) -> None:
        """Ping, rotate and prewarm until cancelled; then close what nobody has leased."""
        async with trio.open_nursery() as nursery:
            await self._janitor.run(partial(self._prewarmer.look, nursery))

    # -- leasing

    async def acquire(
        self,
        account: Account,
        identity: Identity,
        *,
        pinned: SlotRef | None = None,
        lane: str | None = None,
        deadline: float,
    ) -> Lease:
        """Lease a socket: an unused one of this identity, else a new one, else wait for either.

        Those who wait are served first come first served and woken one at a time. Where every
        place is taken and some are unused, the socket that was unused for longest makes room.

        Args:
            account: Where to. One that the configuration does not name any more is served as
                well, and its socket is closed when the lease is over.
            identity: What the socket has to be opened with.
            pinned: Only this very socket will do, now or when its lease is over.
            lane: A ``stream_id`` that is going to be used; the socket has room for its name.
            deadline: Until when, in Trio's clock; ``pool.acquire_s`` from now at the latest.

        Raises:
            AcquireTimeout: No place became free.
            DialTimeout: There was one, but no time to open a socket.
            PinnedGone: The socket is gone, or will be after its lease; also while waiting for it.
            PoolClosed: The pool has been drained; also while waiting.

        What the opener raises passes through. Cancelling it gives back whatever was granted. It
        does not let other tasks run where an unused socket is at hand.
        """
        assert identity.account == account.name, "an identity names its account"
        await trio.lowlevel.checkpoint_if_cancelled()
        now = trio.current_time()
        claim: Claim[Endpoint] = Claim(
            owner=next(self._tokens),
            identity=identity,
            lane=lane,
            pinned=pinned,
            since=now,
        )
        shelf = self._book.shelf(account.name)
        shelf.ask(claim, now)
        deadline = min(deadline, now + self._book.settings.acquire_s)
        try:
            return await self._fulfil(shelf, account, claim, deadline)
        except BaseException as error:
            self._give_up(shelf, claim, error)
            raise

    async def _fulfil(
        self, shelf: Shelf[Endpoint], account: Account, claim: Claim[Endpoint], deadline: float
    ) -> Lease:
        began, waited_s, dial_s = claim.since, 0.0, None
        if claim.slot is None and claim.refused is None:
            waited_s = await self._wait(claim, deadline)
            began = trio.current_time()
        slot = _granted(claim)
        if slot.state is State.ACTIVE:
            if self._is_silent(slot, began):
                await self._test(shelf, claim, slot, deadline)
                began = trio.current_time()
            if (broken := self._why_useless(slot, began)) is not None:
                shelf.replace(claim, broken, began)
                slot = _granted(claim)
        if slot.socket is None:
            dial_s = await self._opening.fill(account, claim, deadline)
            began = trio.current_time()
        reused = shelf.picked_up(claim)
        if self._book.has_closings or self._book.settings.prewarm:
            self._janitor.ring()
        return Lease(
            self,
            account,
            claim,
            reused=reused,
            waited_s=waited_s,
            dial_s=dial_s,
            began=began,
        )

    async def _wait(self, claim: Claim[Endpoint], deadline: float) -> float:
        """Wait to be answered; returns for how many seconds."""
        answered = trio.Event()
        claim.wake = answered.set
        with trio.CancelScope(deadline=deadline):
            await answered.wait()
        waited_s = trio.current_time() - claim.since
        slot = claim.slot
        if slot is not None:
            self._say(PoolEventKind.LEASE_WAITED, slot, "", waited_s)
        elif claim.refused is None:
            raise AcquireTimeout(f"no socket was free for {waited_s:.1f} s")
        return waited_s

    def _is_silent(self, slot: Slot[Endpoint], now: float) -> bool:
        """Whether nothing has come from the socket for so long that it has to answer first."""
        assert slot.socket is not None, "a leased slot has a socket"
        heard_at = self._wire.heard_at(slot.socket)
        return now - heard_at >= self._book.settings.preflight_idle_s

    async def _test(
        self,
        shelf: Shelf[Endpoint],
        claim: Claim[Endpoint],
        slot: Slot[Endpoint],
        deadline: float,
    ) -> None:
        """Await an answer to a ping. Where none comes, or the socket is lost, that is noted."""
        endpoint = slot.socket
        assert endpoint is not None, "a leased slot has a socket"
        sent_at = trio.current_time()
        until = sent_at + self._book.settings.preflight_timeout_s
        shelf.test(claim, sent_at)
        self._wire.ping(endpoint, sent_at)
        scope = self._tests[slot] = trio.CancelScope(deadline=min(until, deadline))
        try:
            with scope:
                await self._wire.answered(endpoint, sent_at)
        finally:
            del self._tests[slot]
        now = trio.current_time()
        if slot.lost is None and self._wire.heard_at(endpoint) < sent_at:  # any byte is life
            if now < until:
                raise AcquireTimeout("no time was left to try the socket that was free")
            shelf.lost(slot, slot.generation, Broken.PREFLIGHT_TIMEOUT, now)
        shelf.tested(claim, now)

    def _why_useless(self, slot: Slot[Endpoint], now: float) -> str | None:
        """Take the watch off a kept socket; why it is of no use, if it is of none."""
        assert slot.socket is not None, "a leased slot has a socket"
        if slot.lost is None and self._wire.lend(slot.socket, now):
            return None
        return slot.lost or Broken.UNCLEAN

    def _give_up(
        self, shelf: Shelf[Endpoint], claim: Claim[Endpoint], error: BaseException
    ) -> None:
        """An acquirer leaves with nothing: whatever it was given is somebody else's."""
        now = trio.current_time()
        shelf.give_back(claim, now)
        self._janitor.sweep(now)
        self._janitor.look_at(self._book.due_at())
        if isinstance(error, Exception):  # else it was cancelled
            word = error.word if isinstance(error, LeaseRefused) else Refused.DIAL_FAILED
            ref = claim.pinned
            self._tell(
                PoolEvent(
                    PoolEventKind.LEASE_REFUSED,
                    shelf.name,
                    None if ref is None else ref.slot,
                    None if ref is None else ref.generation,
                    word,
                    now - claim.since,
                )
            )

    # -- leases that end

    def take_back(self, lease: Lease, now: float) -> bool:
        """See :meth:`Lease.yield_ <relayd.pool.lease.Lease.yield_>`."""
        slot = _granted(lease.claim)
        if not self._wire.keep(lease.endpoint, self._watch(slot), now):
            self.cut(lease, Broken.UNCLEAN)
            return False
        outcome = self._book.shelf(slot.account).yield_(lease.claim, now)
        self._released(lease, outcome, now)
        return True

    def cut(self, lease: Lease, reason: str) -> None:
        """See :meth:`Lease.break_ <relayd.pool.lease.Lease.break_>`."""
        now = trio.current_time()
        self._book.shelf(lease.account.name).broke(lease.claim, reason, now)
        self._released(lease, Outcome.BROKEN, now)

    def _released(self, lease: Lease, outcome: Outcome, now: float) -> None:
        self._janitor.sweep(now)
        # Cheaper than asking the book: what a yield makes due is never due before this.
        settings = self._book.settings
        self._janitor.look_at(now + min(settings.ping_after_s, settings.idle_ttl_s))
        self._tell(
            PoolEvent(
                PoolEventKind.LEASE_RELEASED,
                lease.account.name,
                lease.slot,
                lease.generation,
                outcome,
                now - lease.began,
            )
        )

    def _watch(self, slot: Slot[Endpoint]) -> Noticed:
        """What an unused socket's end is told to: about this generation and no later one."""
        return partial(self._noticed, slot, slot.generation)

    def _noticed(self, slot: Slot[Endpoint], generation: int, event: Event) -> None:
        """In the pass: an unused socket is lost. The rest is done by the janitor, or its owner."""
        error = event.error if isinstance(event, Crash) else None
        shelf = self._book.shelf(slot.account)
        lost = shelf.lost(slot, generation, why_broken(event), trio.current_time(), error)
        test = self._tests.get(slot)
        if lost and test is not None:
            test.cancel()
        self._janitor.ring()

    # -- all at once

    def alive(self, ref: SlotRef) -> bool:
        """Whether that socket is there, leased or not, and may be leased again."""
        return self._book.is_alive(ref, trio.current_time())

    def apply(self, settings: PoolSettings, accounts: Sequence[Account]) -> None:
        """Go by another configuration. Sockets it does not want are closed once they are unused.

        Those who wait go on waiting: a place that is new is given to them.
        """
        self._book.apply(settings, _credentials(accounts), trio.current_time())
        self._prewarmer.apply(accounts)
        self._janitor.ring()

    def drain(self) -> None:
        """Give no leases any more. Unused sockets are closed; leases go on, and close theirs.

        Whoever waits is refused; whoever has been given a socket, or opens one, gets the lease.
        """
        self._book.drain(trio.current_time())
        self._janitor.ring()

    def statistics(self) -> tuple[AccountPool, ...]:
        """Each account's pool at this moment, by name."""
        return self._book.statistics(trio.current_time())

    def _say(self, kind: PoolEventKind, slot: Slot[Endpoint], reason: str, seconds: float) -> None:
        self._tell(PoolEvent(kind, slot.account, slot.number, slot.generation, reason, seconds))


def _granted(claim: Claim[Endpoint]) -> Slot[Endpoint]:
    """What the claim was given."""
    match claim.refused:
        case Refused.PINNED_GONE:
            raise PinnedGone("the socket that was asked for is gone")
        case Refused.POOL_CLOSED:
            raise PoolClosed("the pool gives no leases any more")
    assert claim.slot is not None, "a claim is answered"
    return claim.slot


def _credentials(accounts: Sequence[Account]) -> dict[str, str]:
    return {account.name: credential_of(account) for account in accounts}
