"""A WebSocket of the event hub, from its 101 to its line.

What the client sends is read at all times and dealt with here, in order; what it is sent goes
through its outbox and the process's one delivery. There is no upstream, and there are no turns.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import attrs
import trio

from relayd.config.providers import Dialect
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason
from relayd.dialect.base import Timed
from relayd.dialect.hub_topics import Selector
from relayd.dialect.meter import Refuse
from relayd.hub.shared import Wire
from relayd.observe.bus import SessionFacts
from relayd.protocol.directions import ClientFlow
from relayd.protocol.outcomes import Taken
from relayd.routing.classify import Failure
from relayd.session.clock import Clock
from relayd.session.closing import close_all
from relayd.session.hub.admission import HubGrant
from relayd.session.hub.centrifuge import CentrifugeTalk
from relayd.session.hub.council import CouncilTalk
from relayd.session.hub.delivery import Outlet
from relayd.session.hub.desk import Entry, HubDesk
from relayd.session.hub.guest import NOBODY, Guest
from relayd.session.hub.identity import Identity
from relayd.session.hub.lifetime import TokenTerms, deadlines_of, still, term_of, token_terms
from relayd.session.hub.manners import CONNECT_S
from relayd.session.hub.patience import Patience, bound_send_buffer
from relayd.session.hub.verdict import HubVerdict
from relayd.session.living import Living
from relayd.session.reporter import Reporter, Timing
from relayd.session.responses.accounting import Totals
from relayd.session.responses.intake import Intake
from relayd.session.verdict import Verdict
from relayd.transport.endpoint import Endpoint

MESSAGE_MAX_BYTES: Final = 65_536
"""Of a client. An event that it publishes may be as long, but for what stands around it."""

_TOO_SLOW: Final = frozenset({Reason.CLIENT_SLOW, Reason.CLIENT_STALLED})


class Talk(Protocol):
    """How one wire is spoken with one client."""

    async def begin(self) -> None:
        """The 101 is out."""

    async def hear(self, text: bytes, now: float) -> None:
        """Deal with one message of the client. Cancelling it leaves the rest of it undone."""

    def look(self, now: float) -> float:
        """Do what time brings; returns when to be called again."""

    def lost(self, selectors: tuple[Selector, ...]) -> None:
        """Tell the client that it follows these no longer, which it may not."""


@attrs.define
class Unbusy:
    """A :class:`~relayd.dialect.base.Timed` without turns."""

    tell_idle: bool = False
    closed_to_turns: Refuse | None = None
    busy = False
    busy_since = None


@attrs.define(eq=False, kw_only=True)
class HubSession(Living):
    """See the module's text.

    Attributes:
        desk: What all clients share.
        granted: What its client may do, and asks for.
        snapshot: The configuration that admitted it.
        entry: The right to be here; given back at the end.
        guest: Its client.
        upstream: What stands for one where sessions are counted: what the client is sent.
    """

    desk: HubDesk
    granted: HubGrant
    snapshot: Snapshot
    entry: Entry
    verdict: Verdict = attrs.field(factory=HubVerdict, init=False)
    conversation: Unbusy = attrs.field(factory=Unbusy, init=False)
    upstream: Outlet = attrs.field(init=False)
    guest: Guest = attrs.field(init=False)
    _flow: ClientFlow = attrs.field(init=False)
    _talk: Talk = attrs.field(init=False)
    _tokens: TokenTerms = attrs.field(init=False)
    _patience: Patience = attrs.field(factory=Patience, init=False)

    def __attrs_post_init__(self) -> None:
        granted, hub = self.granted, self.desk.hub
        identity = granted.identity
        self._tokens = token_terms(self.snapshot.settings.hub)
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
        self.upstream = Outlet(
            delivery=self.desk.delivery,
            endpoint=self.client,
            reactor=self.reactor,
            verdict=self.verdict,
            crashed=self._crashed,
        )
        scope = NOBODY if identity is None else identity.scope
        subscriber = hub.subscriber(scope, granted.wire, self.upstream.wake)
        self.upstream.outbox = subscriber.outbox
        self.guest = Guest(
            desk=self.desk,
            grant=granted.grant,
            entry=self.entry,
            client_id=self.reporter.facts.session_id,
            identity=identity,
            subscriber=subscriber,
            outlet=self.upstream,
            verdict=self.verdict,
            became=self._became,
            look_at=self._clock.look_at,
        )
        self._talk = self._made_talk()

    def _made_talk(self) -> Talk:
        if self.granted.wire is not Wire.CENTRIFUGE:
            assert self.granted.wanted is not None, "who speaks the hub's own wire says it at once"
            return CouncilTalk(guest=self.guest, wanted=self.granted.wanted)
        return CentrifugeTalk(
            guest=self.guest,
            connect_by=self.reporter.timing.started_at + CONNECT_S,
            ping_s=self.snapshot.settings.dialects.hub.keepalive_s,
        )

    @property
    def timed(self) -> Timed:
        """See :class:`~relayd.session.living.Living`."""
        return self.conversation

    def review(self, snapshot: Snapshot) -> None:
        """Go by what ``snapshot`` allows the client: less, more, or nothing any more.

        Who came with a token comes back with it, or with another, where those are verified in
        another way now.
        """
        identity = self.guest.identity
        if identity is None:
            return  # it is asked when it has said who it is
        if identity.key is None:
            if token_terms(snapshot.settings.hub) != self._tokens:
                self.verdict.end(Reason.KEY_EXPIRED)
            return
        newer = still(identity.key, self.client_address, snapshot, self.desk.wall())
        if newer is None or newer.tenant != identity.tenant:
            self.verdict.end(Reason.KEY_REMOVED)
        elif newer != identity:
            self._talk.lost(self.guest.become(newer))

    def leave(self, reason: Reason, *, at: float, refuse: Refuse) -> None:
        """See :class:`~relayd.session.living.Living`. It waits for no client that has stopped."""
        self._patience.lose()
        super().leave(reason, at=at, refuse=refuse)

    def kill(self, reason: Reason = Reason.KILLED) -> None:
        """See :class:`~relayd.session.living.Living`, and :meth:`leave`."""
        self._patience.lose()
        super().kill(reason)

    def _became(self, identity: Identity) -> None:
        """It is known who the client is, or until when it is that."""
        self._tokens = token_terms(self.desk.snapshot.settings.hub)
        reporter, settings = self.reporter, self.snapshot.settings
        reporter.facts = attrs.evolve(reporter.facts, key=identity.name, tenant=identity.tenant)
        term = term_of(
            identity,
            ends_at=reporter.timing.started_at + settings.limits.session_max_s,
            now=trio.current_time(),
            wall=self.desk.wall(),
        )
        self.deadlines = self._clock.deadlines = attrs.evolve(self.deadlines, term=term)
        self._clock.look_at(term.at)

    # -- the client

    async def _relay(self) -> None:
        client, now = self.client, trio.current_time()
        with self.verdict.scope:
            async with trio.open_nursery() as nursery:
                client.flow, client.on_event = self._flow, None
                nursery.start_soon(self._read)
                nursery.start_soon(self._clock.run)
                client.sink.settle(client.sink.standing, now)  # the 101
                self.upstream.begin()

    async def _read(self) -> None:
        """Deal with what the client sends, one message after the other."""
        client = self.client
        await self._talk.begin()
        while True:
            self.reactor.arm(client, trio.current_time())
            event = await client.next_event()
            if not isinstance(event, Taken):
                self._client_ended(event)
                return
            try:
                await self._talk.hear(event.payload, trio.current_time())
            finally:
                self.hold.give(len(event.payload))

    def _look(self, now: float) -> float:
        return self._talk.look(now)

    # -- the end

    async def _end(self) -> None:
        assert self.verdict.reason is not None
        self.upstream.finish(trio.current_time())
        self.desk.hub.remove(self.guest.subscriber)  # and what waits: a client that can, resumes
        try:
            if self.verdict.reason in _TOO_SLOW:
                await self._patience.last(self.reactor, self.client, self.upstream.last_bytes)
        finally:
            await self._say_goodbye(self.verdict.reason)

    async def _say_goodbye(self, reason: Reason) -> None:
        """Bounded, and cancelling it does not shorten it."""
        try:
            closed = await close_all(
                self.reactor, self.client, verdict=self.verdict, last_words=b""
            )
            with trio.CancelScope(shield=True):
                await self.reporter.settled(reason.value)
            self.reporter.ended(self.verdict, closed, self._flow, self.upstream)
        finally:
            self.entry.leave()
            self._untie()

    def _untie(self) -> None:
        """Leave no circle of references: it would stay until the garbage collector runs."""
        self._clock.bill = _never
        self.guest.became = self.guest.look_at = _forget
        self.upstream.crashed = _forget
        del self.upstream.outbox


def _never(_: float) -> float:
    """Nothing is due any more."""
    return math.inf


def _forget(_: object) -> None:
    """Nobody is told any more."""


def make_session(
    desk: HubDesk,
    granted: HubGrant,
    snapshot: Snapshot,
    client: Endpoint,
    entry: Entry,
    *,
    session_id: str,
    accepted_at: float,
    now: float,
) -> HubSession:
    """A session whose 101 is written at ``now``. It does not run yet.

    Args:
        desk: What all clients of the hub share.
        granted: What :func:`~relayd.session.hub.admission.admit` returned.
        snapshot: The configuration that admitted it.
        client: Adopted by the desk's reactor, with the 101 in its sink.
        entry: The session gives it back when it ends; until it runs that is the caller's to do.
        session_id: Its name.
        accepted_at: When the client's connection was accepted, by ``trio.current_time()``.
        now: Likewise.
    """
    bound_send_buffer(client)
    grant, identity, settings = granted.grant, granted.identity, snapshot.settings
    facts = SessionFacts(
        session_id=session_id,
        dialect=Dialect.HUB,
        key=grant.key.name if identity is None else identity.name,
        tenant=grant.key.tenant if identity is None else identity.tenant,
        account="",
        model=None,
    )
    timing = Timing(accepted_at=accepted_at, started_at=now, connect_ms=0.0, first_frame_ms=None)
    reporter = Reporter(
        facts=facts, bus=desk.bus, meter=Totals(), timing=timing, account_failed=_no_account
    )
    limits = settings.limits
    term = term_of(identity, ends_at=now + limits.session_max_s, now=now, wall=desk.wall())
    return HubSession(
        client=client,
        reactor=desk.reactor,
        hold=desk.hold,
        reporter=reporter,
        deadlines=deadlines_of(granted.wire, limits, settings.dialects.hub, term),
        message_max_bytes=min(limits.message_max_bytes, MESSAGE_MAX_BYTES),
        key=grant.key,
        client_address=grant.client_address,
        desk=desk,
        granted=granted,
        snapshot=snapshot,
        entry=entry,
    )


def _no_account(failure: Failure, now: float) -> None:
    """A client of the hub has no upstream that could fail."""
    raise AssertionError("nothing can fail that is not there")
