"""What a client may ask for before it is somebody, and how fast it may ask afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from relayd.core.refusals import Refusal, RefusalCode

MESSAGES_PER_S: Final = 10.0
BURST: Final = 128
"""Messages, and commands of a message that holds several. A client that comes back asks for each
of its topics by itself, and may follow as many as this."""

STRANGERS_MAX: Final = 256
"""Clients per process that have been accepted and have not yet said who they are."""

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

    def enter(self) -> Callable[[], None] | Refusal:
        """Let one in, and return what lets it out again, once; or why none is let in."""
        if self.waiting >= STRANGERS_MAX:
            return _FULL
        self.waiting += 1
        return _Leave(self)


@attrs.define(eq=False)
class _Leave:
    _chamber: Antechamber | None

    def __call__(self) -> None:
        """Leave; calling it again does nothing."""
        if self._chamber is not None:
            self._chamber.waiting -= 1
            self._chamber = None
