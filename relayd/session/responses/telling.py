"""What is told of a request while it is answered: where it runs, when it begins, what it calls."""

from __future__ import annotations

import attrs

from relayd.config.snapshot import Account
from relayd.dialect.meter import ToolCalled
from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_turns import Running
from relayd.session.entries import milliseconds
from relayd.session.responses.accounting import Bill
from relayd.session.responses.holder import Run
from relayd.session.turn_lines import TurnLines

TEXT_MAX_CHARS = 128
"""Of a tool's name, and of the id of a call."""


@attrs.define(eq=False)
class Telling:
    """A :class:`~relayd.dialect.responses_turns.Witness` of the responses to one request."""

    _bill: Bill
    _lines: TurnLines

    def moved(self, account: Account, why: Abort) -> None:
        """The request is tried again, at ``account``."""
        before = self._bill.facts.account
        self._bill.moved(account)
        if account.name != before:
            self._lines.failed_over(self._bill.facts, before, why.value)

    def placed(self, run: Run, waited_s: float) -> None:
        """It runs; its socket was waited for so long, dialling included."""
        lease, place = run.holder.lease, self._bill.place
        place.slot, place.generation = lease.slot, lease.generation
        place.reused, place.wait_ms = run.reused, milliseconds(waited_s)
        if lease.dial_s is not None and not run.reused:
            self._lines.connected(self._bill.facts, place.wait_ms)

    # -- inside the pass

    def began(self, running: Running, now: float) -> None:
        """See :class:`~relayd.dialect.responses_turns.Witness`."""
        self._lines.started(self._bill.facts, running.response_id)

    def first_output(self, running: Running, now: float) -> None:
        """Likewise."""
        asked_at = self._bill.asked_at
        if running.is_successor and running.created_at is not None:
            asked_at = running.created_at  # nobody asked for it
        self._lines.first_output(self._bill.facts, running.response_id, asked_at, now)

    def tool_called(self, running: Running, name: str | None, call_id: str) -> None:
        """Likewise."""
        name = None if name is None else name[:TEXT_MAX_CHARS]
        call = ToolCalled(name, call_id[:TEXT_MAX_CHARS])
        self._lines.tool_called(self._bill.facts, running.response_id, call)
