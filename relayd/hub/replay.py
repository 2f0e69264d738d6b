"""What a client missed that comes back, and whether that is everything.

It is everything only if nothing of it can be missing: a place of another epoch, one that the hub
has not come to, one behind which something was let go of or forgotten, and more than is sent at
once are all answered with "lost". An event that the client has had already by another topic is
left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import attrs

from relayd.dialect.hub_event import Position
from relayd.hub.answers import Past
from relayd.hub.history import History, Topic
from relayd.hub.index import Following, PatternMap
from relayd.hub.patterns import Pattern
from relayd.hub.ring import Ring
from relayd.hub.shared import Shared


@attrs.define(eq=False)
class Room:
    """What else may be replayed.

    Attributes:
        messages: Publications.
        size: Bytes of them.
        topics_max: Topics that are looked through for one selector.
    """

    messages: int
    size: int
    topics_max: int

    def take(self, found: Iterable[Shared]) -> bool:
        """Whether ``found`` fits, too."""
        for shared in found:
            self.messages -= 1
            self.size -= shared.size
        return self.messages >= 0 and self.size >= 0


@attrs.frozen
class Resumed:
    """What was missed of one selector, as far as the client wants it.

    Attributes:
        since_seq: The client has had everything up to it.
        missed: Not in order, and possibly some of it twice.
    """

    since_seq: int
    missed: list[Shared]


@attrs.frozen(kw_only=True)
class Archive:
    """Where a replay comes from.

    Attributes:
        epoch: The hub's.
        seq: The latest there was.
        now: The hub's clock.
    """

    history: History
    epoch: str
    seq: int
    now: float

    def resume(self, following: Following, since: Position, room: Room) -> Resumed | None:
        """What was missed of ``following`` since then; ``None`` where some of it is lost.

        Args:
            room: Gets less by what is found.
        """
        if since.epoch != self.epoch:
            return None
        if since.overall:
            return self._behind_seq(following, since.number, room)
        return self._behind_offset(following, since.number, room)

    def _behind_offset(self, following: Following, offset: int, room: Room) -> Resumed | None:
        selector = following.selector
        if selector.is_prefix or len(following.patterns) != 1:
            return None  # a number in which topic?
        (pattern,) = following.patterns
        topics = self.history.of_name(pattern.tenant, pattern.stem)
        if not topics:
            there = offset == self.history.marks.offset(pattern.tenant, pattern.stem)
            return Resumed(self.seq, []) if there else None
        if len(topics) > 1:
            return None
        ring = self.history.refresh(topics[0], self.now)
        missed = ring.after(offset)
        if missed is None:
            return None
        wanted = _wanted(following, missed)
        return Resumed(ring.seq_at(offset), wanted) if room.take(wanted) else None

    def _behind_seq(self, following: Following, seq: int, room: Room) -> Resumed | None:
        if seq > self.seq:
            return None
        missed: list[Shared] = []
        left = room.topics_max
        for pattern in following.patterns:
            for topic in self._changed(pattern, seq):
                left -= 1
                if topic is None or left < 0:
                    return None
                if not pattern.matches(topic.tenant, topic.name):
                    continue
                found = self.history.refresh(topic, self.now).after_seq(seq)
                if found is None:
                    return None
                wanted = _wanted(following, found)
                if not room.take(wanted):
                    return None
                missed += wanted
        return Resumed(seq, missed)

    def _changed(self, pattern: Pattern, seq: int) -> Iterator[Topic | None]:
        """Topics that may match and where something happened since; ``None`` for a lost one."""
        history = self.history
        known = [] if pattern.is_prefix else history.of_name(pattern.tenant, pattern.stem)
        if not known and history.marks.lost_seq(pattern) > seq:
            yield None
        yield from known
        if not pattern.is_prefix:
            return
        for topics in history.latest(pattern.tenant):
            for topic in topics:
                if topic.ring.last_seq <= seq:
                    break
                yield topic

    def past(
        self,
        tenant: str | None,
        name: str,
        *,
        limit: int | None,
        since: Position | None,
        reverse: bool,
    ) -> Past:
        """What a topic remembers; see ``Hub.history``."""
        last = self.history.last(tenant, name)
        topics = self.history.of_name(tenant, name)
        ring = self.history.refresh(topics[0], self.now) if topics else Ring(last)
        found: list[Shared] | None = None
        if since is None:
            found = ring.after(ring.base)
        elif since.epoch == self.epoch and not since.overall:
            found = ring.after(since.number)
            if reverse and found is not None:
                found = ring.before(since.number)
        position = Position(self.epoch, last, overall=False)
        if found is None:
            return Past(position=position, publications=None)
        chosen = islice(reversed(found) if reverse else found, limit)
        return Past(position=position, publications=tuple(each.publication for each in chosen))


def _wanted(following: Following, found: list[Shared]) -> list[Shared]:
    if following.filter.lets_all:
        return found
    return [each for each in found if following.filter.passes(each.publication.event)]


def merge(
    resumed: Sequence[tuple[Following, Resumed]], had: Sequence[Following], *, by_topic: bool
) -> list[Shared]:
    """What was missed, in order, each event once.

    Args:
        resumed: With what was missed of each.
        had: What the client follows already: it has had or is being sent what came since.
        by_topic: Whether an event in several topics comes once for each of them.
    """
    chosen: dict[tuple[int, int], Shared] = {}
    for _, each in resumed:
        for shared in each.missed:
            publication = shared.publication
            place = shared.topics.index((publication.tenant, publication.topic))
            key = (publication.seq, place if by_topic else 0)
            other = chosen.get(key)
            if other is None or place < _place(other):
                chosen[key] = shared
    found = [chosen[key] for key in sorted(chosen)]
    if not had and len(resumed) == 1:
        return found
    seen = _Seen(resumed, had, by_topic=by_topic)
    return [shared for shared in found if shared not in seen]


def _place(shared: Shared) -> int:
    publication = shared.publication
    return shared.topics.index((publication.tenant, publication.topic))


class _Seen:
    """What the client has had by any of what it follows, or says that it has had."""

    def __init__(
        self,
        resumed: Sequence[tuple[Following, Resumed]],
        had: Sequence[Following],
        *,
        by_topic: bool,
    ) -> None:
        self._by_topic = by_topic
        self._matching: dict[tuple[str, str], list[tuple[Following, int | None]]] = {}
        self._map: PatternMap[tuple[Following, int | None]] = PatternMap()
        for following in had:
            for pattern in following.patterns:
                self._map.add(pattern, (following, None))
        for following, each in resumed:
            for pattern in following.patterns:
                self._map.add(pattern, (following, each.since_seq))

    def __contains__(self, shared: Shared) -> bool:
        publication = shared.publication
        seq, event = publication.seq, publication.event
        here = ((publication.tenant, publication.topic),)
        for topic in here if self._by_topic else shared.topics:
            found = self._matching.get(topic)
            if found is None:
                found = self._matching[topic] = self._map.matching(*topic)
            for following, until_seq in found:
                had = following.since_seq < seq if until_seq is None else seq <= until_seq
                if had and following.filter.passes(event):
                    return True
        return False
