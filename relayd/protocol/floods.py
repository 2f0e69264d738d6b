"""Frames that carry nothing: how many of them one peer may send."""

from __future__ import annotations

from typing import Final

EMPTY_FRAMES_MAX: Final = 64
"""Empty fragments in a row: frames without payload that do not finish their message either.

A whole message may be empty, and any number of them may follow one another.
"""

CONTROL_FRAMES_PER_S_MAX: Final = 100
"""Pings, pongs and Closes in one second."""


class FloodGuard:
    """Counts empty fragments in a row, and control frames by the second."""

    __slots__ = ("_controls", "_controls_since", "_empties", "_empties_at")

    def __init__(self) -> None:
        self._controls = 0
        self._controls_since = 0.0
        self._empties = 0
        self._empties_at = -1

    def control(self, now: float) -> str | None:
        """Count a control frame; what is wrong, where it is one too many."""
        if now - self._controls_since >= 1.0:
            self._controls, self._controls_since = 0, now
        self._controls += 1
        if self._controls <= CONTROL_FRAMES_PER_S_MAX:
            return None
        return f"more than {CONTROL_FRAMES_PER_S_MAX} control frames in a second"

    def empty(self, carried: int) -> str | None:
        """Count an empty fragment; what is wrong, where it is one too many in a row.

        Args:
            carried: Payload bytes so far: what tells a row of empty frames from single ones.
        """
        if self._empties_at != carried:
            self._empties_at, self._empties = carried, 0
        self._empties += 1
        if self._empties <= EMPTY_FRAMES_MAX:
            return None
        return f"more than {EMPTY_FRAMES_MAX} empty fragments in a row"
