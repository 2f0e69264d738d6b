"""``GET /api/v1/events``: topics as server-sent events, for browsers and for who has only HTTP.

A stream is a subscriber like a WebSocket, with the same outbox and the same ends; each end is told
in a last event, ``closed``, with the code that a WebSocket would be closed with. The client comes
back by itself and says in ``Last-Event-ID`` how far it came. So that it always knows, a stream says
so from its beginning, and now and then when nothing happens, in an ``id`` without an event.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from typing import Final

import attrs
import msgspec
import trio

from relayd.config.hub import HubSettings
from relayd.config.providers import Dialect
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_codes import CLOSES
from relayd.dialect.hub_envelope import resync_envelope
from relayd.dialect.hub_errors import Mistake
from relayd.dialect.hub_event import Position
from relayd.dialect.hub_sse import encode_resync, encode_retry
from relayd.dialect.hub_topics import Selector
from relayd.dialect.hub_wanted import Wanted, is_one_topic, parse_query
from relayd.hub.hub import Hub
from relayd.hub.index import Subscriber
from relayd.hub.shared import Wire
from relayd.observe.bus import SessionFacts
from relayd.service.entrance import DRAINING
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Sse, SseEvent
from relayd.service.hub.publish import refused
from relayd.session.admission import Grant, Lease, Quota
from relayd.session.hub.admission import refused_topic
from relayd.session.hub.identity import Identity
from relayd.session.hub.lifetime import still, term_of, token_terms
from relayd.session.hub.patience import SEND_BUFFER_BYTES
from relayd.session.terms import Term

CLOSED: Final = "closed"
"""The name of a stream's last event. It has no id: a client resumes behind the one before."""

TAKE_BYTES: Final = 16_384
"""About how much is taken from an outbox at once, and so what a slow client may still be sent
before it is told that it was too slow. One that takes nothing is cut after ``stall_s``."""

POSITION_S: Final = 10.0
"""How often a stream in which nothing happens says how far it is: a client that came back with an
old place might find it forgotten, though none of the events since was for it."""

RETRY_MS: Final = 1000
"""After how long a browser comes back that lost its stream; after an end up to four times that,
so that they do not come all at once."""

_STILL_SENDING: Final = frozenset({None, Reason.DRAIN})


@attrs.define(eq=False, kw_only=True)
class EventStream:
    """One client's stream.

    Attributes:
        stream_id: The id of the request that it answers.
        wire: Whether its ids are places in one topic.
        who: Its client.
        client_address: Where that is.
        wall: Seconds since the epoch.
        began_at: When it did, by ``trio.current_time()``.
        lease: Its place among the sessions; given back when it has ended.
        term: When it ends by itself.
        vouched_by: The settings in force when its client was let in.
        jitter: Of 0 to 1: how long its client is told to stay away.
        subscriber: What it follows, and what waits.
        reason: Why it ends.
    """

    stream_id: str
    hub: Hub
    wire: Wire
    who: Identity
    client_address: str
    wall: Callable[[], float]
    began_at: float
    lease: Lease
    term: Term
    vouched_by: HubSettings
    jitter: Callable[[], float]
    subscriber: Subscriber = attrs.field(init=False)
    reason: Reason | None = attrs.field(default=None, init=False)
    _topics: tuple[Selector, ...] = attrs.field(default=(), init=False)
    _woken: trio.Event = attrs.field(factory=trio.Event, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        """Known to the hub, and following nothing."""
        self.subscriber = self.hub.subscriber(self.who.scope, self.wire, self._wake)

    @property
    def facts(self) -> SessionFacts:
        """Who and where, as those of a session."""
        return SessionFacts(
            session_id=self.stream_id,
            dialect=Dialect.HUB,
            key=self.who.name,
            tenant=self.who.tenant,
            account="",
            model=None,
        )

    @property
    def messages(self) -> int:
        """How many it has sent, what it began with among them."""
        return self.subscriber.outbox.delivered

    def follow(self, wanted: Wanted) -> None:
        """Follow what the client asked for: what it missed is the first that it is sent."""
        self._topics, now = wanted.topics, trio.current_time()
        done = self.hub.subscribe(self.subscriber, wanted, now)
        opening = encode_retry(RETRY_MS)
        if done.recovered is None:
            opening += self._place(done.seq)
        elif not done.recovered:
            body = resync_envelope(
                epoch=done.epoch,
                seq=done.seq,
                now=self.wall(),
                tenant=self.who.tenant,
                topics=[selector.text for selector in done.lost],
            )
            opening += encode_resync(body, epoch=done.epoch, seq=done.seq)
        self.subscriber.outbox.replay((opening, *done.publications), now)

    async def watch(self) -> None:
        """Run beside the response: end it in time, and clean up behind it.

        What it holds is given back when this is cancelled, which is when the response has ended.
        """
        try:
            with trio.move_on_at(self.term.at):
                await self._ended.wait()
            self.end(self.term.reason)
            self.hub.unsubscribe(self.subscriber, self._topics)  # what waits is kept
            await trio.sleep_forever()
        finally:
            self.hub.remove(self.subscriber)
            self.lease.release()

    async def events(self) -> AsyncGenerator[bytes]:
        """Whole events as they come, some at once; the last one says why there are no more.

        Cancelling it loses what was taken from the outbox; the client resumes.
        """
        outbox = self.subscriber.outbox
        while self.reason in _STILL_SENDING:
            taken = outbox.take(TAKE_BYTES, trio.current_time())
            if taken:
                yield b"".join(taken)
                continue
            if self.reason is not None:
                break
            self._woken = trio.Event()
            with trio.move_on_after(POSITION_S) as silent:
                await self._woken.wait()
            if silent.cancelled_caught and not outbox:
                # All that was published by now has been sent, or was not for this client.
                yield b": nothing new\n" + self._place(self.hub.place())
        yield self._last_words(self.reason)

    def end(self, reason: Reason) -> None:
        """End with ``reason``; a later one changes nothing. Short, and calls nobody.

        What waits still goes out where relayd goes away, since nothing will be left to resume. Any
        other client gets it when it comes back, if it still may.
        """
        if self.reason is None:
            self.reason = reason
            self._ended.set()
            self._woken.set()

    def review(self, snapshot: Snapshot) -> None:
        """End where ``snapshot`` allows the client something else, or nothing, any more."""
        key = self.who.key
        if key is None:
            if token_terms(snapshot.settings.hub) != token_terms(self.vouched_by):
                self.end(Reason.KEY_EXPIRED)  # it comes back, and its token is looked at
            return
        now = still(key, self.client_address, snapshot, self.wall())
        if now is None or now.tenant != self.who.tenant:
            self.end(Reason.KEY_REMOVED)
        elif (now.scope, now.expires_at) != (self.who.scope, self.who.expires_at):
            self.end(Reason.SESSION_MAX_AGE)  # it comes back as what it is now

    def _wake(self) -> None:
        """Something waits, or too much. Called while the hub publishes."""
        if self.subscriber.outbox.overflowed:
            self.end(Reason.CLIENT_SLOW)
        self._woken.set()

    def _place(self, seq: int) -> bytes:
        """An ``id`` without an event: it is remembered, and nobody is told."""
        return b"id: %b\n\n" % str(Position(self.hub.epoch, seq, overall=True)).encode()

    def _last_words(self, reason: Reason | None) -> bytes:
        assert reason is not None, "the stream has not ended"
        close = CLOSES[reason]
        said = {"code": close.code, "reason": close.text, "reconnect": close.comes_back}
        retry_ms = round(RETRY_MS * (1 + 3 * self.jitter()))
        return SseEvent(msgspec.json.encode(said), event=CLOSED, retry=retry_ms).encode()


@attrs.define(eq=False, kw_only=True)
class EventStreams:
    """Opens streams, and ends them.

    Attributes:
        hub: Where the events come from.
        quota: What limits the sessions of a key, and of the process; a stream counts as one.
        snapshot: The configuration in force.
        wall: Seconds since the epoch.
        jitter: Random, of 0 to 1.
        running: Streams that are open, or saying goodbye, by their ids and in the order in which
            they began.
    """

    hub: Hub
    quota: Quota
    snapshot: Callable[[], Snapshot]
    wall: Callable[[], float]
    jitter: Callable[[], float] = random.random
    _draining: bool = attrs.field(default=False, init=False)
    running: dict[str, EventStream] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        """How many run."""
        return len(self.running)

    async def open(self, request: Request, who: Identity) -> Sse:
        """Follow what the query asks for, from ``Last-Event-ID`` on.

        Raises:
            HttpRefused: 400 for the query, 403 for a topic that the client may not follow, 429 and
                503 where it has as many sessions as it may, or relayd has, or drains.
        """
        head, snapshot = request.head, self.snapshot()
        wanted = parse_query(head.query.raw, last_event_id=head.get("last-event-id"))
        if isinstance(wanted, Mistake):
            raise refused(wanted)
        if refused_topic(who.scope, wanted.topics) is not None:
            message = "The query names a topic that this client may not follow."
            raise HttpRefused(Refusal(RefusalCode.TOPIC_NOT_ALLOWED, message, "topics"))
        if self._draining:
            raise HttpRefused(DRAINING)
        now, wall = trio.current_time(), self.wall()
        lease = await self.quota.take(
            Grant(
                key=who.limited_as,
                dialect=Dialect.HUB,
                client_address=request.client_address,
                granted_at=now,
                wall_granted_at=wall,
            )
        )
        if isinstance(lease, Refusal):
            raise HttpRefused(lease)
        ends_at = now + snapshot.settings.limits.session_max_s
        stream = EventStream(
            stream_id=request.request_id,
            hub=self.hub,
            wire=Wire.SSE if is_one_topic(wanted.topics) else Wire.SSE_OVERALL,
            who=who,
            client_address=request.client_address,
            wall=self.wall,
            began_at=trio.current_time(),
            lease=lease,
            term=term_of(who, ends_at=ends_at, now=now, wall=wall),
            vouched_by=snapshot.settings.hub,
            jitter=self.jitter,
        )
        self.running[stream.stream_id] = stream
        request.start_soon(lambda: self._watched(stream))
        stream.follow(wanted)
        # While the quota was asked, both may have changed.
        stream.review(self.snapshot())
        if self._draining:
            stream.end(Reason.DRAIN)
        return Sse(stream.events(), send_buffer_bytes=SEND_BUFFER_BYTES)

    def drain(self) -> None:
        """End all, and open none any more: their clients come back, to whoever takes over."""
        self._draining = True
        for stream in tuple(self.running.values()):
            stream.end(Reason.DRAIN)

    def review(self, snapshot: Snapshot) -> None:
        """End those whom ``snapshot`` allows something else, or nothing, any more."""
        for stream in tuple(self.running.values()):
            stream.review(snapshot)

    async def _watched(self, stream: EventStream) -> None:
        try:
            await stream.watch()
        finally:
            del self.running[stream.stream_id]
