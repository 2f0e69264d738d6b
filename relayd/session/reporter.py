"""What one session tells the world: its lines in the log, its events on the bus, its account."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import attrs
import msgspec
import trio

from relayd.core.money import usd_of
from relayd.dialect.meter import Charge, Meter, Refuse, Turn, UpstreamError
from relayd.ledger.rows import Row
from relayd.observe.bus import (
    AccountFailed,
    Bus,
    SessionEnded,
    SessionFacts,
    SessionOpened,
    TurnEnded,
    TurnRefused,
    TurnStarted,
    UsageCharged,
)
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.protocol.flow import Flow
from relayd.routing.classify import Failure, FailureKind, from_error_event
from relayd.session.closing import Closed
from relayd.session.entries import milliseconds
from relayd.session.verdict import Verdict

log = get_logger()

LAST_LINES_S: Final = 1.0
"""How long a session's last line waits for those of its turns, which wait for the ledger."""

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
    """

    accepted_at: float
    started_at: float
    connect_ms: float
    first_frame_ms: float | None

    @property
    def admission_ms(self) -> float:
        """From the accepted connection to the 101."""
        return (self.started_at - self.accepted_at) * 1000


@attrs.define(eq=False, kw_only=True)
class Reporter:
    """A :class:`~relayd.dialect.meter.Listener` that writes lines and publishes events.

    Attributes:
        facts: Who and where.
        account_failed: Told of an error that concerns the account.
        look_in: Told when a turn begins, so that its time runs; set by the session.
        turns: How many have ended.

    The line of a turn is written when its row is in the ledger, or is known to be late: who reads
    the line can rely on the row. the line of the session waits for those of its turns.
    """

    facts: SessionFacts
    bus: Bus
    meter: Meter
    timing: Timing
    account_failed: Callable[[Failure, float], None]
    look_in: Callable[[float], None] = lambda now: None
    turns: int = attrs.field(default=0, init=False)
    _unwritten: int = attrs.field(default=0, init=False)
    _all_written: trio.Event | None = attrs.field(default=None, init=False)

    def opened(self) -> None:
        """The 101 was written."""
        self.meter.opened(self.timing.started_at)
        self.bus.publish(
            SessionOpened(
                session=self.facts,
                admission_ms=self.timing.admission_ms,
                connect_ms=self.timing.connect_ms,
                first_frame_ms=self.timing.first_frame_ms,
            )
        )

    # -- the listener, inside the pass

    def turn_asked(self, now: float) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        self.look_in(now)

    def turn_started(self, turn_id: str | None, now: float) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        self.look_in(now)
        self.bus.publish(TurnStarted(session=self.facts, turn_id=turn_id))

    def turn_ended(self, turn: Turn, charge: Charge) -> None:
        """See :class:`~relayd.dialect.meter.Listener`."""
        self.turns += 1
        usage, first = charge.usage, turn.first_output_at
        ttft_ms = None if first is None else milliseconds(first - turn.asked_at)
        duration_ms = milliseconds(turn.ended_at - turn.asked_at)
        self._unwritten += 1
        write = partial(self._write_turn, turn, charge, ttft_ms, duration_ms)
        if charge.receipt is None:
            write()
        else:
            charge.receipt.then(write)
        self.bus.publish(
            TurnEnded(
                session=self.facts,
                turn_id=turn.turn_id,
                reason=turn.reason,
                ttft_ms=ttft_ms,
                duration_ms=duration_ms,
                tokens_in=None if usage is None else usage.input_total,
                tokens_out=None if usage is None else usage.output_total,
                cost_usd=charge.cost_usd,
            )
        )

    def _write_turn(
        self, turn: Turn, charge: Charge, ttft_ms: float | None, duration_ms: float
    ) -> None:
        facts, usage = self.facts, charge.usage
        log.info(
            LogEvent.TURN_ENDED,
            session_id=facts.session_id,
            turn_id=turn.turn_id,
            dialect=facts.dialect,
            key=facts.key,
            account=facts.account,
            model=facts.model,
            ttft_ms=ttft_ms,
            duration_ms=duration_ms,
            tokens_in=usage and usage.input_total,
            tokens_out=usage and usage.output_total,
            tokens_in_text=usage and usage.input_text,
            tokens_in_audio=usage and usage.input_audio,
            tokens_in_image=usage and usage.input_image,
            tokens_in_cached=usage and usage.cached_total,
            tokens_out_text=usage and usage.output_text,
            tokens_out_audio=usage and usage.output_audio,
            estimated=usage and usage.estimated,
            cost_usd=charge.cost_usd,
            reason=turn.reason,
        )
        self._written()

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
        self.bus.publish(TurnRefused(session=self.facts, reason=refuse.code))

    def charged(self, row: Row) -> None:
        """The meter wrote down that something was used."""
        self.bus.publish(
            UsageCharged(
                session=self.facts,
                source=row.source,
                upstream_model=row.upstream_model,
                tokens_in=row.tokens_in,
                tokens_out=row.tokens_out,
                tokens_in_text=row.tokens_in_text,
                tokens_in_audio=row.tokens_in_audio,
                tokens_in_image=row.tokens_in_image,
                tokens_in_cached_text=row.tokens_in_cached_text,
                tokens_in_cached_audio=row.tokens_in_cached_audio,
                tokens_in_cached_image=row.tokens_in_cached_image,
                tokens_out_text=row.tokens_out_text,
                tokens_out_audio=row.tokens_out_audio,
                cost_usd=None if row.cost_nano is None else usd_of(row.cost_nano),
            )
        )

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
            self._unwritten += 1
            receipt.then(self._written)
        if self._unwritten:
            self._all_written = trio.Event()
            with trio.move_on_after(LAST_LINES_S):
                await self._all_written.wait()

    def _written(self) -> None:
        self._unwritten -= 1
        if self._all_written is not None and not self._unwritten:
            self._all_written.set()

    def ended(self, verdict: Verdict, closed: Closed, up: Flow, down: Flow) -> None:
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
            account=facts.account,
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
