"""What one session tells the world: its lines in the log, its events on the bus, its account."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

import attrs
import msgspec
import trio

from relayd.dialect.meter import Charge, Receipt, Refuse, ToolCalled, Turn, UpstreamError
from relayd.ledger.rows import Row
from relayd.observe.bus import (
    AccountFailed,
    Bus,
    SessionEnded,
    SessionFacts,
    SessionOpened,
    UpstreamConnected,
)
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.protocol.outcomes import Counts
from relayd.routing.classify import Failure, FailureKind, from_error_event
from relayd.session.closing import Closed
from relayd.session.turn_lines import TurnLines
from relayd.session.verdict import Verdict

log = get_logger()

_TELLING = (FailureKind.FATAL, FailureKind.RATE_LIMITED)
"""Errors in the middle of a session that say something about the account, not about the client."""


@attrs.frozen(kw_only=True)
class Timing:
    """How long it took to get here.

    Attributes:
        accepted_at: When the client's connection was accepted, by ``trio.current_time()``.
        started_at: When the 101 was written, likewise.
        connect_ms: Dialling the chosen upstream, its handshake included.
        first_frame_ms: From the upstream's 101 to its first message, where one is waited for.
        wait_ms: How long the session has waited for its upstream; ``None`` where it has none.
    """

    accepted_at: float
    started_at: float
    connect_ms: float
    first_frame_ms: float | None
    wait_ms: float | None = None

    @property
    def admission_ms(self) -> float:
        """From the accepted connection to the 101."""
        return (self.started_at - self.accepted_at) * 1000


class Account(Protocol):
    """What a session comes to, as its last line says it."""

    @property
    def tokens_in(self) -> int:
        """Input tokens so far."""

    @property
    def tokens_out(self) -> int:
        """Output tokens so far."""

    @property
    def cost_usd(self) -> Decimal | None:
        """The cost so far; ``None`` once something in it had no price."""

    def opened(self, now: float) -> None:
        """The session begins."""

    def look(self, now: float) -> float:
        """Do what time brings; returns when to be called again."""

    def ended(self, reason: str, now: float) -> Receipt | None:
        """The session is over; the receipt is of a last row, if it has one."""


@attrs.define(eq=False, kw_only=True)
class Reporter:
    """A :class:`~relayd.dialect.meter.Listener` that writes lines and publishes events.

    Attributes:
        facts: Who and where.
        account_failed: Told of an error that concerns the account.
        look_in: Told when a turn begins, so that its time runs; set by the session.
        lines: Those of its turns.
    """

    facts: SessionFacts
    bus: Bus
    meter: Account
    timing: Timing
    account_failed: Callable[[Failure, float], None]
    look_in: Callable[[float], None] = lambda now: None
    lines: TurnLines = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.lines = TurnLines(self.bus)

    @property
    def turns(self) -> int:
        """How many have ended."""
        return self.lines.turns

    def opened(self) -> None:
        """The 101 was written. The upstream came before it, but who hears of it knows none yet."""
        self.meter.opened(self.timing.started_at)
        self.bus.publish(
            SessionOpened(
                session=self.facts,
                admission_ms=self.timing.admission_ms,
                connect_ms=self.timing.connect_ms,
                first_frame_ms=self.timing.first_frame_ms,
            )
        )
        if self.timing.wait_ms is not None:
            self.bus.publish(UpstreamConnected(session=self.facts, wait_ms=self.timing.wait_ms))

    # -- the listener, inside the pass

    def turn_asked(self, now: float) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        self.look_in(now)

    def turn_started(self, turn_id: str | None, now: float) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        self.look_in(now)
        self.lines.started(self.facts, turn_id)

    def turn_first_output(self, turn_id: str | None, asked_at: float, now: float) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        self.lines.first_output(self.facts, turn_id, asked_at, now)

    def tool_called(self, turn_id: str | None, call: ToolCalled) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        self.lines.tool_called(self.facts, turn_id, call)

    def turn_ended(self, turn: Turn, charge: Charge) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        self.lines.ended(self.facts, turn, charge)

    def upstream_error(self, error: UpstreamError, now: float) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        said = {"type": error.kind, "code": error.code, "message": error.message}
        failure = from_error_event(msgspec.json.encode({"type": "error", "error": said}))
        if failure.kind in _TELLING:
            self._account_failed(failure, now)

    def upstream_limited(self, retry_after_s: float, now: float) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        message = "rate_limits.updated left nothing"
        self._account_failed(
            Failure(FailureKind.RATE_LIMITED, "rate_limits_updated", message, retry_after_s), now
        )

    def _account_failed(self, failure: Failure, now: float) -> None:
        facts = self.facts
        self.bus.publish(
            AccountFailed(account=facts.account, dialect=facts.dialect, reason=failure.code)
        )
        self.account_failed(failure, now)

    # -- what the meter tells, inside the pass too

    def turn_refused(self, refuse: Refuse) -> None:
        """The meter stood against a turn."""
        self.lines.refused(self.facts, refuse)

    def charged(self, row: Row) -> None:
        """The meter wrote down that something was used."""
        self.lines.charged(self.facts, row)

    # -- the end

    def crashed(self, error: BaseException) -> None:
        """A bug ended this session."""
        log.error(
            LogEvent.SESSION_CRASHED,
            session_id=self.facts.session_id,
            dialect=self.facts.dialect,
            traceback=error,
        )

    async def settled(self, reason: str) -> None:
        """Charge what is left, and wait, but not long, until every row is written.

        Cancelling it is fine.
        """
        receipt = self.meter.ended(reason, trio.current_time())
        if receipt is not None:
            self.lines.await_row(receipt)
        await self.lines.settled()

    def ended(self, verdict: Verdict, closed: Closed, up: Counts, down: Counts) -> None:
        """Both connections are closed: write the canonical line."""
        now = trio.current_time()
        facts, timing = self.facts, self.timing
        assert verdict.reason is not None
        reason, fault = verdict.reason.value, verdict.ending.fault.value
        duration_s = round(now - timing.started_at, 3)
        log.info(
            LogEvent.SESSION_ENDED,
            session_id=facts.session_id,
            dialect=facts.dialect,
            key=facts.key,
            account=facts.account or None,
            model=facts.model,
            reason=reason,
            fault=fault,
            client_close=closed.client,
            upstream_close=closed.upstream,
            duration_s=duration_s,
            admission_ms=round(timing.admission_ms, 1),
            connect_ms=round(timing.connect_ms, 1),
            first_frame_ms=timing.first_frame_ms and round(timing.first_frame_ms, 1),
            turns=self.turns,
            messages_up=up.messages,
            messages_down=down.messages,
            bytes_up=up.bytes,
            bytes_down=down.bytes,
            tokens_in=self.meter.tokens_in,
            tokens_out=self.meter.tokens_out,
            cost_usd=self.meter.cost_usd,
        )
        self.bus.publish(
            SessionEnded(
                session=facts,
                reason=reason,
                fault=fault,
                duration_s=duration_s,
                turns=self.turns,
                messages_up=up.messages,
                messages_down=down.messages,
                bytes_up=up.bytes,
                bytes_down=down.bytes,
                tokens_in=self.meter.tokens_in,
                tokens_out=self.meter.tokens_out,
                cost_usd=self.meter.cost_usd,
            )
        )
