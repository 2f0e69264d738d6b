"""Who wants a slot, and the order in which those are served who have to wait."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

import attrs

from relayd.pool.events import Refused
from relayd.pool.identity import Identity, SlotRef
from relayd.pool.slots import Slot

S = TypeVar("S")

TOKEN_BYTES: Final = 8
"""Of an owner's token: what one acquirer has, no other guesses or repeats."""

_DRAWN: Final = 32


def tokens() -> Iterator[str]:
    """Random tokens without an end. The kernel is asked for many at once: it takes as long."""
    while True:
        drawn = secrets.token_bytes(TOKEN_BYTES * _DRAWN)
        for start in range(0, len(drawn), TOKEN_BYTES):
            yield drawn[start : start + TOKEN_BYTES].hex()


def _nobody_waits() -> None:
    """Whoever does not wait need not be woken."""


@attrs.define(eq=False, kw_only=True)
class Claim(Generic[S]):
    """One acquirer's. It waits while it has neither a slot nor a refusal.

    Attributes:
        owner: A random token, that of the slot it is given.
        identity: What the socket has to be opened with.
        lane: A name that is going to be used on it.
        pinned: The one socket that will do.
        since: When it was made.
        wake: Called when it is answered after waiting.
        ticket: Its place in the order of arrival.
        slot: Given: ``ACTIVE`` with a socket, or ``LOGIN``, where one is to be opened.
        refused: Why it gets none.
    """

    owner: str
    identity: Identity
    lane: str | None = None
    pinned: SlotRef | None = None
    since: float = 0.0
    wake: Callable[[], None] = _nobody_waits
    ticket: int = 0
    slot: Slot[S] | None = None
    refused: Refused | None = None


class Line(Generic[S]):
    """Those who wait at one account, by arrival: some for one slot, the others for any."""

    def __init__(self) -> None:
        self._all: OrderedDict[int, Claim[S]] = OrderedDict()
        self._general: OrderedDict[int, Claim[S]] = OrderedDict()
        self._pinned: dict[int, OrderedDict[int, Claim[S]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def oldest_since(self) -> float | None:
        """Since when the one who came first waits."""
        for claim in self._all.values():
            return claim.since
        return None

    def join(self, claim: Claim[S], ticket: int) -> None:
        """Wait behind all others."""
        claim.ticket = ticket
        self._all[ticket] = claim
        self._among(claim)[ticket] = claim

    def leave(self, claim: Claim[S]) -> None:
        """Wait no longer. Who does not wait is let be."""
        if self._all.get(claim.ticket) is not claim:
            return
        del self._all[claim.ticket]
        others = self._among(claim)
        del others[claim.ticket]
        if claim.pinned is not None and not others:
            del self._pinned[claim.pinned.slot]

    def first(self) -> Claim[S] | None:
        """Of those who wait for any slot, the first."""
        for claim in self._general.values():
            return claim
        return None

    def first_for(self, slot: Slot[S]) -> Claim[S] | None:
        """Of those who wait for any slot and those who wait for this one, the first."""
        general = self.first()
        for claim in self._pinned.get(slot.number, {}).values():
            return claim if general is None or claim.ticket < general.ticket else general
        return general

    def pinned_to(self, slot: Slot[S]) -> list[Claim[S]]:
        """Those who wait for this one, in order."""
        return list(self._pinned.get(slot.number, {}).values())

    def pinned_slots(self) -> list[int]:
        """The numbers of the slots that somebody waits for."""
        return list(self._pinned)

    def everybody(self) -> list[Claim[S]]:
        """All who wait, in order."""
        return list(self._all.values())

    def _among(self, claim: Claim[S]) -> OrderedDict[int, Claim[S]]:
        if claim.pinned is None:
            return self._general
        return self._pinned.setdefault(claim.pinned.slot, OrderedDict())
