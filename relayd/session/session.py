"""One session: a client and an upstream, joined until one of them, or relayd, ends it.

A session is a nursery with a client reader, an upstream reader and a clock. Bytes do not pass
through these tasks: the reactor moves them, and wakes a reader only for what needs a decision.
The end is a value (:class:`~relayd.session.verdict.Verdict`), the first one wins, and one line in
the log says it.
"""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Key, Snapshot
from relayd.core.endings import Fault, Reason, Side
from relayd.core.hold import HoldBudget
from relayd.dialect.base import Conversation
from relayd.dialect.meter import Refuse
from relayd.protocol.directions import ClientFlow, UpstreamFlow
from relayd.protocol.outcomes import (
    Crash,
    Decision,
    EndOfStream,
    Event,
    Notice,
    PeerClosed,
    Violation,
    Waiting,
)
from relayd.session.clock import LAST_RESPONSE_S, Clock
from relayd.session.closing import CLOSE_TEXTS, close_both
from relayd.session.reporter import Reporter
from relayd.session.terms import (
    ACCOUNT_REMOVED,
    KEY_REMOVED,
    Deadlines,
    account_removed,
    removed,
)
from relayd.session.verdict import Verdict
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor


@attrs.define(eq=False, kw_only=True)
class Session:
    """See the module's text.

    Attributes:
        client: The accepted connection, adopted by the reactor; closed when :meth:`run` returns.
        upstream: The dialled connection, adopted and holding what came behind its handshake;
            closed likewise.
        message_max_bytes: Of either side.
        key: Whose session it is.
        client_address: Where its client is.
        deadlines: What its clock goes by.
    """

    client: Endpoint
    upstream: Endpoint
    reactor: Reactor
    hold: HoldBudget
    conversation: Conversation
    reporter: Reporter
    deadlines: Deadlines
    message_max_bytes: int
    key: Key
    client_address: str = ""
    verdict: Verdict = attrs.field(factory=Verdict, init=False)
    _clock: Clock = attrs.field(init=False)
    _last_words_of: dict[Reason, Refuse | None] = attrs.field(factory=dict, init=False)
    _flows: tuple[ClientFlow, UpstreamFlow] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._clock = Clock.of(
            self.reactor,
            self.client,
            self.upstream,
            self.verdict,
            self.conversation,
            self.deadlines,
            self.reporter.meter.look,
        )
        self.reporter.look_in = self._clock.turn_began
        size, hold, dialect = self.message_max_bytes, self.hold, self.conversation
        down = UpstreamFlow(message_max_bytes=size, hold=hold, reader=dialect.upstream_reader)
        if dialect.upstream_reader is not None:
            dialect.upstream_reader.counts = down
        up = ClientFlow(message_max_bytes=size, hold=hold, reader=dialect.client_reader)
        self._flows = (up, down)

    async def run(self) -> None:
        """Relay until the end, then say goodbye, close both connections and write the line.

        Nothing a peer does raises from here. Cancelling it from outside ends the session as
        ``drain``, within :data:`~relayd.session.closing.CLOSE_GRACE_S`.
        """
        self.reporter.opened()
        try:
            await self._relay()
        except Exception as error:  # noqa: BLE001 - a session task's one boundary: a bug here ends one session
            self._crashed(error)
        finally:
            # Only where nothing else has ended it: it was cancelled from outside.
            self.verdict.end(Reason.DRAIN)
            await self._end()

    def leave(self, reason: Reason, *, at: float, refuse: Refuse) -> None:
        """End with ``reason``: at once, or when the running response has ended.

        Args:
            reason: Such as ``drain``.
            at: The latest moment.
            refuse: What a client hears that asks for another response meanwhile.
        """
        if not self.conversation.busy:
            self.verdict.end(reason)
            return
        self.conversation.closed_to_turns = refuse
        self.conversation.tell_idle = True
        self._clock.leave(reason, at)

    def run_out(self, reason: Reason, refuse: Refuse, *, told: bool = False) -> None:
        """What the session lives on is used up: end it after the running response.

        Args:
            reason: Such as ``budget_exhausted``.
            refuse: What the client is told about it.
            told: Whether it has been told already.
        """
        self._last_words_of[reason] = None if told else refuse
        self.leave(reason, at=trio.current_time() + LAST_RESPONSE_S, refuse=refuse)

    def review(self, snapshot: Snapshot) -> None:
        """End, after the running response, if ``snapshot`` lacks the key or the account."""
        if removed(self.key, snapshot):
            self.run_out(Reason.KEY_REMOVED, KEY_REMOVED)
        elif account_removed(self.reporter.facts.account, snapshot):
            at = trio.current_time() + LAST_RESPONSE_S
            self.leave(Reason.ACCOUNT_REMOVED, at=at, refuse=ACCOUNT_REMOVED)

    @property
    def leaving(self) -> Reason | None:
        """Why it is ending, or ends as soon as no response runs."""
        return self.verdict.reason or self._clock.leaving

    def kill(self, reason: Reason = Reason.KILLED) -> None:
        """End at once."""
        self.verdict.end(reason)

    async def _relay(self) -> None:
        with self.verdict.scope:
            async with trio.open_nursery() as nursery:
                now = trio.current_time()
                pairs = ((self.client, self.upstream), (self.upstream, self.client))
                for (endpoint, peer), flow in zip(pairs, self._flows, strict=True):
                    endpoint.flow, endpoint.peer, endpoint.on_event = flow, peer, None
                nursery.start_soon(self._read, self.client)
                nursery.start_soon(self._read, self.upstream)
                nursery.start_soon(self._clock.run)
                self.reactor.arm(self.upstream, now)
                # The 101 has gone out with what the upstream said first; if it said nothing, now.
                self.client.sink.settle(self.client.sink.standing, now)
                self.reactor.arm(self.client, now)

    async def _read(self, endpoint: Endpoint) -> None:
        """Deal with what one direction cannot decide in the pass."""
        while True:
            event = await endpoint.next_event()
            match event:
                case Waiting(decision):
                    lost = await self._decide(endpoint, decision)
                    if lost is not None:
                        self._ended(endpoint, lost)
                        return
                case Notice():
                    if self._clock.leaving is not None:
                        self.verdict.end(self._clock.leaving)
                    self.reactor.arm(endpoint, trio.current_time())
                case _:
                    self._ended(endpoint, event)
                    return

    async def _decide(self, endpoint: Endpoint, decision: Decision) -> Event | None:
        """Wait for ``decision`` and act on it, unless the peer is lost first: then how."""
        lost: list[Event] = []
        with trio.CancelScope() as scope:

            def on_event(event: Event) -> None:
                lost.append(event)
                scope.cancel(reason="the peer is lost")

            endpoint.on_event = on_event
            try:
                action = await decision.wait()
            finally:
                endpoint.on_event = None
        if lost:
            return lost[0]
        self.reactor.resume(endpoint, action, trio.current_time())
        return None

    def _ended(self, endpoint: Endpoint, event: Event) -> None:
        """Turn the last event of a direction into the verdict."""
        client = endpoint.side is Side.CLIENT
        match event:
            case PeerClosed(code, text):
                reason = Reason.CLIENT_CLOSED if client else Reason.UPSTREAM_CLOSED
                self.verdict.end(reason, code=code, text=text)
            case EndOfStream(mid_frame):
                lost = Reason.UPSTREAM_LOST_MID_FRAME if mid_frame else Reason.UPSTREAM_LOST
                self.verdict.end(Reason.CLIENT_GONE if client else lost)
            case Violation(reason, message):
                self.verdict.end(reason, sender=endpoint.side, message=message)
            case Crash(error):
                self._crashed(error)

    def _crashed(self, error: BaseException) -> None:
        self.reporter.crashed(error)
        self.verdict.end(Reason.INTERNAL_ERROR)

    async def _end(self) -> None:
        assert self.verdict.reason is not None
        self.conversation.cut_short(self.verdict.reason, trio.current_time())
        closed = await close_both(
            self.reactor, self.client, self.upstream, self.verdict, last_words=self._last_words()
        )
        with trio.CancelScope(shield=True):  # bounded
            await self.reporter.settled(self.verdict.reason.value)
        self.reporter.ended(self.verdict, closed, *self._flows)
        self._untie()

    def _untie(self) -> None:
        """Leave no circle of references: it would stay until the garbage collector runs."""
        self.reporter.look_in = _look_away  # the clock's, which has the conversation and so on
        _, down = self._flows
        if down.reader is not None:
            down.reader = None  # it counts by this flow

    def _last_words(self) -> bytes:
        """The error event that goes before the client's Close, where the ending has one."""
        reason, ending = self.verdict.reason, self.verdict.ending
        if reason in self._last_words_of:
            word = self._last_words_of[reason]
            if word is None:  # the client has been told
                return b""
            return self.conversation.error_event(word.kind, word.code, word.message)
        if reason is None or not ending.error_event:
            return b""
        kind = "server_error" if ending.fault is Fault.UPSTREAM else "policy_error"
        message = self.verdict.message or CLOSE_TEXTS.get(reason, reason.value)
        return self.conversation.error_event(kind, reason.value, message)


def _look_away(now: float) -> None:
    """No clock runs any more."""
