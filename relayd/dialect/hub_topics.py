"""Topics of the hub: how they are named, what follows them, and who may see what.

A topic is ``session:{id}``, ``workflow:{id}``, ``tenant:{id}`` or ``ops``. Every topic belongs to a
tenant, ``ops`` to the empty one: two tenants' ``workflow:x`` are two topics. What follows topics is
a :class:`Selector`, what lets events through a :class:`Filter`, and what a client is allowed a
:class:`Scope`. All are values, and none of them knows which topics exist.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

OPS: Final = "ops"
"""The topic of what operators alone see."""

TENANT_PREFIX: Final = "tenant:"
OWN_SESSION_PREFIX: Final = "session:sess_"
"""Begins the names of relayd's own sessions; nobody else publishes there."""

ID_MAX_CHARS: Final = 128
SELECTORS_MAX: Final = 128
"""Topics and prefixes that one client follows."""

EVENT_PATTERNS_MAX: Final = 128
"""Names and prefixes in one list of a filter."""

_KINDS: Final = ("session:", "workflow:", TENANT_PREFIX)
_ID: Final = r"[A-Za-z0-9._~-]+(?::[A-Za-z0-9._~-]+)*"
_TOPIC: Final = re.compile(
    rf"ops|(?=[^:]+:.{{1,{ID_MAX_CHARS}}}\Z)(?:session|workflow|tenant):{_ID}"
)
_ID_BEGUN: Final = re.compile(rf"(?!:)(?!.*::)[A-Za-z0-9._~:-]{{0,{ID_MAX_CHARS}}}")
_EVENT: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_EVENT_PATTERN: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}\*?|\*")


def is_topic(text: str) -> bool:
    """Whether ``text`` is the name of a topic."""
    return _TOPIC.fullmatch(text) is not None


def is_event_name(text: str) -> bool:
    """Whether ``text`` is a name that an event may have."""
    return _EVENT.fullmatch(text) is not None


@attrs.frozen
class Selector:
    """What a client follows: one topic by its name, or all whose names begin alike.

    Attributes:
        text: As the client writes it: a name, or the beginning of names and a ``*``.
        is_prefix: Which of the two.
        stem: ``text`` without the ``*``.
    """

    text: str
    is_prefix: bool
    stem: str = attrs.field(init=False, eq=False, repr=False)

    @stem.default
    def _default_stem(self) -> str:
        return self.text[:-1] if self.is_prefix else self.text

    def matches(self, name: str) -> bool:
        """Whether the topic ``name`` is one of these."""
        return name.startswith(self.stem) if self.is_prefix else name == self.text

    def meet(self, other: Selector) -> Selector | None:
        """What both match, which is again one selector; ``None`` where that is nothing."""
        if self.is_prefix and other.stem.startswith(self.stem):
            return other
        return self if other.matches(self.stem) else None


EVERYTHING: Final = Selector("*", is_prefix=True)

_PUBLIC: Final = (Selector("session:*", is_prefix=True), Selector("workflow:*", is_prefix=True))


def parse_selector(text: str) -> Selector | None:
    """The selector that ``text`` says; ``None`` where no topic could ever match it."""
    if not text.endswith("*"):
        return Selector(text, is_prefix=False) if is_topic(text) else None
    stem = text[:-1]
    if not any(kind.startswith(stem) for kind in (*_KINDS, OPS)):
        kind, _, begun = stem.partition(":")
        if f"{kind}:" not in _KINDS or not _ID_BEGUN.fullmatch(begun):
            return None
    return Selector(text, is_prefix=True)


@attrs.frozen
class _Patterns:
    names: frozenset[str]
    stems: tuple[str, ...]

    @classmethod
    def of(cls, patterns: Sequence[str]) -> _Patterns:
        stems = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
        return cls(frozenset(each for each in patterns if not each.endswith("*")), stems)

    def match(self, event: str) -> bool:
        return event in self.names or event.startswith(self.stems)


@attrs.frozen
class Filter:
    """Which events of its topics a client wants, by their names.

    Both lists hold names, and beginnings of names with a ``*`` behind.

    Attributes:
        only: These alone; empty for all.
        but: These not, whatever ``only`` says.
    """

    only: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    _only: _Patterns = attrs.field(init=False, eq=False, repr=False)
    _but: _Patterns = attrs.field(init=False, eq=False, repr=False)

    @_only.default
    def _default_only(self) -> _Patterns:
        return _Patterns.of(self.only or ("*",))

    @_but.default
    def _default_but(self) -> _Patterns:
        return _Patterns.of(self.but)

    @property
    def lets_all(self) -> bool:
        """Whether there is nothing to ask it."""
        return not self.only and not self.but

    def passes(self, event: str) -> bool:
        """Whether an event of this name goes to the client."""
        return self._only.match(event) and not self._but.match(event)


ALL_EVENTS: Final = Filter()


def is_event_pattern(text: str) -> bool:
    """Whether ``text`` may stand in a list of a filter."""
    return _EVENT_PATTERN.fullmatch(text) is not None


def parse_filter(only: Sequence[str], but: Sequence[str]) -> Filter | None:
    """The filter of two lists; ``None`` where one is too long or holds what is no pattern."""
    if len(only) > EVENT_PATTERNS_MAX or len(but) > EVENT_PATTERNS_MAX:
        return None
    if not all(is_event_pattern(pattern) for pattern in (*only, *but)):
        return None
    return Filter(tuple(only), tuple(but)) if only or but else ALL_EVENTS


@attrs.frozen(kw_only=True)
class Scope:
    """What one client may see, follow and publish.

    Attributes:
        tenant: Its own.
        everything: An operator's: every tenant's topics, and ``ops``.
        topics: What narrows that further; ``None`` for nothing.
        publish: Where it may publish, within :data:`its tenant's <may_publish>` topics.
    """

    tenant: str
    everything: bool = False
    topics: tuple[Selector, ...] | None = None
    publish: tuple[Selector, ...] = ()

    def may_see(self, tenant: str, topic: str) -> bool:
        """Whether an event of this topic, which is this tenant's, may reach the client."""
        if not self.everything and (tenant != self.tenant or not self._is_own(topic)):
            return False
        return self.topics is None or any(each.matches(topic) for each in self.topics)

    def may_follow(self, selector: Selector) -> bool:
        """Whether anything that ``selector`` matches could be seen.

        A prefix may match more than that; :meth:`may_see` decides on every topic.
        """
        seen: tuple[Selector, ...] = (EVERYTHING,)
        if not self.everything:
            seen = (*_PUBLIC, Selector(TENANT_PREFIX + self.tenant, is_prefix=False))
        narrowed = (EVERYTHING,) if self.topics is None else self.topics
        for base in seen:
            part = selector.meet(base)
            if part is not None and any(part.meet(each) is not None for each in narrowed):
                return True
        return False

    def may_publish(self, topic: str) -> bool:
        """Whether the client may publish to the topic of this name that is its tenant's.

        ``tenant:…``, ``ops`` and the topics of relayd's own sessions are published by relayd.
        """
        if not is_topic(topic) or topic.startswith(OWN_SESSION_PREFIX):
            return False
        if not any(each.matches(topic) for each in _PUBLIC):
            return False
        return any(each.matches(topic) for each in self.publish)

    def owner(self, name: str) -> str | None:
        """Whose topic the client means by an exact ``name``.

        Returns:
            The tenant; empty for ``ops``. ``None`` for whichever tenant has it: an operator means
            one of relayd's own sessions by its name, which no two tenants have.
        """
        if name == OPS:
            return ""
        if name.startswith(TENANT_PREFIX):
            return name.removeprefix(TENANT_PREFIX)
        if self.everything and name.startswith(OWN_SESSION_PREFIX):
            return None
        return self.tenant

    def _is_own(self, topic: str) -> bool:
        """Whether a tenant may see the topic of this name that is its own."""
        if topic.startswith(TENANT_PREFIX):
            return topic == TENANT_PREFIX + self.tenant
        return topic != OPS
