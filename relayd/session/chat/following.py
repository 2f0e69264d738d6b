"""An answer on its way: its pieces go on as they come, for as long as they come in time.

A deadline for each wait would cost as much as all else that a chunk takes. So one scope stands
around all of them, and its time is set anew only when it is over while the answer is not late.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from relayd.dialect.behind import Fault, Faulted, Finished, Piece
from relayd.session.chat import verdicts
from relayd.session.chat.handover import Handover, Said
from relayd.session.chat.talk import Talk


@attrs.define(eq=False, kw_only=True)
class Following:
    """One answer whose first words have come.

    Attributes:
        talk: Where it comes from.
        handover: Where it goes.
        idle_s: How long its upstream may be silent; what its client takes to read does not count.
        total_by: When it has to have ended, by ``trio.current_time()``. A client that reads slowly
            does not make it longer; what is whole by then waits for it.
        reckon: Hears of each further piece.
    """

    talk: Talk
    handover: Handover
    idle_s: float
    total_by: float
    reckon: Callable[[Piece], None]
    _unsaid: Said = attrs.field(default=(), init=False)  # else its upstream is waited for
    _waits_since: float = attrs.field(default=0.0, init=False)

    async def to_end(self, first: Said) -> Fault | None:
        """Hand on ``first`` and all that follows; ``None``: the answer is whole, and handed on.

        Cancelling it hands on each batch of pieces as a whole, or not at all.
        """
        self._unsaid, self._waits_since = first, trio.current_time()
        while True:
            now = trio.current_time()
            since = now if self._unsaid else self._waits_since
            with trio.move_on_at(min(since + self.idle_s, self.total_by)) as waiting:
                fault = await self._go_on()
                break
            assert waiting.cancelled_caught, "it has broken off or returned"
            fault = self._overdue(trio.current_time())
            if fault is not None:
                return fault
        if fault is None:
            return await self.handover.pass_on(self._unsaid)
        return fault

    async def _go_on(self) -> Fault | None:
        """To the fault that ends it, or ``None``: the last pieces of a whole answer are unsaid."""
        while True:
            if self._unsaid:
                last = self._unsaid[-1]
                if isinstance(last, Finished):
                    return None
                fault = await self.handover.pass_on(self._unsaid)
                self._unsaid, self._waits_since = (), trio.current_time()
                if isinstance(last, Faulted):
                    return last.fault
                if fault is not None:
                    return fault
            if self._waits_since >= self.total_by:  # pieces that wait are had without waiting
                return self._late(verdicts.ENDLESS)
            self._unsaid = await self.talk.pieces()
            if not self._unsaid:  # frames came that say nothing
                self._waits_since = trio.current_time()
            for piece in self._unsaid:
                self.reckon(piece)

    def _overdue(self, now: float) -> Fault | None:
        """What is late, if anything is."""
        if self._unsaid:
            return verdicts.CLIENT_SLOW if now >= self.total_by else None
        if now >= self.total_by:
            return self._late(verdicts.ENDLESS)
        if now >= self._waits_since + self.idle_s:
            return self._late(verdicts.STOPPED)
        return None

    def _late(self, verdict: Fault) -> Fault:
        fault = attrs.evolve(verdict, upstream_id=self.talk.upstream_id)
        self.reckon(Faulted(fault))
        return fault
