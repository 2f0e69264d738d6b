"""When a client whose turns run was last sent anything, and when it is due a sign of life."""

from __future__ import annotations

from typing import Final

import attrs

LOOKS: Final = 4
"""How often within the allowed silence it is looked whether there was one."""


@attrs.define
class Silence:
    """What a client is sent by whom is known by its count alone, so it is looked at now and then.

    Attributes:
        every_s: How long a silence may be.
    """

    every_s: float
    _sent: int = 0  # messages, when it was last looked
    _since: float = 0.0

    @property
    def look_every_s(self) -> float:
        """How often to look."""
        return self.every_s / LOOKS

    def begins(self, now: float) -> None:
        """A client that waited for nothing waits for something now."""
        self._since = now

    def is_over_long(self, sent: int, now: float) -> bool:
        """Look. Where a sign of life is due, :meth:`broken` is to be called behind it.

        Args:
            sent: Messages that the client has been sent so far.
            now: Seconds.
        """
        if sent != self._sent:
            self.broken(sent, now)
        return now >= self._since + self.every_s

    def broken(self, sent: int, now: float) -> None:
        """The client has been sent something."""
        self._sent, self._since = sent, now
