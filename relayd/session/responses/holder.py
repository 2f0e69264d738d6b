"""One lease of a session, and the turns that run on it.

On an upstream with lanes all turns of a session at one account share a lease, which goes back to
the pool when the last of them has ended; a task of its own serves it. On others each turn has its
own, and serves it while it waits for its outcomes: a task for each would cost as much as reading
all of its events. A socket that did anything but end its turns in order never goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import attrs
import trio

from relayd.core.endings import Reason
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_reader import LeaseReader
from relayd.dialect.responses_turns import Running, Terminal
from relayd.pool.lease import Lease
from relayd.protocol.event_flow import EventFlow
from relayd.protocol.outcomes import (
    Crash,
    EndOfStream,
    Event,
    EventReader,
    Notice,
    PeerClosed,
    Violation,
)
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

_T = TypeVar("_T")

RUNS_MAX: Final = 16
"""Responses that one socket runs at once."""

_BY_CLOSE_CODE: Final = {
    1009: Abort.UPSTREAM_TOO_BIG,
    1012: Abort.UPSTREAM_RESTART,
    1013: Abort.UPSTREAM_RESTART,
}

_GIVEN_UP: Final = EndOfStream(mid_frame=False)


@attrs.frozen
class Began:
    """The upstream has begun another response behind the one that was steered."""

    running: Running


@attrs.frozen
class Lapsed:
    """Another response was to follow, and will not."""


@attrs.frozen
class Lost:
    """The socket is gone, and the turn with it."""

    abort: Abort


Outcome = Terminal | Began | Lapsed | Lost


@attrs.define(eq=False, repr=False)
class Run:
    """A turn on its way through a lease.

    Attributes:
        holder: Whose lease it is.
        running: What its events have said; of a successor, once that has begun.
        sent_at: When its request was written.
        reused: Whether another turn had the socket before.
        messages_before: How many messages of the lease the client had been sent.
        serves: Whether who waits for it serves its lease, since no other turn will have that.
    """

    holder: Holder
    running: Running
    sent_at: float
    reused: bool
    messages_before: int = 0
    serves: bool = attrs.field(default=False, init=False)
    _outcomes: deque[Outcome] = attrs.field(factory=deque, init=False)
    _came: trio.Event | None = attrs.field(default=None, init=False)

    def come(self, outcome: Outcome) -> None:
        """Something about it has been decided."""
        self._outcomes.append(outcome)
        if self._came is not None:
            self._came.set()

    @property
    def messages(self) -> int:
        """How many messages the client was sent since; those of other lanes are among them."""
        return self.holder.relayed[0] - self.messages_before

    async def next(self) -> Outcome:
        """The next outcome. Cancelling this loses none."""
        while not self._outcomes:
            if self.serves:
                await self.holder.step()
            else:
                self._came = trio.Event()
                await self._came.wait()
        return self._outcomes.popleft()

    def leave(self, abort: Abort) -> None:
        """Nobody waits for it any more: so nobody serves its lease, if that was done here."""
        if self.serves:
            self.holder.abandon(abort)

    def rest(self) -> list[Outcome]:
        """The outcomes that nobody has waited for, in order; nobody will any more."""
        rest = list(self._outcomes)
        self._outcomes.clear()
        return rest


@attrs.define(eq=False, repr=False, kw_only=True)
class Holder:
    """One lease.

    Attributes:
        reader: Knows of the turns.
        policy: What the socket's messages are shown to: the reader, or what collects them too.
        client: Where its events go; ``None``: nowhere, the policy collects them.
        crashed: Hears of a bug that ended the lease.
        ended: Called once, when it is over.
        deliver: Awaited whenever the flow has stopped, before turns are told.
        over: Whether the lease is.
        blamed: Whether its account has been judged for how it went.
        torn: Whether the client is inside a message that nobody can finish.
        lost_by: How the upstream's bytes came to an end under it, if they did.
    """

    lease: Lease
    reactor: Reactor
    reader: LeaseReader
    policy: EventReader
    client: Endpoint | None
    crashed: Callable[[Exception], None]
    ended: Callable[[Holder], None]
    deliver: Callable[[], Awaitable[None]] | None = None
    over: bool = attrs.field(default=False, init=False)
    blamed: bool = attrs.field(default=False, init=False)
    torn: bool = attrs.field(default=False, init=False)
    lost_by: Event | None = attrs.field(default=None, init=False)
    _runs: dict[str | None, Run] = attrs.field(factory=dict, init=False)
    _begun: int = attrs.field(default=0, init=False)
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)
    _flow: EventFlow = attrs.field(init=False)
    _before: tuple[int, int] = attrs.field(init=False)
    _after: tuple[int, int] | None = attrs.field(default=None, init=False)
    _spoiled_by: Abort = attrs.field(default=Abort.UPSTREAM_ERROR, init=False)

    def __attrs_post_init__(self) -> None:
        flow = self.lease.endpoint.flow
        assert isinstance(flow, EventFlow), "the pool's sockets are read by event flows"
        self._flow, self._before = flow, (flow.messages, flow.bytes)

    @property
    def relayed(self) -> tuple[int, int]:
        """Messages, and bytes of them, that came under this lease."""
        messages, size = self._after or (self._flow.messages, self._flow.bytes)
        return messages - self._before[0], size - self._before[1]

    @property
    def progress(self) -> int:
        """Grows with whatever comes from the upstream."""
        return self._flow.progress

    @property
    def stalled_since(self) -> float | None:
        """Since when the upstream has not taken what it was sent."""
        sink = self.lease.endpoint.sink
        return None if self.over or not sink.blocked else sink.blocked_since

    def has_room(self, lane: str | None) -> bool:
        """Whether another turn may join, in ``lane``; a lane's name is then taken."""
        if self.over or self.reader.spoiled or not self.lease.account.lanes:
            return False
        return lane not in self._runs and len(self._runs) < RUNS_MAX and self.lease.use_lane(lane)

    def begin(self, lane: str | None, running: Running, payload: bytes, now: float) -> Run | None:
        """Send a request. ``None``, and nothing is sent, where relayd cannot hold it."""
        if not self.send(payload, now):
            return None
        reused = self.lease.reused or self._begun > 0
        run = self._runs[lane] = Run(self, running, now, reused, self.relayed[0])
        self._begun += 1
        self.reader.begin(lane, running)
        return run

    def send(self, payload: bytes, now: float) -> bool:
        """Send a message that concerns a running turn. ``False``: relayd cannot hold it."""
        endpoint = self.lease.endpoint
        sent = endpoint.sink.send_message(payload, now)
        if endpoint.sink.blocked:
            self.reactor.update(endpoint)
        return sent

    def runs_in(self, lane: str | None) -> bool:
        """Whether a turn of ``lane`` runs here."""
        return not self.over and lane in self._runs

    def runs_response(self, response_id: str) -> bool:
        """Whether this response does."""
        return not self.over and any(
            run.running.response_id == response_id for run in self._runs.values()
        )

    def use(self, splice: bytes, now: float) -> None:
        """Have the socket's events read, and sent on, from now on; its first turn has begun."""
        endpoint = self.lease.endpoint
        self._flow.reader, self._flow.splice = self.policy, splice
        if self.client is not None:
            self.reactor.attach(endpoint, self.client)
        self.reactor.arm(endpoint, now)

    async def relay(self) -> None:
        """Serve the lease in a task of its own, until it is over.

        Cancelling it closes the socket: whoever had turns on it is gone.
        """
        self._scope = trio.CancelScope()
        try:
            with self._scope:
                while not self.over:
                    await self.step()
        except Exception as error:  # noqa: BLE001 - a lease's one boundary: a bug here ends the turns that run on it
            self.crashed(error)
            self.abandon(Abort.INTERNAL_LANE)
        finally:
            self.abandon(Abort.CLIENT_GONE)

    async def step(self) -> None:
        """Wait until something has to be decided, and do it.

        Cancelling it loses nothing, but where there is something to ``deliver``.
        """
        event = await self.lease.endpoint.next_event()
        if self.deliver is not None:
            await self.deliver()
        if self.over:  # it was abandoned meanwhile
            return
        if isinstance(event, Notice):
            self._noticed()
            return
        if isinstance(event, Crash):
            self.crashed(event.error)
        self.lost_by = event
        self._lose(_meaning(event))

    def abandon(self, abort: Abort, mine: Run | None = None) -> bool:
        """Close the socket: what runs on it is lost. Nothing is, where the lease is over.

        Args:
            abort: Why.
            mine: Whose reason that is, which must still run; to the other turns their upstream has
                closed.

        Returns:
            Whether it was closed for that.
        """
        if self.over:
            return False
        self._hand_out()
        if mine is not None and mine not in self._runs.values():
            return False
        self._lose(abort, mine)
        if self._scope is not None:
            self._scope.cancel(reason=abort.value)
        else:
            self.lease.endpoint.wake(_GIVEN_UP)  # whoever serves it finds that it is over
        return True

    def _hand_out(self) -> None:
        """Tell the turns what the reader has come to know."""
        reader = self.reader
        if reader.began:
            for began in _taken(reader.began):
                run = self._runs[began.lane]
                run.running = began
                run.come(Began(began))
        for end in _taken(reader.ended):
            lane = end.running.lane
            run = self._runs[lane] if end.successor_expected else self._runs.pop(lane)
            if end.error is not None:
                self._spoiled_by = end.error.abort
            run.come(end)
        if reader.lapsed:
            for lane in _taken(reader.lapsed):
                self._runs.pop(lane).come(Lapsed())

    def _noticed(self) -> None:
        self._hand_out()
        now = trio.current_time()
        if self._runs:
            self.reactor.arm(self.lease.endpoint, now)
        elif self.reader.spoiled:
            self._lose(self._spoiled_by)
        else:
            self._finish()
            self.ended(self)
            self.lease.yield_(now)

    def _lose(self, abort: Abort, mine: Run | None = None) -> None:
        self._hand_out()  # an end that was read is one, whether its turn has heard of it or not
        self._finish()
        self.torn = self.reactor.detach(self.lease.endpoint, trio.current_time())
        self.ended(self)
        self.lease.break_(abort.value)
        runs, self._runs = self._runs, {}
        for run in runs.values():
            run.come(Lost(abort if mine in {None, run} else Abort.UPSTREAM_CLOSED))

    def _finish(self) -> None:
        self.over, self._after = True, (self._flow.messages, self._flow.bytes)


def _taken(items: list[_T]) -> list[_T]:
    """What is in ``items``, which is empty afterwards."""
    taken = items.copy()
    items.clear()
    return taken


def _meaning(event: Event) -> Abort:
    """What it means for the turns that the socket's bytes have come to an end so."""
    match event:
        case PeerClosed(code):
            return _BY_CLOSE_CODE.get(code or 0, Abort.UPSTREAM_CLOSED)
        case Violation(Reason.OVERLOAD):
            return Abort.GATEWAY_BUSY
        case Violation():
            return Abort.UPSTREAM_PROTOCOL
        case Crash():
            return Abort.INTERNAL_LANE
        case _:
            return Abort.UPSTREAM_CLOSED
