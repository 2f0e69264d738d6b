"""One session: a client and an upstream, joined until one of them, or relayd, ends it.

A session is a nursery with a client reader, an upstream reader and a clock. Bytes do not pass
through these tasks: the reactor moves them, and wakes a reader only for what needs a decision.
The end is a value (:class:`~relayd.session.verdict.Verdict`), the first one wins, and one line in
the log says it.
"""

from __future__ import annotations

import attrs
import trio

from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason, Side
from relayd.dialect.base import Conversation, Timed
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
from relayd.session.closing import CLOSE_TEXTS, close_all
from relayd.session.living import Living
from relayd.session.terms import (
    ACCOUNT_REMOVED,
    KEY_REMOVED,
    account_removed,
    removed,
)
from relayd.transport.endpoint import Endpoint


@attrs.define(eq=False, kw_only=True)
class Session(Living):
    """See the module's text.

    Attributes:
        upstream: The dialled connection, adopted and holding what came behind its handshake;
            closed when :meth:`run` returns.
    """

    upstream: Endpoint
    conversation: Conversation
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

    @property
    def timed(self) -> Timed:
        """See :class:`Living`."""
        return self.conversation

    def review(self, snapshot: Snapshot) -> None:
        """End, after the running response, if ``snapshot`` lacks the key or the account."""
        if removed(self.key, snapshot):
            self.run_out(Reason.KEY_REMOVED, KEY_REMOVED)
        elif account_removed(self.reporter.facts.account, snapshot):
            at = trio.current_time() + LAST_RESPONSE_S
            self.leave(Reason.ACCOUNT_REMOVED, at=at, refuse=ACCOUNT_REMOVED)

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

    async def _end(self) -> None:
        assert self.verdict.reason is not None
        self.conversation.cut_short(self.verdict.reason, trio.current_time())
        closed = await close_all(
            self.reactor,
            self.client,
            self.upstream,
            verdict=self.verdict,
            last_words=self._last_words(),
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
        if reason is None or ending.error_type is None:
            return b""
        message = self.verdict.message or CLOSE_TEXTS.get(reason, reason.value)
        return self.conversation.error_event(ending.error_type, reason.value, message)


def _look_away(now: float) -> None:
    """No clock runs any more."""
