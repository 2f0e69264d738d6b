"""What a client's selector means within what it may see: patterns over tenants and names."""

from __future__ import annotations

from typing import NamedTuple

from relayd.dialect.hub_topics import EVERYTHING, Scope, Selector


class Pattern(NamedTuple):
    """Topics of one tenant, or of all: the one of a name, or those whose names begin alike.

    Attributes:
        tenant: ``None`` for all.
        stem: The name, or what it begins with.
        is_prefix: Which of the two.
    """

    tenant: str | None
    stem: str
    is_prefix: bool

    def matches(self, tenant: str, name: str) -> bool:
        """Whether the topic is one of these."""
        if self.tenant is not None and self.tenant != tenant:
            return False
        return name.startswith(self.stem) if self.is_prefix else name == self.stem


def patterns_of(scope: Scope, selector: Selector) -> tuple[Pattern, ...]:
    """The topics of ``selector`` that ``scope`` shows, exactly.

    What narrows a scope is again a list of selectors, and what two selectors have in common is one,
    so nothing has to be asked when an event is published.
    """
    narrowed = (EVERYTHING,) if scope.topics is None else scope.topics
    parts = dict.fromkeys(selector.meet(each) for each in narrowed)
    found = (_pattern(scope, part) for part in parts if part is not None)
    return tuple(dict.fromkeys(pattern for pattern in found if pattern is not None))


def _pattern(scope: Scope, part: Selector) -> Pattern | None:
    if part.is_prefix:
        if scope.everything:
            return Pattern(None, part.stem, is_prefix=True)
        # The empty tenant is relayd itself; its topics are shown to operators alone.
        return Pattern(scope.tenant, part.stem, is_prefix=True) if scope.tenant else None
    owner = scope.owner(part.text)
    if owner is not None and not scope.may_see(owner, part.text):
        return None
    return Pattern(owner, part.text, is_prefix=False)
