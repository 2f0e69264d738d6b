"""How long a turn waits for its upstream: for its first event, for the next, and in all."""

from __future__ import annotations

from typing import Final

import trio

from relayd.config.dialects import ResponsesSettings
from relayd.dialect.responses_aborts import Abort
from relayd.session.responses.holder import Outcome, Run

LOOKS: Final = 4
"""How often progress is looked for within the longest silence: it is found late by a quarter."""

LOOK_EVERY_S: Final = 5.0
"""How often at least."""

_LATER_S: Final = 0.001
"""So that a deadline which has just passed is not looked at again and again."""


async def next_outcome(run: Run, times: ResponsesSettings, stall_s: float) -> Outcome:
    """The next outcome of a turn. One that takes too long is lost, and its socket with it.

    Any event that the socket brings is progress, also one of another lane: an upstream that
    speaks is alive.

    Args:
        run: The turn, whose request has been sent.
        times: How long it may take.
        stall_s: How long the upstream may take no byte of what it is sent.

    Cancelling it loses no outcome.
    """
    holder = run.holder
    progress, progressed_at = holder.progress, trio.current_time()
    while True:
        now = trio.current_time()
        if holder.progress != progress:
            progress, progressed_at = holder.progress, now
        first_by, done_by = run.sent_at + times.first_event_s, run.sent_at + times.total_s
        if run.running.seen:
            done_by = min(done_by, progressed_at + times.idle_s)
        due = [now + min(LOOK_EVERY_S, times.idle_s / LOOKS), done_by]
        if not run.running.seen:
            due.append(first_by)
        if (untaken_since := holder.stalled_since) is not None:
            due.append(untaken_since + stall_s)
        if untaken_since is not None and now >= untaken_since + stall_s:
            holder.abandon(Abort.READ_TIMEOUT, mine=run)
        elif not run.running.seen and now >= first_by:
            holder.abandon(Abort.FIRST_EVENT_TIMEOUT, mine=run)
        elif now >= done_by:
            holder.abandon(Abort.READ_TIMEOUT, mine=run)
        with trio.move_on_at(max(min(due), now + _LATER_S)):
            return await run.next()
