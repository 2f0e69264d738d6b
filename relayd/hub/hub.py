"""The event hub: publish, follow, resume. One object for the process, without I/O or a clock.

Everything here is done in one step, without a pause, so that following and replay have neither a
gap nor anything twice between them. What it costs to publish grows with those who follow the topic,
not with those who are connected.

``now`` is a clock that only goes forward, in seconds; ``wall`` is seconds since the epoch of Unix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import attrs

from relayd.dialect.hub_event import Position, Publication
from relayd.dialect.hub_publish import Draft
from relayd.dialect.hub_topics import Scope, Selector
from relayd.dialect.hub_wanted import Wanted
from relayd.hub.answers import Past, Subscribed, Totals
from relayd.hub.bounds import Bounds
from relayd.hub.history import History
from relayd.hub.index import Followers, Following, Index, Subscriber
from relayd.hub.outbox import Outbox, Tally
from relayd.hub.patterns import patterns_of
from relayd.hub.replay import Archive, Resumed, Room, merge
from relayd.hub.shared import Shared, Warm, Wire

Topic: TypeAlias = tuple[str, str]
"""Tenant and name."""


class Hub:
    """See the module's text.

    Attributes:
        epoch: 16 hex digits, random at the start of the process.
        seq: The number of the latest event.
        subscribers: Those that follow something.
        tally: What outboxes did.
        looks: How often anybody was told how far the hub or a topic has come.
    """

    def __init__(self, epoch: str, bounds: Bounds) -> None:
        self.epoch = epoch
        self.seq = 0
        self.subscribers: dict[Subscriber, None] = {}
        self.tally = Tally()
        self.looks = 0
        self._index: Index = Index()
        self._history = History(bounds, self._index.is_named)
        self._warm = Warm(bounds.encoded_bytes_max)
        self._mark = 0
        self._published = 0
        self._recovered = 0
        self._lost = 0

    # -- publishing

    def publish(self, tenant: str, draft: Draft, *, now: float, wall: float) -> Publication:
        """Publish an event to the topic that it names, of this tenant.

        Nothing is checked: who may publish there, and that the draft is as its class says, is the
        caller's. It never waits, and never fails for a slow client.
        """
        self.looks += 1
        (publication,) = self._publish(((tenant, draft.topic),), draft, now, wall)
        return publication

    def publish_to(
        self,
        topics: Sequence[Topic],
        *,
        event: str,
        data: bytes,
        session_id: str | None = None,
        droppable: bool = False,
        now: float,
        wall: float,
    ) -> tuple[Publication, ...]:
        """Publish one event of relayd's own to topics, at least one and none twice.

        It has one ``seq``. A client of several of them gets it once, in the first that it follows;
        one of the Centrifuge protocol gets it once for each.

        Args:
            topics: In the order of preference.
            data: A JSON value on one line.
            droppable: Whether a slow client may be spared it.
        """
        draft = Draft(
            topic=topics[0][1], event=event, data=data, session_id=session_id, droppable=droppable
        )
        return self._publish(topics, draft, now, wall)

    def _publish(
        self, topics: Sequence[Topic], draft: Draft, now: float, wall: float
    ) -> tuple[Publication, ...]:
        self.seq += 1
        self._published += 1
        self._mark += 1
        once = self._mark
        siblings = tuple(topics) if len(topics) > 1 else ()
        made: list[Publication] = []
        for tenant, name in topics:
            topic = self._history.obtain(tenant, name)
            publication = Publication(
                tenant=tenant,
                topic=name,
                epoch=self.epoch,
                offset=topic.ring.last + 1,
                seq=self.seq,
                ts=wall,
                event=draft.event,
                data=draft.data,
                session_id=draft.session_id,
                node_id=draft.node_id,
                droppable=draft.droppable,
                stream=draft.stream,
            )
            made.append(publication)
            shared = Shared(publication=publication, at=now, siblings=siblings)
            self._warm.keep(shared)
            self._history.remember(topic, shared, now)
            self._offer(self._index.matching(topic), shared, once)
            self._mark += 1
        return tuple(made)

    def _offer(self, groups: Sequence[Followers], shared: Shared, once: int) -> None:
        """Put it into the outboxes of those who have not had the event.

        Args:
            once: Stands for the event, as the hub's mark now does for the event in this topic.
        """
        event = shared.publication.event
        for group in groups:
            if group.filter is not None and not group.filter.passes(event):
                continue
            mark = self._mark if group.by_topic else once
            for subscriber in group.members:
                if subscriber.mark != mark:
                    subscriber.mark = mark
                    subscriber.outbox.offer(shared)

    def skip(self, topics: Sequence[Topic]) -> None:
        """Something happened there that nobody is told.

        What was before can be resumed from no more: who does is told to load anew.
        """
        self.seq += 1
        for tenant, name in topics:
            self._history.skip(tenant, name, self.seq)

    # -- following

    def subscriber(self, scope: Scope, wire: Wire, on_dirty: Callable[[], None]) -> Subscriber:
        """A client that follows nothing yet; see :class:`~relayd.hub.outbox.Outbox`."""
        outbox = Outbox(wire, self._history.bounds, on_dirty, self.tally)
        return Subscriber(outbox=outbox, scope=scope)

    def subscribe(self, subscriber: Subscriber, wanted: Wanted, now: float) -> Subscribed:
        """Follow more: what is published from now on is offered to the client's outbox.

        A prefix follows topics that appear later, too. What the scope does not show is never
        offered. A selector that is followed already takes the new filter, and what the client has
        had by it is not returned again.
        """
        archive = self._archive(now)
        room = Room(*subscriber.outbox.replay_room, self._history.bounds.replay_topics_max)
        had = tuple(subscriber.followed.values())
        resumed: list[tuple[Following, Resumed]] = []
        lost: list[Selector] = []
        followings = [
            Following(
                selector=selector,
                patterns=patterns_of(subscriber.scope, selector),
                filter=wanted.filter,
                since_seq=self.seq,
            )
            for selector in wanted.topics
        ]
        for following in followings:
            since = wanted.since_for(following.selector)
            if since is not None:
                found = archive.resume(following, since, room)
                if found is None:
                    lost.append(following.selector)
                else:
                    behind = attrs.evolve(following, since_seq=found.since_seq)
                    resumed.append((behind, found))
        if lost:
            resumed.clear()  # it loads all of it anew, and goes on from now
        recovered = not lost if lost or resumed else None
        resumed_by = {following.selector: following for following, _ in resumed}
        for following in followings:
            self._follow(subscriber, resumed_by.get(following.selector, following))
        self._recovered += recovered is True
        self._lost += recovered is False
        return Subscribed(
            epoch=self.epoch,
            seq=self.seq,
            recovered=recovered,
            lost=tuple(lost),
            positions={
                each.selector.text: self.position(each.patterns[0].tenant, each.patterns[0].stem)
                for each in followings
                if each.patterns and not each.selector.is_prefix
            },
            publications=tuple(merge(resumed, had, by_topic=subscriber.outbox.wire.by_topic)),
        )

    def unsubscribe(self, subscriber: Subscriber, selectors: Iterable[Selector]) -> None:
        """Follow these no longer; what waits in the outbox still goes out."""
        for selector in selectors:
            following = subscriber.followed.pop(selector.text, None)
            if following is not None:
                self._index.leave(subscriber, following)
                self._named(following)
        if not subscriber.followed:
            self.subscribers.pop(subscriber, None)

    def narrow(self, subscriber: Subscriber, scope: Scope) -> None:
        """Take another scope, of a newer token: what it does not show is followed no longer."""
        subscriber.scope = scope
        for following in tuple(subscriber.followed.values()):
            patterns = patterns_of(scope, following.selector)
            if patterns != following.patterns:
                changed = attrs.evolve(following, patterns=patterns, since_seq=self.seq)
                self._follow(subscriber, changed)

    def remove(self, subscriber: Subscriber) -> None:
        """The client is gone. May be called twice."""
        self.unsubscribe(subscriber, [each.selector for each in subscriber.followed.values()])
        subscriber.outbox.clear()

    def _archive(self, now: float) -> Archive:
        self.looks += 1
        return Archive(history=self._history, epoch=self.epoch, seq=self.seq, now=now)

    def _follow(self, subscriber: Subscriber, following: Following) -> None:
        """In place of what the client followed by the same selector."""
        text = following.selector.text
        before = subscriber.followed.get(text)
        self._index.join(subscriber, following)
        if before is not None:
            self._index.leave(subscriber, before)
            self._named(before)
            if (before.filter, before.patterns) == (following.filter, following.patterns):
                since_seq = min(before.since_seq, following.since_seq)
                following = attrs.evolve(following, since_seq=since_seq)
        subscriber.followed[text] = following
        self.subscribers[subscriber] = None
        self._named(following)

    def _named(self, following: Following) -> None:
        for pattern in following.patterns:
            if not pattern.is_prefix:
                self._history.renamed(pattern.tenant, pattern.stem)

    # -- asking

    @property
    def listeners(self) -> int:
        """How many clients there are that follow anything."""
        return len(self.subscribers)

    def follows(self, tenant: str, topic: str) -> bool:
        """Whether anybody follows this topic, by its name or a prefix."""
        return self._index.is_followed(tenant, topic)

    def num_clients(self, tenant: str | None, topic: str) -> int:
        """How many follow this topic; ``tenant`` as :meth:`Scope.owner
        <relayd.dialect.hub_topics.Scope.owner>` says it."""
        if tenant is None:
            known = self._history.of_name(None, topic)
            tenant = known[0].tenant if known else ""
        return self._index.clients(tenant, topic)

    def place(self) -> int:
        """The number of the latest event, for somebody who may go on from there."""
        self.looks += 1
        return self.seq

    def position(self, tenant: str | None, topic: str) -> Position:
        """Where a topic stands, whether it is known or not."""
        self.looks += 1
        return Position(self.epoch, self._history.last(tenant, topic), overall=False)

    def history(
        self,
        tenant: str | None,
        topic: str,
        *,
        limit: int | None = None,
        since: Position | None = None,
        reverse: bool = False,
        now: float,
    ) -> Past:
        """What a topic remembers.

        Args:
            limit: At most so many; ``None`` for all there are.
            since: Only what is behind it, or with ``reverse`` in front of it.
            reverse: The newest first.
        """
        return self._archive(now).past(tenant, topic, limit=limit, since=since, reverse=reverse)

    def totals(self) -> Totals:
        """The hub in numbers."""
        history, tally = self._history, self.tally
        return Totals(
            topics=history.topics,
            subscribers=len(self.subscribers),
            streams=sum(each.outbox.wire.is_sse for each in self.subscribers),
            followings=sum(len(each.followed) for each in self.subscribers),
            queued_bytes=sum(each.outbox.size for each in self.subscribers),
            remembered=history.messages,
            remembered_bytes=history.size,
            published=self._published,
            delivered=tally.delivered,
            coalesced=tally.coalesced,
            dropped=tally.dropped,
            overflowed=tally.overflowed,
            recovered=self._recovered,
            lost=self._lost,
            forgotten=history.forgotten,
            waits=tally.waits.so_far(),
        )

    @property
    def bounds(self) -> Bounds:
        """What it keeps to. Other ones count from the next publication and client on."""
        return self._history.bounds

    @bounds.setter
    def bounds(self, bounds: Bounds) -> None:
        self._history.bounds = bounds
        self._warm.bytes_max = bounds.encoded_bytes_max
