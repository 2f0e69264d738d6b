"""A Responses client's WebSocket: its lanes, and the turns that run in them.

The client's messages are few and each is dealt with here; what upstreams answer goes past this
module, from socket to socket. An upstream that is lost ends turns, never the session.
"""

from __future__ import annotations

import math

import attrs
import trio

from relayd.config.keys import BusyLane
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason, Side
from relayd.dialect.base import Timed
from relayd.dialect.meter import Refuse
from relayd.dialect.responses import keepalive_event
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_client import (
    Create,
    Mistake,
    MistakeCount,
    Other,
    Steer,
    read_message,
)
from relayd.dialect.responses_lanes import QUEUED_MAX, Lanes
from relayd.protocol.directions import ClientFlow
from relayd.protocol.outcomes import (
    Taken,
)
from relayd.session.admission import Grant
from relayd.session.books import stay
from relayd.session.clock import Clock
from relayd.session.closing import CLOSE_TEXTS, close_all
from relayd.session.living import Living
from relayd.session.responses.accounting import Purse
from relayd.session.responses.desk import Desk
from relayd.session.responses.farewell import closed_to, goodbye, mistake_of
from relayd.session.responses.forwarding import UNKNOWN_EVENT, forward
from relayd.session.responses.holders import Holders
from relayd.session.responses.intake import Intake
from relayd.session.responses.shared import Shared
from relayd.session.responses.silence import Silence
from relayd.session.responses.turn import Asked
from relayd.session.responses.views import Downstream, Turns
from relayd.session.terms import KEY_REMOVED, TOO_OLD, removed


@attrs.define(eq=False, kw_only=True)
class ResponsesSession(Living):
    """See the module's text.

    Attributes:
        shared: What it shares with all others.
        grant: What its client may do.
        snapshot: The configuration that it keeps.
        purse: What its turns are charged to.
        upstream: Counts what came from upstreams.
    """

    shared: Shared
    grant: Grant
    snapshot: Snapshot
    purse: Purse
    conversation: Turns = attrs.field(init=False)
    upstream: Downstream = attrs.field(factory=Downstream, init=False)
    _lanes: Lanes = attrs.field(init=False)
    _flow: ClientFlow = attrs.field(init=False)
    _mistakes: MistakeCount = attrs.field(factory=MistakeCount, init=False)
    _asked: dict[str | None, Asked] = attrs.field(factory=dict, init=False)
    _came_at: dict[Create, float] = attrs.field(factory=dict, init=False)
    _nursery: trio.Nursery = attrs.field(init=False)
    _desk: Desk = attrs.field(init=False)
    _heard: bool = attrs.field(default=False, init=False)
    _silence: Silence = attrs.field(init=False)
    _spent: bool = attrs.field(default=False, init=False)  # the upstream's socket is too old

    def __attrs_post_init__(self) -> None:
        self._lanes = Lanes(preempt=self.key.busy_lane is BusyLane.PREEMPT)
        self.conversation = Turns(self._lanes)
        self._silence = Silence(self.snapshot.settings.dialects.responses.keepalive_s)
        self._flow = ClientFlow(
            message_max_bytes=self.message_max_bytes, hold=self.hold, reader=Intake()
        )
        self._clock = Clock.of(
            self.reactor,
            self.client,
            None,
            self.verdict,
            self.conversation,
            self.deadlines,
            self._look,
        )

    @property
    def timed(self) -> Timed:
        """See :class:`~relayd.session.living.Living`."""
        return self.conversation

    def review(self, snapshot: Snapshot) -> None:
        """End, after the running turns, if ``snapshot`` lacks the key.

        A turn at an account that is gone ends by itself, and the next goes elsewhere.
        """
        if removed(self.key, snapshot):
            self.run_out(Reason.KEY_REMOVED, KEY_REMOVED)

    def leave(self, reason: Reason, *, at: float, refuse: Refuse) -> None:
        """See :class:`~relayd.session.living.Living`. What waits in a lane is refused now."""
        super().leave(reason, at=at, refuse=refuse)
        self._turn_waiting_away()

    # -- the client

    async def _relay(self) -> None:
        client, now = self.client, trio.current_time()
        with self.verdict.scope:
            async with trio.open_nursery() as nursery:
                holders = Holders(
                    shared=self.shared,
                    nursery=nursery,
                    crashed=self.reporter.crashed,
                    client=client,
                    shares=self.key.busy_lane is not BusyLane.PREEMPT,  # it closes whole sockets
                )
                self.upstream.holders, self._nursery = holders, nursery
                self._desk = Desk(
                    shared=self.shared,
                    grant=self.grant,
                    session_id=self.reporter.facts.session_id,
                    snapshot=self.snapshot,
                    purse=self.purse,
                    holders=holders,
                    say=self._say,
                )
                client.flow, client.on_event = self._flow, None
                nursery.start_soon(self._read)
                nursery.start_soon(self._clock.run)
                client.sink.settle(client.sink.standing, now)  # the 101
                self.reactor.arm(client, now)

    async def _read(self) -> None:
        """Deal with what the client sends, one message after the other."""
        while True:
            event = await self.client.next_event()
            now = trio.current_time()
            if not isinstance(event, Taken):
                self._client_ended(event)
                return
            self._heard = True
            self._received(event.payload, now)
            self.reactor.arm(self.client, now)

    def _received(self, payload: bytes, now: float) -> None:
        """One message. Its bytes stay counted for as long as its turn needs them."""
        message = read_message(payload)
        if isinstance(message, Create):
            self._mistakes.clear()
            self._take_in(message, now)
            return
        self.hold.give(len(payload))
        match message:
            case Mistake():
                self._mistaken(message)
            case Steer() | Other():
                self._pass_on(message, now)

    def _mistaken(self, mistake: Mistake) -> None:
        self._say(mistake.event())
        if self._mistakes.add(mistake):
            reason = Reason.DUPLICATE_TYPE if mistake.fatal else Reason.POLICY
            self.verdict.end(reason, sender=Side.CLIENT, message=mistake.message)

    def _pass_on(self, message: Steer | Other, now: float) -> None:
        """It goes to the turn that it concerns; it is no turn itself."""
        refused = forward(self._desk.holders, message, now)
        if refused is not None and refused.code == UNKNOWN_EVENT:
            self._mistaken(refused)
            return
        self._mistakes.clear()
        if refused is not None:
            self._say(refused.event())

    # -- turns

    def _take_in(self, create: Create, now: float) -> None:
        """A request starts, waits in its lane, or is refused."""
        closed = self.conversation.closed_to_turns
        if closed is not None:
            self.hold.give(len(create.payload))
            self._refuse(closed_to(create, self._leaving, closed))
            return
        placed = self._lanes.add(create)
        if isinstance(placed, Mistake):
            self.hold.give(len(create.payload))
            self._say(placed.event())
            return
        self._came_at[create] = now
        for dropped in placed.dropped:
            self._forget(dropped)
            self._refuse(mistake_of(Abort.PREEMPTED, dropped.stream_id))
        if placed.aborts is not None:
            self._asked[placed.aborts.stream_id].preempt()
        if placed.starts:
            self._start(create, now)

    def _start(self, create: Create, now: float) -> None:
        if not self._asked:
            self._silence.begins(now)
        asked = Asked(desk=self._desk, create=create, asked_at=self._came_at[create])
        self._asked[create.stream_id] = asked
        self._clock.look_at(now + self._silence.look_every_s)
        self._nursery.start_soon(self._turn, asked)

    async def _turn(self, asked: Asked) -> None:
        """One request, from its turn in its lane to its end."""
        lane, abort = asked.create.stream_id, None
        try:
            abort = await asked.answer()
        except Exception as error:  # noqa: BLE001 - a lane's one boundary: a bug in a turn ends that turn
            self.reporter.crashed(error)
            asked.crashed()
        finally:
            self._forget(asked.create)
        del self._asked[lane]  # one that is cancelled stays: the end winds it up
        for event in asked.behind:
            self._say(event)
        if self._desk.holders.torn:
            self.verdict.end(Reason.UPSTREAM_LOST_MID_FRAME)
        if abort is Abort.CONNECTION_LIMIT:
            self._spent, self.conversation.closed_to_turns = True, TOO_OLD
            self._turn_waiting_away()
        following = self._lanes.ended(lane)
        if following is not None:
            self._start(following, trio.current_time())
        elif self._leaving is not None and not self._lanes.busy:
            self.verdict.end(self._leaving, code=1000, text=CLOSE_TEXTS[Reason.SESSION_MAX_AGE])

    @property
    def _leaving(self) -> Reason | None:
        """Why it ends as soon as no turn runs, if it does."""
        return Reason.UPSTREAM_CLOSED if self._spent else self._clock.leaving

    def _turn_waiting_away(self) -> None:
        """Refuse what waits in lanes, where no turn may begin any more."""
        closed = self.conversation.closed_to_turns
        if closed is None or not self._lanes.queued:
            return
        for create in self._lanes.drop_all():
            self._forget(create)
            self._refuse(closed_to(create, self._leaving, closed))

    def _refuse(self, refusal: Mistake) -> None:
        """Answer a request that never begins: behind what runs in its lane, whose end it is not."""
        before = self._asked.get(refusal.stream_id)
        if before is None or len(before.behind) >= QUEUED_MAX:
            self._say(refusal.event())
        else:
            before.behind.append(refusal.event())

    def _forget(self, create: Create) -> None:
        if self._came_at.pop(create, None) is not None:
            self.hold.give(len(create.payload))

    # -- what the client is told

    def _say(self, event: bytes) -> None:
        if not self._note(event):
            self.verdict.end(Reason.CLIENT_STALLED)
        elif self.client.sink.blocked:
            self.reactor.update(self.client)
            self._clock.on_blocked(self.client)

    def _note(self, event: bytes) -> bool:
        """Put an event behind what the client is being sent; ``False`` where it does not read."""
        if not self.client.sink.note(event, trio.current_time()):
            return False
        self.upstream.said[0] += 1
        self.upstream.said[1] += len(event)
        return True

    def _look(self, now: float) -> float:
        """What time brings: an age, a first message that does not come, turns that are silent."""
        self._turn_waiting_away()
        look_at = math.inf
        if not self._heard:
            look_at = self.reporter.timing.started_at + self.deadlines.limits.first_message_s
            if now >= look_at:
                self.verdict.end(Reason.FIRST_MESSAGE_TIMEOUT)
        if not self._asked:
            return look_at
        if self._silence.is_over_long(self.upstream.messages, now):
            for lane, asked in self._asked.items():
                self._say(keepalive_event(lane, asked.shown_response_id))
            self._silence.broken(self.upstream.messages, now)
        return min(look_at, now + self._silence.look_every_s)

    # -- the end

    async def _end(self) -> None:
        assert self.verdict.reason is not None
        self._tell(self.verdict.reason)
        closed = await close_all(self.reactor, self.client, verdict=self.verdict, last_words=b"")
        for create in list(self._came_at):
            self._forget(create)
        with trio.CancelScope(shield=True):  # bounded
            for asked in self._asked.values():
                await asked.wind_up(self.verdict.reason.value)
            await self.reporter.settled(self.verdict.reason.value)
        self.reporter.ended(self.verdict, closed, self._flow, self.upstream)
        self._untie()

    def _tell(self, reason: Reason) -> None:
        """Whoever waits for something hears why nothing comes; for some endings, anybody does."""
        if self.client.ended:
            return
        refuse = self._last_words_of.get(reason)
        waiting = [
            *((lane, one.shown_response_id) for lane, one in self._asked.items() if one.is_owed),
            *((create.stream_id, None) for create in self._lanes.drop_all()),
        ]
        told = reason in self._last_words_of and refuse is None
        behind = [event for asked in self._asked.values() for event in asked.behind]
        for event in (*goodbye(reason, refuse, waiting, told=told), *behind):
            self._note(event)

    def _untie(self) -> None:
        """Leave no circle of references: it would stay until the garbage collector runs."""
        self._asked.clear()
        self.upstream.holders = None
        self.purse.leave = stay
