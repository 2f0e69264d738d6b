"""What a client may ask for before it is somebody, and how fast it may ask afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs

from relayd.core.refusals import Refusal, RefusalCode

MESSAGES_PER_S: Final = 10.0
BURST: Final = 160
"""Messages, and commands of a message that holds several. A client that comes back connects and
then asks for each of its topics by itself, at once: up to
:data:`~relayd.dialect.hub_topics.SELECTORS_MAX` of them, and a few questions besides."""

STRANGERS_MAX: Final = 1024
"""Clients per process that have been accepted and have not yet said who they are."""

STRANGERS_PER_ADDRESS_MAX: Final = 256
"""Those of one address among them: nobody shuts the others out."""

CONNECT_S: Final = 10.0
"""How long such a client has for it."""

_FULL: Final = Refusal(
    RefusalCode.OVERLOAD,
    "As many clients as may be are about to say who they are. Send a credential with the request,"
    " or try again shortly.",
    retry_after_s=1.0,
)


@attrs.define
class Rate:
    """How fast one client asks: a bucket of :data:`BURST`, refilled at :data:`MESSAGES_PER_S`."""

    _level: float = float(BURST)
    _at: float = 0.0

    def admits(self, now: float) -> bool:
        """Whether one message more is within it; ``now`` never goes back."""
        self._level = min(self._level + (now - self._at) * MESSAGES_PER_S, float(BURST))
        self._at = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


@attrs.define
class Antechamber:
    """Where those wait who have not said who they are; they hold a socket and nothing else.

    Attributes:
        waiting: How many.
    """

    waiting: int = 0
    _by_address: Counter[str] = attrs.field(factory=Counter[str])

    def enter(self, address: str) -> Callable[[], None] | Refusal:
        """Let one in, and return what lets it out again, once; or why none is let in."""
        of_address = self._by_address[address]
        if self.waiting >= STRANGERS_MAX or of_address >= STRANGERS_PER_ADDRESS_MAX:
            return _FULL
        self.waiting += 1
        self._by_address[address] = of_address + 1
        return _Leave(self, address)

    def leave(self, address: str) -> None:
        """One who entered from ``address`` is gone."""
        self.waiting -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


@attrs.define(eq=False)
class _Leave:
    _chamber: Antechamber | None
    _address: str

    def __call__(self) -> None:
        """Leave; calling it again does nothing."""
        if self._chamber is not None:
            self._chamber.leave(self._address)
            self._chamber = None
