"""A lease's events, collected for a client that reads no WebSocket.

The socket's flow stops behind every event until it has been handed on: a slow client slows its
upstream down, and what waits is one event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from relayd.core.endings import Reason
from relayd.core.hold import HoldBudget
from relayd.dialect.responses_reader import LeaseReader
from relayd.protocol.outcomes import Instead, Notice, Violation

COLLECTED: Final = Notice("collected")
"""An event waits to be handed on."""

NO_PROOF: Final = b"\x00"


@attrs.define(eq=False)
class CollectingReader:
    """An :class:`~relayd.protocol.outcomes.EventReader` over the reader of a lease.

    Attributes:
        reader: Decides about each event.
        keep: Takes an event to be handed on; whether there was room for it.
    """

    reader: LeaseReader
    keep: Callable[[bytes], bool]
    proof: bytes = attrs.field(default=NO_PROOF, init=False)

    def message(
        self, payload: bytes | bytearray, now: float
    ) -> Notice | Violation | Instead | None:
        """See :class:`~relayd.protocol.outcomes.EventReader`."""
        said = self.reader.message(payload, now)
        if isinstance(said, Violation):
            return said
        if isinstance(said, Instead) and said.payload is None:
            return said
        shown = said.payload if isinstance(said, Instead) else None
        if not self.keep(bytes(payload) if shown is None else shown):
            return Violation.overload()
        return (said.event if isinstance(said, Instead) else said) or COLLECTED

    def harmless(self, head: bytes | bytearray) -> bool:
        """See :class:`~relayd.protocol.outcomes.EventReader`: every event is wanted."""
        return False

    def oversize(self, head: bytes | bytearray, now: float) -> Violation:
        """See :class:`~relayd.protocol.outcomes.EventReader`."""
        return Violation(Reason.TOO_BIG, "an event that is longer than can be handed on")


@attrs.define(eq=False)
class Collected:
    """The events of one HTTP request's turn.

    Attributes:
        hand_on: Takes one event; waits as long as its client does.
        hold: Where the bytes of what waits are counted.
    """

    hand_on: Callable[[bytes], Awaitable[None]]
    hold: HoldBudget
    events: list[bytes] = attrs.field(factory=list, init=False)

    def policy(self, reader: LeaseReader) -> CollectingReader:
        """Reads the events of one lease."""
        return CollectingReader(reader, self._keep)

    async def deliver(self) -> None:
        """Hand on what has come, in order."""
        while self.events:
            await self.hand_on(self.events[0])
            self.hold.give(len(self.events.pop(0)))  # not before: cancelled, it goes on later

    def say(self, event: bytes) -> None:
        """An event of relayd's own."""
        self.hold.bytes_held += len(event)  # too few to refuse
        self.events.append(event)

    def close(self) -> None:
        """Nobody takes the rest."""
        self.hold.give(sum(map(len, self.events)))
        self.events.clear()

    def _keep(self, event: bytes) -> bool:
        if not self.hold.take(len(event)):
            return False
        self.events.append(event)
        return True
