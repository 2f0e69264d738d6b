"""What the log is told of the ledger: a fault at once, and while it goes on now and then."""

from __future__ import annotations

import math
from typing import Final

import attrs

from relayd.ledger.errors import LedgerError
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger

log = get_logger()

EVERY_S: Final = 30.0
"""The least time between two lines of a fault, or of a loss, that goes on."""


@attrs.define(eq=False)
class Notices:
    """The lines of one ledger. ``now`` is always Trio's time.

    Attributes:
        failing_since: When commits began to fail; ``None`` while they succeed.
    """

    failing_since: float | None = attrs.field(default=None, init=False)
    _failure_told_at: float = attrs.field(default=-math.inf, init=False)
    _loss_told_at: float = attrs.field(default=-math.inf, init=False)
    _loss_message: str = attrs.field(default="", init=False)
    _losses_untold: int = attrs.field(default=0, init=False)

    def committed(self, rows: int, pending: int, started_at: float, now: float) -> None:
        """``rows`` were written, ``pending`` go on waiting."""
        if self.failing_since is not None:
            duration_s = round(now - self.failing_since, 3)
            self.failing_since, self._failure_told_at = None, -math.inf
            log.info(LogEvent.LEDGER_RECOVERED, rows=rows + pending, duration_s=duration_s)
        duration_ms = round((now - started_at) * 1000, 3)
        log.debug(LogEvent.LEDGER_COMMITTED, rows=rows, pending=pending, duration_ms=duration_ms)
        self._tell_losses(now)

    def failed(self, error: LedgerError, pending: int, now: float) -> None:
        """A commit failed."""
        if self.failing_since is None:
            self.failing_since = now
        if now >= self._failure_told_at + EVERY_S:
            self._failure_told_at = now
            log.error(LogEvent.LEDGER_FAILED, message=str(error), pending=pending)
        self._tell_losses(now)

    def lost(self, rows: int, message: str, now: float) -> None:
        """``rows`` were dropped."""
        self._losses_untold += rows
        self._loss_message = message
        self._tell_losses(now)

    def ended(self, now: float) -> None:
        """Say what has not been said yet."""
        self._loss_told_at = -math.inf
        self._tell_losses(now)

    def _tell_losses(self, now: float) -> None:
        if not self._losses_untold or now < self._loss_told_at + EVERY_S:
            return
        self._loss_told_at = now
        log.error(LogEvent.LEDGER_LOST, rows=self._losses_untold, message=self._loss_message)
        self._losses_untold = 0
