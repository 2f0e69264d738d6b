"""How long a session's turns wait for their upstreams: for a first event, for the next, and in all.

One task looks after all of them, and no turn has a deadline of its own: setting one and taking it
back costs more than the looks of several seconds. It ends when it finds that nothing runs.
"""

from __future__ import annotations

import math
from typing import Final

import attrs
import trio

from relayd.config.dialects import ResponsesSettings
from relayd.dialect.responses_aborts import Abort
from relayd.session.responses.holder import Run

LOOKS: Final = 4
"""How often progress is looked for within the longest silence: it is found late by a quarter."""

LOOK_EVERY_S: Final = 5.0
"""How often at least."""

_LATER_S: Final = 0.001
"""So that a deadline which has just passed is not looked at again and again."""


@attrs.define(eq=False)
class _Wait:
    """One turn's: what was known of its socket's progress, and since when."""

    run: Run
    progress: int
    progressed_at: float


@attrs.define(eq=False, kw_only=True)
class Patience:
    """See the module's text. A turn that takes too long is lost, and its socket with it.

    Any event that a socket brings is progress, also one of another lane: an upstream that speaks
    is alive.

    Attributes:
        times: How long a turn may take.
        stall_s: How long an upstream may take no byte of what it is sent.
        nursery: Where the looking goes on; its end ends it.
    """

    times: ResponsesSettings
    stall_s: float
    nursery: trio.Nursery
    _waits: dict[Run, _Wait] = attrs.field(factory=dict, init=False)
    _sleep: trio.CancelScope | None = attrs.field(default=None, init=False)

    def watch(self, run: Run) -> None:
        """Look after a turn whose request has been sent, until :meth:`forget`."""
        now = run.sent_at
        wait = self._waits[run] = _Wait(run, run.holder.progress, now)
        look_at = self._look(wait, now)
        if self._sleep is None:
            self._sleep = trio.CancelScope(deadline=look_at)
            self.nursery.start_soon(self._watch)
        elif look_at < self._sleep.deadline:
            self._sleep.deadline = look_at

    def forget(self, run: Run) -> None:
        """Nobody waits for the turn any more."""
        del self._waits[run]

    async def _watch(self) -> None:
        while self._sleep is not None:
            with self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            looks = [self._look(wait, now) for wait in self._waits.values()]
            self._sleep = trio.CancelScope(deadline=min(looks)) if looks else None

    def _look(self, wait: _Wait, now: float) -> float:
        """Give the turn up if its time is over; when to look again."""
        run, times, holder = wait.run, self.times, wait.run.holder
        if holder.progress != wait.progress:
            wait.progress, wait.progressed_at = holder.progress, now
        done_by, first_by, taken_by = run.sent_at + times.total_s, math.inf, math.inf
        if run.running.seen:
            done_by = min(done_by, wait.progressed_at + times.idle_s)
        else:
            first_by = run.sent_at + times.first_event_s
        if (untaken_since := holder.stalled_since) is not None:
            taken_by = untaken_since + self.stall_s
        if now >= taken_by:
            holder.abandon(Abort.READ_TIMEOUT, mine=run)
        elif now >= first_by:
            holder.abandon(Abort.FIRST_EVENT_TIMEOUT, mine=run)
        elif now >= done_by:
            holder.abandon(Abort.READ_TIMEOUT, mine=run)
        look_at = now + min(LOOK_EVERY_S, times.idle_s / LOOKS)
        return max(min(look_at, done_by, first_by, taken_by), now + _LATER_S)
