"""How fast a device may send texts: a bucket, on the clock of its session."""

from __future__ import annotations

import attrs


@attrs.define
class TextPace:
    """One per session.

    Attributes:
        per_s: Texts a second; 0 is no limit.
        burst: Those that may come at once.
        at: When ``left`` was so.
        left: Of the burst.
    """

    per_s: float
    burst: int
    at: float
    left: float = attrs.Factory(lambda self: float(self.burst), takes_self=True)

    def take(self, now: float) -> bool:
        """Whether one more may come; ``now`` does not go back."""
        if not self.per_s:
            return True
        self.left = min(self.left + (now - self.at) * self.per_s, float(self.burst))
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True
