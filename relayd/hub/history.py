"""What is remembered of all topics, and within which bounds.

Each topic has a ring. Where all rings together hold too much, those that were silent for longest
let go of everything, first among those that nobody follows by name. A topic whose ring is empty is
still known: its numbers go on. Where too many topics are known, the one that was silent for longest
is forgotten altogether, and of all that are forgotten two numbers remain, a :class:`Mark`. A topic
that appears goes on behind them, so a number that was once given is never given again in an epoch,
and who resumes from before a mark is told that something may be missing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import attrs

from relayd.dialect.hub_topics import OWN_SESSION_PREFIX
from relayd.hub.bounds import Bounds
from relayd.hub.index import Followers
from relayd.hub.patterns import Pattern
from relayd.hub.ring import Ring
from relayd.hub.shared import Shared


@attrs.define(eq=False)
class Mark:
    """How far topics came that are forgotten.

    Attributes:
        offset: At least the offset of the last publication of each.
        seq: Likewise its ``seq``.
    """

    offset: int = 0
    seq: int = 0


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
    """

    def __init__(self, bounds: Bounds, is_named: Callable[[str, str], bool]) -> None:
        self.bounds = bounds
        self.topics = 0
        self.messages = 0
        self.size = 0
        self.forgotten = 0
        self._is_named = is_named
        # By tenant and name; of one tenant in the order in which something last happened there.
        self._tenants: dict[str, OrderedDict[str, Topic]] = {}
        self._bare: Shelf = OrderedDict()  # nothing in their rings
        self._full: Shelf = OrderedDict()
        self._named: Shelf = OrderedDict()  # followed by name
        self._own, self._others = Mark(), Mark()

    # -- topics

    def get(self, tenant: str, name: str) -> Topic | None:
        """The topic, where it is known."""
        known = self._tenants.get(tenant)
        return None if known is None else known.get(name)

    def obtain(self, tenant: str, name: str) -> Topic:
        """The topic, made where it is not known; something is about to happen there."""
        known = self._tenants.get(tenant)
        if known is not None and (topic := known.get(name)) is not None:
            known.move_to_end(name)
            return topic
        while self.topics >= self.bounds.topics_max:
            self._forget()
        mark = self.mark(name)
        ring = Ring(mark.offset)
        ring.lost_seq = mark.seq
        topic = Topic(tenant, name, ring, self._bare)
        self._tenants.setdefault(tenant, OrderedDict())[name] = topic  # forgetting may remove it
        self.topics += 1
        return topic

    def of_name(self, tenant: str | None, name: str) -> list[Topic]:
        """The known topics of this name: of a tenant, or of all for ``None``."""
        tenants = self._tenants if tenant is None else (tenant,)
        found = (self.get(each, name) for each in tenants)
        return [topic for topic in found if topic is not None]

    def last(self, tenant: str | None, name: str) -> int:
        """Where a topic stands, known or not: the offset of the newest publication there was."""
        topics = self.of_name(tenant, name)
        return topics[0].ring.last if topics else self.mark(name).offset

    def latest(self, tenant: str | None) -> Iterator[Iterator[Topic]]:
        """For one tenant, or for each, its topics: first where something happened last."""
        for each in self._tenants if tenant is None else (tenant,):
            yield reversed(self._tenants.get(each, OrderedDict[str, Topic]()).values())

    def mark(self, name: str) -> Mark:
        """What is left of topics that are forgotten: where one of this name would go on."""
        return self._own if name.startswith(OWN_SESSION_PREFIX) else self._others

    def marks(self, pattern: Pattern) -> Sequence[Mark]:
        """The marks of topics that ``pattern`` matches."""
        stem = pattern.stem
        if stem.startswith(OWN_SESSION_PREFIX):
            return (self._own,)
        if pattern.is_prefix and OWN_SESSION_PREFIX.startswith(stem):
            return (self._own, self._others)
        return (self._others,)

    # -- remembering

    def remember(self, topic: Topic, shared: Shared, now: float) -> None:
        """Add the next publication of a topic that was just :meth:`obtained <obtain>`."""
        ring = topic.ring
        ring.append(shared)
        self.messages += 1
        self.size += shared.size
        self._trim(topic, now)
        if len(ring):
            topic.shelf.move_to_end(topic)
        self._expire(now)
        while self.size > self.bounds.rings_bytes_max:
            self._clear(next(iter(self._full or self._named)))

    def refresh(self, topic: Topic, now: float) -> Ring:
        """Its ring, without what is too old."""
        self._trim(topic, now)
        return topic.ring

    def skip(self, tenant: str, name: str, seq: int) -> None:
        """Something happened there that is not remembered; see :meth:`Ring.skip
        <relayd.hub.ring.Ring.skip>`."""
        if name.startswith(OWN_SESSION_PREFIX) and self.get(tenant, name) is None:
            # There are many of these and nobody knows of this one: nothing is kept for it alone.
            self._own.offset += 1
            self._own.seq = seq
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
        self.messages += len(ring) - count
        self.size += ring.size - size
        if not len(ring) or topic.shelf is self._bare:
            self._shelve(topic)

    def _clear(self, topic: Topic) -> None:
        self.messages -= len(topic.ring)
        self.size -= topic.ring.size
        topic.ring.clear()
        self._shelve(topic)

    def _expire(self, now: float) -> None:
        """Two topics let go of what is too old for each that is published to: it does not grow."""
        for shelf in (self._full, self._named):
            if shelf:
                self._trim(next(iter(shelf)), now)

    def _forget(self) -> None:
        topic = next(iter(self._bare or self._full or self._named))
        mark = self.mark(topic.name)
        mark.offset = max(mark.offset, topic.ring.last)
        mark.seq = max(mark.seq, topic.ring.last_seq)
        self._clear(topic)
        del topic.shelf[topic]
        known = self._tenants[topic.tenant]
        del known[topic.name]
        if not known:
            del self._tenants[topic.tenant]
        self.topics -= 1
        self.forgotten += 1

    def _shelve(self, topic: Topic) -> None:
        shelf = self._bare
        if len(topic.ring):
            named = self._is_named(topic.tenant, topic.name)
            shelf = self._named if named else self._full
        if shelf is not topic.shelf:
            del topic.shelf[topic]
            shelf[topic] = None
            topic.shelf = shelf
