"""Turns as they begin and end: paid for, written down and told, once each."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.core.endings import Reason
from relayd.dialect.xiaozhi_actions import ContextLost
from relayd.dialect.xiaozhi_state import Machine
from relayd.dialect.xiaozhi_usage import TurnReport
from relayd.session.entries import milliseconds
from relayd.session.reporter import Reporter
from relayd.session.verdict import Verdict
from relayd.session.xiaozhi.metering import DeviceMeter, reason_of
from relayd.session.xiaozhi.telling import DeviceTeller

_LOST: Final = "failed"
"""How audio of no turn ended whose server was lost, in the words of all dialects."""


@attrs.define(eq=False, kw_only=True)
class Reckoning:
    """One per session.

    Attributes:
        machine: Counts what is used.
        meter: What turns are charged to.
        teller: Tells of them.
        reporter: Of the session; knows the account of now.
        verdict: Why a turn was cut, once the session is over.
    """

    machine: Machine
    meter: DeviceMeter
    teller: DeviceTeller
    reporter: Reporter
    verdict: Verdict
    _runs: bool = attrs.field(default=False, init=False)
    _greeted: bool = attrs.field(default=False, init=False)

    def connected(self, account_name: str, connect_ms: float) -> None:
        """What comes from now on is used at another account."""
        reporter = self.reporter
        reporter.facts = attrs.evolve(reporter.facts, account=account_name)
        reporter.timing = attrs.evolve(reporter.timing, connect_ms=connect_ms)
        self.meter.facts = reporter.facts

    def server_lost(self, step: ContextLost) -> None:
        """What was used at the account of now is charged to it, before another one is.

        That is also what the device has said and nobody has understood: no other server hears it.
        """
        self.look()
        self.meter.settle(_LOST)
        self.teller.context_lost(step)

    def look(self) -> None:
        """Tell of turns that have begun or ended, and of the hello once it is answered."""
        hello_s, usage = self.machine.hello_s, self.machine.conversation.usage
        if hello_s is not None and not self._greeted:
            self._greeted = True
            timing = attrs.evolve(self.reporter.timing, first_frame_ms=hello_s * 1000)
            self.reporter.timing = timing
            self.teller.greeted(hello_s)
            self.meter.hello_ms = milliseconds(hello_s)
        for report in usage.reports:
            self._begin()
            self._end(report)
        usage.reports.clear()
        if usage.turn_runs:
            self._begin()

    def ended(self) -> None:
        """The session's line is written: what it came to as a whole."""
        machine = self.machine
        totals = machine.conversation.usage.totals()
        self.teller.ended(totals, hello_s=machine.hello_s, losses=machine.losses)

    def _begin(self) -> None:
        if not self._runs:
            self._runs = True
            self.meter.turn_begun()
            self.teller.turn_begun()

    def _end(self, report: TurnReport) -> None:
        self._runs = False
        ending = self.verdict.reason or Reason.UPSTREAM_CLOSED
        reason = reason_of(report, ending.value)
        charge = self.meter.turn_ended(report, reason)
        self.teller.turn_ended(report, charge, reason)
