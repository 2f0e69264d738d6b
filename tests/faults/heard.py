"""What the bus of a relayd hears while a test plays its clients and upstreams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self, TypeVar

import attrs

from relayd.observe.bus import BusEvent, TurnEnded, TurnFirstOutput, TurnStarted
from tests.faults.harness import Relay

E = TypeVar("E")

SECRET: Final = "words of a conversation"
"""What nobody is told who listens."""


@attrs.define
class Heard:
    """Everything that the bus of a relay hears."""

    events: list[BusEvent] = attrs.field(factory=list)

    @classmethod
    def on(cls, relay: Relay) -> Self:
        """From now on."""
        heard = cls()
        relay.running.bus.subscribe(heard.events.append)
        return heard

    @property
    def kinds(self) -> list[type[BusEvent]]:
        """What they are."""
        return [type(event) for event in self.events]

    def of(self, kind: type[E]) -> list[E]:
        """Those of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def check(self) -> None:
        """What holds for all of them: no word of a conversation, no address of a client."""
        said = repr(self.events)
        assert SECRET not in said
        assert "127.0.0.1" not in said
        check_turns(self.events)


def check_turns(events: Sequence[BusEvent]) -> None:
    """What is told of a turn is told once, in its order; one that begins ends."""
    places: dict[str | None, list[int]] = {}
    order = (TurnStarted, TurnFirstOutput, TurnEnded)
    for event in events:
        if isinstance(event, order):
            places.setdefault(event.turn_id, []).append(order.index(type(event)))
    for turn_id, found in places.items():
        assert found == sorted(set(found)), turn_id
        assert found[-1] == order.index(TurnEnded), turn_id
