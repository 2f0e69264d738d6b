"""How much an application may ask: per second, at a time, and per day."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

import attrs

from relayd.sim.spark.errors import Rejected, error

APPS_MAX: Final = 1_000
"""Applications that are counted; over it the one that was idle longest begins anew."""

_SHANGHAI_S: Final = 8 * 3600
_DAY_S: Final = 86_400


@attrs.frozen(kw_only=True)
class Limits:
    """Requests of one application; ``None`` is as many as it likes.

    Attributes:
        per_second: Within any second.
        at_a_time: Being answered at one moment.
        per_day: From midnight to midnight in Shanghai.
    """

    per_second: int | None = None
    at_a_time: int | None = None
    per_day: int | None = None


@attrs.define
class _Counts:
    recent: deque[float] = attrs.field(factory=deque)
    running: int = 0
    day: int = 0
    today: int = 0


@attrs.define
class Gate:
    """Lets requests pass, application by application."""

    _apps: OrderedDict[str, _Counts] = attrs.field(factory=OrderedDict, init=False)

    def enter(self, app_id: str, limits: Limits, *, now: float, wall: float) -> None:
        """Let one request of ``app_id`` in; what is let in must :meth:`leave`.

        Args:
            app_id: Whose.
            limits: What holds at this moment.
            now: A clock that never goes back, in seconds.
            wall: Unix seconds.

        Raises:
            Rejected: 11201, 11202 or 11203: too much. It is not let in, and does not count.
        """
        counts = self._counts(app_id)
        day = int((wall + _SHANGHAI_S) // _DAY_S)
        if day != counts.day:
            counts.day, counts.today = day, 0
        while counts.recent and counts.recent[0] <= now - 1:
            counts.recent.popleft()
        if limits.per_day is not None and counts.today >= limits.per_day:
            raise Rejected(error(11201))
        if limits.at_a_time is not None and counts.running >= limits.at_a_time:
            raise Rejected(error(11203))
        if limits.per_second is not None:
            if len(counts.recent) >= limits.per_second:
                raise Rejected(error(11202))
            counts.recent.append(now)
        counts.today += 1
        counts.running += 1

    def leave(self, app_id: str) -> None:
        """One request of ``app_id`` has been answered, or given up."""
        self._counts(app_id).running -= 1

    def _counts(self, app_id: str) -> _Counts:
        counts = self._apps.setdefault(app_id, _Counts())
        self._apps.move_to_end(app_id)
        if len(self._apps) > APPS_MAX:
            idle = (name for name, known in self._apps.items() if not known.running)
            self._apps.pop(next(idle, next(iter(self._apps))))
        return counts
