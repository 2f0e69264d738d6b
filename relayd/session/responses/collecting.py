"""A lease's events, collected for a client that reads no WebSocket.

The socket's flow stops behind every event until it has been handed on: a slow client slows its
upstream down, and what waits is one event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from relayd.core.endings import Reason
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
        events: What has come and was not handed on.
    """

    reader: LeaseReader
    events: list[bytes]
    proof: bytes = attrs.field(default=NO_PROOF, init=False)

    def message(
        self, payload: bytes | bytearray, now: float
    ) -> Notice | Violation | Instead | None:
        """See :class:`~relayd.protocol.outcomes.EventReader`."""
        said = self.reader.message(payload, now)
        if isinstance(said, Violation):
            return said
        if isinstance(said, Instead):
            if said.payload is None:
                return said
            self.events.append(said.payload)
            return said.event or COLLECTED
        self.events.append(bytes(payload))
        return said or COLLECTED

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
    """

    hand_on: Callable[[bytes], Awaitable[None]]
    events: list[bytes] = attrs.field(factory=list, init=False)

    def policy(self, reader: LeaseReader) -> CollectingReader:
        """Reads the events of one lease."""
        return CollectingReader(reader, self.events)

    async def deliver(self) -> None:
        """Hand on what has come, in order."""
        while self.events:
            await self.hand_on(self.events[0])
            del self.events[0]  # not before: it may be cancelled, and goes on later

    def say(self, event: bytes) -> None:
        """An event of relayd's own."""
        self.events.append(event)
