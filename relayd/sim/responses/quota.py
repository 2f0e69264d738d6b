"""A plan's quota: so many turns of a key in a window of time."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

KEYS_MAX: Final = 1_000
"""Keys whose windows are kept; over it the oldest window begins anew."""


@attrs.define
class Quota:
    """Turns per window, key by key.

    Attributes:
        turns: How many a window has.
        window_s: Its length, from the first turn on.
    """

    turns: int
    window_s: float = 18_000.0
    _windows: OrderedDict[str, tuple[float, int]] = attrs.field(factory=OrderedDict, init=False)

    def take(self, key: str, at: float) -> float | None:
        """Take one turn.

        Args:
            key: Whose.
            at: Now, in Unix seconds.

        Returns:
            ``None``, or when there will be turns again, in Unix seconds, if there are none now.
        """
        began, taken = self._windows.get(key, (at, 0))
        if at >= began + self.window_s:
            began, taken = at, 0
        if taken >= self.turns:
            return began + self.window_s
        self._windows[key] = (began, taken + 1)
        if len(self._windows) > KEYS_MAX:
            self._windows.popitem(last=False)
        return None
