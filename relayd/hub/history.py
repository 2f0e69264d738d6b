"""What is remembered of all topics, and within which bounds.

Each topic has a ring. Where all rings together hold too much, a tenant that holds much of it lets
go: its topics that were silent for longest let go of everything, first among those that nobody
follows by name. A topic whose ring is empty is still known: its numbers go on. Where too many
topics are known, a tenant that has many of them forgets the one that was silent for longest, and
of all that are forgotten a few numbers remain (:mod:`relayd.hub.marks`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeAlias

import attrs

from relayd.dialect.hub_topics import OWN_SESSION_PREFIX
from relayd.hub.bounds import Bounds
from relayd.hub.index import Followers
from relayd.hub.marks import Marks
from relayd.hub.ring import Ring
from relayd.hub.shared import Shared
from relayd.hub.shares import Shares


class Topic:
    """One topic.

    Attributes:
        ring: What it remembers.
        begun: See :class:`~relayd.hub.index.Matched`.
        begun_in: Likewise.
        shelf: Where it stands among those that may be told to forget.
    """

    __slots__ = ("begun", "begun_in", "name", "ring", "shelf", "tenant")

    def __init__(self, tenant: str, name: str, ring: Ring, shelf: Shelf) -> None:
        self.tenant = tenant
        self.name = name
        self.ring = ring
        self.begun: tuple[Followers, ...] = ()
        self.begun_in = 0
        self.shelf = shelf
        shelf[self] = None


Shelf: TypeAlias = OrderedDict[Topic, None]
"""Topics, those that were silent for longest at first."""


@attrs.define(eq=False)
class _Tenant:
    """One tenant's topics.

    Attributes:
        topics: By name, in the order in which something last happened there.
        bare: Those with nothing in their rings.
        full: Those with something.
        named: Of these, the ones that somebody follows by name.
    """

    topics: OrderedDict[str, Topic] = attrs.field(factory=OrderedDict)
    bare: Shelf = attrs.field(factory=OrderedDict)
    full: Shelf = attrs.field(factory=OrderedDict)
    named: Shelf = attrs.field(factory=OrderedDict)


class History:
    """See the module's text.

    Args:
        bounds: What is remembered.
        is_named: Whether somebody follows a topic by its name.

    Attributes:
        bounds: May be replaced; counts from the next publication on.
        topics: How many are known.
        messages: Publications in all rings.
        size: Their bytes.
        forgotten: Topics that were forgotten, so far.
        marks: How far those came.
    """

    def __init__(self, bounds: Bounds, is_named: Callable[[str, str], bool]) -> None:
        self.bounds = bounds
        self.topics = 0
        self.messages = 0
        self.size = 0
        self.forgotten = 0
        self.marks = Marks()
        self._is_named = is_named
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()  # the next to expire at first
        self._counts = Shares()
        self._sizes = Shares()

    # -- topics

    def get(self, tenant: str, name: str) -> Topic | None:
        """The topic, where it is known."""
        known = self._tenants.get(tenant)
        return None if known is None else known.topics.get(name)

    def obtain(self, tenant: str, name: str) -> Topic:
        """The topic, made where it is not known; something is about to happen there."""
        known = self._tenants.get(tenant)
        if known is not None and (topic := known.topics.get(name)) is not None:
            known.topics.move_to_end(name)
            return topic
        while self.topics >= self.bounds.topics_max:
            self._forget(self._counts.most(preferred=tenant))
        ring = Ring(self.marks.offset(tenant, name))
        ring.lost_seq = self.marks.seq(tenant, name)
        known = self._tenants.setdefault(tenant, _Tenant())  # forgetting may have removed it
        topic = known.topics[name] = Topic(tenant, name, ring, known.bare)
        self.topics += 1
        self._counts.add(tenant, 1)
        return topic

    def of_name(self, tenant: str | None, name: str) -> list[Topic]:
        """The known topics of this name: of a tenant, or of all for ``None``."""
        tenants = self._tenants if tenant is None else (tenant,)
        found = (self.get(each, name) for each in tenants)
        return [topic for topic in found if topic is not None]

    def last(self, tenant: str | None, name: str) -> int:
        """Where a topic stands, known or not: the offset of the newest publication there was."""
        topics = self.of_name(tenant, name)
        return topics[0].ring.last if topics else self.marks.offset(tenant, name)

    def latest(self, tenant: str | None) -> Iterator[Iterator[Topic]]:
        """For one tenant, or for each, its topics: first where something happened last."""
        for each in self._tenants if tenant is None else (tenant,):
            if each in self._tenants:
                yield reversed(self._tenants[each].topics.values())

    # -- remembering

    def remember(self, topic: Topic, shared: Shared, now: float) -> None:
        """Add the next publication of a topic that was just :meth:`obtained <obtain>`."""
        ring = topic.ring
        ring.append(shared)
        self._grow(topic, 1, shared.size)
        self._trim(topic, now)
        if len(ring):
            topic.shelf.move_to_end(topic)
        self._expire(topic.tenant, now)
        while self.size > self.bounds.rings_bytes_max:
            holder = self._tenants[self._sizes.most(preferred=topic.tenant)]
            self._clear(next(iter(holder.full or holder.named)))

    def refresh(self, topic: Topic, now: float) -> Ring:
        """Its ring, without what is too old."""
        self._trim(topic, now)
        return topic.ring

    def skip(self, tenant: str, name: str, seq: int) -> None:
        """Something happened there that is not remembered; see :meth:`Ring.skip
        <relayd.hub.ring.Ring.skip>`."""
        if name.startswith(OWN_SESSION_PREFIX) and self.get(tenant, name) is None:
            # There are many of these and nobody knows of this one: nothing is kept for it alone.
            self.marks.skip(tenant, seq)
            return
        topic = self.obtain(tenant, name)
        self._clear(topic)
        topic.ring.skip(seq)
        topic.shelf.move_to_end(topic)

    def renamed(self, tenant: str | None, name: str) -> None:
        """Somebody began, or nobody continues, to follow topics by this name."""
        for topic in self.of_name(tenant, name):
            self._shelve(topic)

    # -- letting go

    def _trim(self, topic: Topic, now: float) -> None:
        ring, bounds = topic.ring, self.bounds
        count, size = len(ring), ring.size
        ring.trim(
            messages_max=bounds.ring_messages_max,
            bytes_max=bounds.ring_bytes_max,
            since=now - bounds.ring_age_s,
        )
        if len(ring) != count:
            self._grow(topic, len(ring) - count, ring.size - size)
        if not len(ring) or topic.shelf is self._tenants[topic.tenant].bare:
            self._shelve(topic)

    def _clear(self, topic: Topic) -> None:
        self._grow(topic, -len(topic.ring), -topic.ring.size)
        topic.ring.clear()
        self._shelve(topic)

    def _grow(self, topic: Topic, messages: int, size: int) -> None:
        self.messages += messages
        self.size += size
        self._sizes.add(topic.tenant, size)

    def _expire(self, tenant: str, now: float) -> None:
        """Topics let go of what is too old, up to four for each that is published to.

        Two are of the same tenant, so that it does not grow, and two of one after the other.
        """
        tenants = self._tenants
        self._expire_of(tenants[tenant], now)
        another = next(iter(tenants))
        tenants.move_to_end(another)
        if another != tenant:
            self._expire_of(tenants[another], now)

    def _expire_of(self, known: _Tenant, now: float) -> None:
        if known.full:
            self._trim(next(iter(known.full)), now)
        if known.named:
            self._trim(next(iter(known.named)), now)

    def _forget(self, tenant: str) -> None:
        known = self._tenants[tenant]
        topic = next(iter(known.bare or known.full or known.named))
        self.marks.forget(tenant, topic.name, topic.ring.last, topic.ring.last_seq)
        self._clear(topic)
        del topic.shelf[topic]
        del known.topics[topic.name]
        if not known.topics:
            del self._tenants[tenant]
        self.topics -= 1
        self._counts.add(tenant, -1)
        self.forgotten += 1

    def _shelve(self, topic: Topic) -> None:
        known = self._tenants[topic.tenant]
        shelf = known.bare
        if len(topic.ring):
            named = self._is_named(topic.tenant, topic.name)
            shelf = known.named if named else known.full
        if shelf is not topic.shelf:
            del topic.shelf[topic]
            shelf[topic] = None
            topic.shelf = shelf
