"""What is left of topics that are forgotten: how far they came.

A topic that appears goes on behind the mark of its tenant, so that a number that was once given is
never given again in an epoch, and who resumes from before the mark is told that something may be
missing. Each tenant has marks of its own: what one of them forgets breaks no other's history.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

from relayd.dialect.hub_topics import OWN_SESSION_PREFIX
from relayd.hub.patterns import Pattern

TENANTS_MAX: Final = 1024
"""Tenants with marks of their own; those that forgot nothing for longest share one."""


@attrs.define(eq=False)
class Mark:
    """How far topics came that are forgotten.

    Attributes:
        offset: At least the offset of the last publication of each.
        seq: Likewise its ``seq``.
    """

    offset: int = 0
    seq: int = 0

    def raise_to(self, offset: int, seq: int) -> None:
        """They came so far, too."""
        self.offset = max(self.offset, offset)
        self.seq = max(self.seq, seq)


@attrs.define(eq=False)
class _Pair:
    """Sessions of relayd's own, of which there are many, and all other topics."""

    own: Mark = attrs.field(factory=Mark)
    others: Mark = attrs.field(factory=Mark)

    def for_(self, name: str) -> Mark:
        return self.own if name.startswith(OWN_SESSION_PREFIX) else self.others

    def absorb(self, other: _Pair) -> None:
        self.own.raise_to(other.own.offset, other.own.seq)
        self.others.raise_to(other.others.offset, other.others.seq)


class Marks:
    """See the module's text."""

    def __init__(self, tenants_max: int = TENANTS_MAX) -> None:
        self.tenants_max = tenants_max
        self._all, self._rest = _Pair(), _Pair()
        self._tenants: OrderedDict[str, _Pair] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tenants)

    def offset(self, tenant: str | None, name: str) -> int:
        """Where a topic that is not known stands.

        Sessions of relayd's own have one mark for all tenants: operators follow them by name
        without knowing whose they are.
        """
        if name.startswith(OWN_SESSION_PREFIX):
            return self._all.own.offset
        return self._pair(tenant).others.offset

    def seq(self, tenant: str, name: str) -> int:
        """Nothing of a topic of this name is known from up to here, if there was one."""
        return self._pair(tenant).for_(name).seq

    def lost_seq(self, pattern: Pattern) -> int:
        """Likewise for topics that ``pattern`` matches."""
        pair, stem = self._pair(pattern.tenant), pattern.stem
        if pattern.is_prefix and OWN_SESSION_PREFIX.startswith(stem):
            return max(pair.own.seq, pair.others.seq)
        return pair.for_(stem).seq

    def forget(self, tenant: str, name: str, offset: int, seq: int) -> None:
        """A topic is forgotten that came so far."""
        for pair in (self._all, self._own_pair(tenant)):
            pair.for_(name).raise_to(offset, seq)

    def skip(self, tenant: str, seq: int) -> None:
        """Something happened in a session of relayd's own that is not known, and is not told."""
        for pair in (self._all, self._own_pair(tenant)):
            pair.own.raise_to(self._all.own.offset, seq)
        self._all.own.offset += 1

    def _pair(self, tenant: str | None) -> _Pair:
        return self._all if tenant is None else self._tenants.get(tenant, self._rest)

    def _own_pair(self, tenant: str) -> _Pair:
        """The tenant's, made where it has none."""
        pair = self._tenants.pop(tenant, None)
        if pair is None:
            pair = _Pair()
            pair.absorb(self._rest)
            if len(self._tenants) >= self.tenants_max:
                self._rest.absorb(self._tenants.popitem(last=False)[1])
        self._tenants[tenant] = pair
        return pair
