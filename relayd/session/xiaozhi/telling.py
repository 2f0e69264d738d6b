"""What a device's session tells the log and the bus beside what every session does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs

from relayd.dialect.meter import Charge
from relayd.dialect.xiaozhi_actions import ContextLost, Rejoined
from relayd.dialect.xiaozhi_usage import Totals, TurnReport
from relayd.observe.bus import (
    Bus,
    DeviceCommand,
    DeviceCommanded,
    DeviceContextLost,
    DeviceEnded,
    DeviceGreeted,
    DeviceRejoined,
    DeviceTurnEnded,
    SessionFacts,
    TurnEnded,
    TurnFirstOutput,
    TurnStarted,
)
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.session.entries import milliseconds
from relayd.session.turn_lines import TurnLines

log = get_logger()


@attrs.define(eq=False, kw_only=True)
class DeviceTeller:
    """One per session.

    Attributes:
        device_id: Which device.
        facts: Whose session it is, at the account of now.
        lines: Of the session's turns.
    """

    device_id: str
    bus: Bus
    facts: Callable[[], SessionFacts]
    lines: TurnLines

    def greeted(self, hello_s: float) -> None:
        """The device's hello has been answered, so long after it came."""
        self.bus.publish(DeviceGreeted(session=self.facts(), hello_ms=milliseconds(hello_s)))

    def alerted(self) -> None:
        """An operator's message has been sent to the device, to it alone or to all."""
        alert = DeviceCommand.ALERT
        event = DeviceCommanded(session=self.facts(), device_id=self.device_id, command=alert)
        self.bus.publish(event)

    def context_lost(self, step: ContextLost) -> None:
        """A server was lost, and the dialogue that it remembered."""
        facts = self.facts()
        log.warning(
            LogEvent.XIAOZHI_CONTEXT_LOST,
            session_id=facts.session_id,
            device_id=self.device_id,
            key=facts.key,
            account=facts.account,
            lost=step.lost,
            cause=step.loss.value,
            close_code=step.code,
            speaking=step.speaking,
            calls_failed=step.calls_failed,
        )
        self.bus.publish(
            DeviceContextLost(
                session=facts,
                lost=step.lost,
                cause=step.loss.value,
                close_code=step.code,
                speaking=step.speaking,
                calls_failed=step.calls_failed,
            )
        )

    def rejoined(self, step: Rejoined) -> None:
        """Another server has taken over."""
        facts, lost_ms = self.facts(), milliseconds(step.lost_s)
        log.info(
            LogEvent.XIAOZHI_REJOINED,
            session_id=facts.session_id,
            device_id=self.device_id,
            key=facts.key,
            account=facts.account,
            lost_ms=lost_ms,
            packets_dropped=step.packets_dropped,
        )
        self.bus.publish(
            DeviceRejoined(session=facts, lost_ms=lost_ms, packets_dropped=step.packets_dropped)
        )

    def turn_begun(self) -> None:
        """A turn runs."""
        self.bus.publish(TurnStarted(session=self.facts(), turn_id=None))

    def turn_ended(self, report: TurnReport, charge: Charge, reason: str) -> None:
        """A turn is over, and paid for."""
        facts, lines = self.facts(), self.lines
        lines.turns += 1
        lines.await_row(charge.receipt, partial(_write_turn, facts, report, charge, reason))
        first_ms = _ms(report.first_audio_s)
        if first_ms is not None:
            self.bus.publish(TurnFirstOutput(session=facts, turn_id=None, ttft_ms=first_ms))
        self.bus.publish(
            TurnEnded(
                session=facts,
                turn_id=None,
                reason=reason,
                ttft_ms=first_ms,
                duration_ms=milliseconds(report.ended_at - report.started_at),
                tokens_in=None,
                tokens_out=None,
                cost_usd=charge.cost_usd,
            )
        )
        self.bus.publish(
            DeviceTurnEnded(
                session=facts,
                reason=reason,
                audio_in_s=round(report.audio_in_s, 3),
                audio_out_s=round(report.audio_out_s, 3),
                stt_ms=_ms(report.stt_s),
                first_audio_ms=first_ms,
                speaking_ms=_ms(report.speaking_s),
                gaps=report.gaps_out,
                calls=report.calls,
                calls_ms=tuple(map(milliseconds, report.calls_s)),
            )
        )

    def ended(self, totals: Totals, *, hello_s: float | None, losses: int) -> None:
        """The session is over; ``losses`` is how many servers it outlived."""
        facts = self.facts()
        log.info(
            LogEvent.XIAOZHI_ENDED,
            session_id=facts.session_id,
            device_id=self.device_id,
            key=facts.key,
            account=facts.account or None,
            hello_ms=_ms(hello_s),
            losses=losses,
            turns=totals.turns,
            aborts=totals.aborts,
            calls=totals.calls,
            audio_in_s=round(totals.audio_in_s, 3),
            audio_out_s=round(totals.audio_out_s, 3),
            packets_in=totals.packets_in,
            packets_out=totals.packets_out,
            dropped_in=totals.dropped_in,
            dropped_out=totals.dropped_out,
            gaps_in=totals.gaps_in,
            gaps_out=totals.gaps_out,
        )
        self.bus.publish(
            DeviceEnded(
                session=facts,
                hello_ms=_ms(hello_s),
                losses=losses,
                turns=totals.turns,
                aborts=totals.aborts,
                calls=totals.calls,
                audio_in_s=round(totals.audio_in_s, 3),
                audio_out_s=round(totals.audio_out_s, 3),
                packets_in=totals.packets_in,
                packets_out=totals.packets_out,
                dropped_in=totals.dropped_in,
                dropped_out=totals.dropped_out,
                gaps_in=totals.gaps_in,
                gaps_out=totals.gaps_out,
            )
        )


def _write_turn(facts: SessionFacts, report: TurnReport, charge: Charge, reason: str) -> None:
    log.info(
        LogEvent.TURN_ENDED,
        session_id=facts.session_id,
        dialect=facts.dialect,
        key=facts.key,
        account=facts.account or None,
        ttft_ms=_ms(report.first_audio_s),
        duration_ms=milliseconds(report.ended_at - report.started_at),
        cost_usd=charge.cost_usd,
        reason=reason,
        tool_calls=report.calls,
        calls_ms=_ms(max(report.calls_s, default=None)),
        audio_in_s=round(report.audio_in_s, 3),
        audio_out_s=round(report.audio_out_s, 3),
        stt_ms=_ms(report.stt_s),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else milliseconds(seconds)
