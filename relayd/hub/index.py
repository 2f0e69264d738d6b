"""Who follows what.

Clients that follow the same pattern with the same filter are one group, so an event is compared
with a filter once for all of them. Groups of a name are found by the name; groups of a prefix are
found once for a topic and kept with it until a prefix comes or goes. What it costs to find those
who get an event does not grow with the number of clients or patterns that have no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import attrs

from relayd.dialect.hub_topics import ALL_EVENTS, SELECTORS_MAX, Filter, Scope, Selector
from relayd.hub.outbox import Outbox
from relayd.hub.patterns import Pattern

T = TypeVar("T")


class PatternMap(Generic[T]):
    """Things by the patterns that they are for, found by a topic that a pattern matches."""

    __slots__ = ("_begun", "_lengths", "_named")

    def __init__(self) -> None:
        self._named: dict[tuple[str | None, str], list[T]] = {}
        self._begun: dict[tuple[str | None, str], list[T]] = {}
        self._lengths: dict[int, int] = {}  # of stems: how many there are

    def add(self, pattern: Pattern, thing: T) -> None:
        """Put ``thing`` under ``pattern``, where others may be."""
        key = (pattern.tenant, pattern.stem)
        if not pattern.is_prefix:
            self._named.setdefault(key, []).append(thing)
            return
        if key not in self._begun:
            length = len(pattern.stem)
            self._lengths[length] = self._lengths.get(length, 0) + 1
        self._begun.setdefault(key, []).append(thing)

    def remove(self, pattern: Pattern, thing: T) -> None:
        """Take it away again; it is there."""
        table = self._begun if pattern.is_prefix else self._named
        key = (pattern.tenant, pattern.stem)
        table[key].remove(thing)
        if table[key]:
            return
        del table[key]
        if pattern.is_prefix:
            length = len(pattern.stem)
            self._lengths[length] -= 1
            if not self._lengths[length]:
                del self._lengths[length]

    def named(self, tenant: str, name: str) -> list[T]:
        """What is under this very name."""
        named = self._named
        if not named:
            return []
        return [*named.get((tenant, name), ()), *named.get((None, name), ())]

    def begun(self, tenant: str, name: str) -> list[T]:
        """What is under a prefix of it."""
        found: list[T] = []
        for length in self._lengths:
            if length <= len(name):
                stem = name[:length]
                found += self._begun.get((tenant, stem), ())
                found += self._begun.get((None, stem), ())
        return found

    def matching(self, tenant: str, name: str) -> list[T]:
        """Both."""
        return self.named(tenant, name) + self.begun(tenant, name)


@attrs.frozen(kw_only=True)
class Following:
    """What one client follows by one selector.

    Attributes:
        patterns: What the selector means to this client.
        filter: Which events of it the client wants.
        since_seq: The client has had, or is being sent, everything of it behind this ``seq``.
    """

    selector: Selector
    patterns: tuple[Pattern, ...]
    filter: Filter
    since_seq: int


@attrs.define(eq=False, kw_only=True)
class Subscriber:
    """A client, as the hub knows it; ``Hub.subscriber`` makes one.

    Attributes:
        outbox: What waits for it.
        scope: What it may see; ``Hub.narrow`` changes it.
        followed: What it follows, by the selector as it wrote it.
        mark: The latest event that it was offered, so that it gets none twice.
    """

    outbox: Outbox
    scope: Scope
    followed: dict[str, Following] = attrs.field(factory=dict)
    mark: int = 0

    def may_add(self, selectors: Iterable[Selector]) -> bool:
        """Whether it may follow these too, and not too many then. The hub does not look."""
        return len(self.followed.keys() | {each.text for each in selectors}) <= SELECTORS_MAX


class _Key(NamedTuple):
    pattern: Pattern
    filter: Filter
    by_topic: bool


@attrs.define(eq=False)
class Followers:
    """Clients that follow the same.

    Attributes:
        filter: ``None`` lets all events through.
        by_topic: Whether they get an event once for each topic.
        members: The clients, each with how many of its selectors come to this.
    """

    filter: Filter | None
    by_topic: bool
    members: dict[Subscriber, int] = attrs.field(factory=dict)


class Matched(Protocol):
    """A topic that remembers which prefixes it has.

    Attributes:
        begun: The groups of prefixes, as of ``begun_in``.
        begun_in: :attr:`Index.version` then.
    """

    tenant: str
    name: str
    begun: tuple[Followers, ...]
    begun_in: int


class Index:
    """See the module's text.

    Attributes:
        version: Another one whenever a group of a prefix comes or goes.
    """

    def __init__(self) -> None:
        self.version = 1
        self._groups: dict[_Key, Followers] = {}
        self._map: PatternMap[Followers] = PatternMap()

    def join(self, subscriber: Subscriber, following: Following) -> None:
        """The client follows this from now on."""
        for key in _keys(subscriber, following):
            group = self._groups.get(key)
            if group is None:
                chosen = None if key.filter.lets_all else key.filter
                group = self._groups[key] = Followers(chosen, key.by_topic)
                self._map.add(key.pattern, group)
                self.version += key.pattern.is_prefix
            group.members[subscriber] = group.members.get(subscriber, 0) + 1

    def leave(self, subscriber: Subscriber, following: Following) -> None:
        """It does so no longer."""
        for key in _keys(subscriber, following):
            group = self._groups[key]
            group.members[subscriber] -= 1
            if not group.members[subscriber]:
                del group.members[subscriber]
            if not group.members:
                del self._groups[key]
                self._map.remove(key.pattern, group)
                self.version += key.pattern.is_prefix

    def matching(self, topic: Matched) -> Sequence[Followers]:
        """Those who get what is published there; the same client may be in several of them."""
        if topic.begun_in != self.version:
            topic.begun = tuple(self._map.begun(topic.tenant, topic.name))
            topic.begun_in = self.version
        return (*self._map.named(topic.tenant, topic.name), *topic.begun)

    def is_named(self, tenant: str, name: str) -> bool:
        """Whether somebody follows the topic by its name."""
        return bool(self._map.named(tenant, name))

    def is_followed(self, tenant: str, name: str) -> bool:
        """Whether somebody follows it."""
        return bool(self._map.named(tenant, name) or self._map.begun(tenant, name))

    def clients(self, tenant: str, name: str) -> int:
        """How many do."""
        groups = self._map.matching(tenant, name)
        if len(groups) == 1:
            return len(groups[0].members)
        return len({member for group in groups for member in group.members})


def _keys(subscriber: Subscriber, following: Following) -> list[_Key]:
    chosen = ALL_EVENTS if following.filter.lets_all else following.filter
    by_topic = subscriber.outbox.wire.by_topic
    return [_Key(pattern, chosen, by_topic) for pattern in following.patterns]
