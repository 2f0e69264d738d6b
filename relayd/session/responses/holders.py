"""The leases of one session: which turn joins one, and which needs another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from relayd.config.snapshot import Account
from relayd.dialect.responses_reader import LeaseReader
from relayd.dialect.responses_turns import Running
from relayd.pool.errors import AcquireTimeout, PinnedGone
from relayd.pool.events import Broken
from relayd.pool.identity import Identity, SlotRef
from relayd.pool.lease import Lease
from relayd.protocol.outcomes import EventReader
from relayd.session.responses.holder import Holder, Run
from relayd.session.responses.identity import session_name
from relayd.session.responses.shared import Shared
from relayd.transport.endpoint import Endpoint


@attrs.frozen(kw_only=True)
class Collector:
    """Where events go that no client's socket takes.

    Attributes:
        policy: Wraps the reader of a lease into one that keeps what it sees.
        deliver: Hands on what was kept.
    """

    policy: Callable[[LeaseReader], EventReader]
    deliver: Callable[[], Awaitable[None]]


@attrs.define(eq=False, kw_only=True)
class Holders:
    """See the module's text.

    Attributes:
        nursery: Where leases are served that turns share; its end closes their sockets.
        crashed: Hears of a bug that ended a lease.
        client: Where events go.
        collector: What takes them, where there is no such socket.
        shares: Whether lanes share a lease where they can. Where they do not, two turns are on one
            socket only if what they go on from lives there.
    """

    shared: Shared
    nursery: trio.Nursery
    crashed: Callable[[Exception], None]
    client: Endpoint | None = None
    collector: Collector | None = None
    shares: bool = True
    _holders: list[Holder] = attrs.field(factory=list, init=False)
    _acquiring: dict[str, trio.Lock] = attrs.field(factory=dict, init=False)
    _gone: tuple[int, int] = attrs.field(default=(0, 0), init=False)
    _torn: bool = attrs.field(default=False, init=False)

    @property
    def torn(self) -> bool:
        """Whether the client is inside a message that nobody can finish."""
        return self._torn or any(holder.torn for holder in self._holders)

    @property
    def relayed(self) -> tuple[int, int]:
        """Messages that were sent on to the client so far, and bytes of them."""
        counts = [self._gone, *(holder.relayed for holder in self._holders)]
        return sum(messages for messages, _ in counts), sum(size for _, size in counts)

    async def begin(
        self,
        account: Account,
        identity: Identity,
        running: Running,
        payload: bytes,
        *,
        lane: str | None,
        pinned: SlotRef | None,
        deadline: float,
    ) -> Run | None:
        """Send a request over a lease that the session has, or over another one.

        Returns:
            ``None`` where relayd may not hold that many bytes now.

        Raises:
            LeaseRefused: The pool gives none.
            AttemptFailed: None could be opened.

        Cancelling it sends nothing.
        """
        if (
            pinned is not None
            and self._holders
            and any(
                holder.lease.ref() == pinned and holder.reader.spoiled for holder in self._holders
            )
        ):
            raise PinnedGone("the socket that was asked for is about to be closed")
        if not account.lanes:
            lease = await self._acquire(account, identity, pinned, lane, deadline)
            return self._begin_on_new(lease, lane, running, payload)
        alone = pinned is None and not self.shares
        holder = None if alone else self._joined(account, pinned, lane)
        if holder is not None:
            return holder.begin(lane, running, payload, trio.current_time())
        if alone or pinned is not None:  # no other turn can use what it waits for
            lease = await self._acquire(account, identity, pinned, lane, deadline)
            return self._begin_on_new(lease, lane, running, payload)
        # One at a time: whoever comes second finds the lease of the first.
        lock = self._acquiring.setdefault(account.name, trio.Lock())
        with trio.move_on_at(deadline) as waiting:
            await lock.acquire()
        if waiting.cancelled_caught:
            raise AcquireTimeout("another turn of the session waits for a socket")
        try:
            holder = self._joined(account, None, lane)
            if holder is not None:
                return holder.begin(lane, running, payload, trio.current_time())
            lease = await self._acquire(account, identity, None, lane, deadline)
            return self._begin_on_new(lease, lane, running, payload)
        finally:
            lock.release()

    def in_lane(self, lane: str | None) -> Holder | None:
        """The lease on which a turn of ``lane`` runs."""
        return next((holder for holder in self._holders if holder.runs_in(lane)), None)

    def of_response(self, response_id: str) -> Holder | None:
        """The lease on which this response runs."""
        return next((each for each in self._holders if each.runs_response(response_id)), None)

    async def _acquire(
        self,
        account: Account,
        identity: Identity,
        pinned: SlotRef | None,
        lane: str | None,
        deadline: float,
    ) -> Lease:
        name = lane if account.lanes else None
        last_used = self.shared.last_used
        is_new = identity.session is None and last_used.get(account.name) is not identity
        if is_new and session_name(identity.headers) is None:
            last_used[account.name] = identity
        return await self.shared.pool.acquire(
            account, identity, pinned=pinned, lane=name, deadline=deadline
        )

    def _joined(self, account: Account, pinned: SlotRef | None, lane: str | None) -> Holder | None:
        for holder in self._holders:
            lease = holder.lease
            if lease.account.name != account.name or pinned not in {None, lease.ref()}:
                continue
            # A socket that is too old, or not wanted any more, gets a chance to end.
            if self.shared.pool.alive(lease.ref()) and holder.has_room(lane):
                return holder
        return None

    def _begin_on_new(
        self, lease: Lease, lane: str | None, running: Running, payload: bytes
    ) -> Run | None:
        """The first turn of a lease. It begins before anything is read: what has come already,
        such as an error behind the handshake, is about it."""
        now = lease.began  # nothing was awaited since
        try:
            holder = self._holder_of(lease)
            run = holder.begin(lane, running, payload, now)
            if run is None:
                lease.yield_(now)
                return None
            named = lane is not None and not lease.account.lanes
            holder.use(b'"stream_id":"%b",' % (lane or "").encode() if named else b"", now)
        except BaseException:
            if not lease.is_over:
                lease.break_(Broken.ABANDONED)
            raise
        self._holders.append(holder)
        run.serves = not lease.account.lanes and self.collector is None
        if not run.serves:
            self.nursery.start_soon(holder.relay)
        return run

    def _holder_of(self, lease: Lease) -> Holder:
        reader, collector = LeaseReader(lanes=lease.account.lanes), self.collector
        return Holder(
            lease=lease,
            reactor=self.shared.reactor,
            reader=reader,
            policy=reader if collector is None else collector.policy(reader),
            client=self.client,
            crashed=self.crashed,
            ended=self._ended,
            deliver=None if collector is None else collector.deliver,
        )

    def _ended(self, holder: Holder) -> None:
        self._torn = self._torn or holder.torn
        self._holders.remove(holder)
        messages, size = holder.relayed
        self._gone = self._gone[0] + messages, self._gone[1] + size
