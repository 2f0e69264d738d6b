"""What turns tell the world: a line in the log each, and their events on the bus.

The line of a turn is written when its row is in the ledger, or is known to be late: who reads the
line can rely on the row. The line of the session waits, but not long, for those of its turns.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import attrs
import trio

from relayd.core.money import usd_of
from relayd.dialect.meter import Charge, Receipt, Refuse, ToolCalled, Turn
from relayd.ledger.rows import Row
from relayd.observe.bus import (
    Bus,
    SessionFacts,
    SessionFailedOver,
    TurnEnded,
    TurnFirstOutput,
    TurnRefused,
    TurnStarted,
    TurnToolCalled,
    UpstreamConnected,
    UsageCharged,
)
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.session.entries import milliseconds

log = get_logger()

LAST_LINES_S: Final = 1.0
"""How long a session's last line waits for those of its turns, which wait for the ledger."""


@attrs.define(kw_only=True)
class Place:
    """Where a turn ran, in a dialect whose turns have sockets of their own.

    It is filled in as that becomes known, and is not changed once the turn has ended.

    Attributes:
        lane: The client's name for the lane; ``None`` for the default one.
        slot: The socket's number in its pool.
        generation: Which socket of that number.
        reused: Whether an earlier turn had it.
        queue_ms: How long the request waited in its lane.
        wait_ms: How long it then waited for its socket, dialling included.
        tool_calls: How many tool calls of it wait for their outputs.
        warm_up: Whether it asked for no output.
    """

    lane: str | None = None
    slot: int | None = None
    generation: int | None = None
    reused: bool | None = None
    queue_ms: float | None = None
    wait_ms: float | None = None
    tool_calls: int | None = None
    warm_up: bool | None = None


_NOWHERE: Final = Place()


@attrs.define(eq=False)
class TurnLines:
    """The turns of one session.

    Attributes:
        turns: How many have ended.
    """

    bus: Bus
    turns: int = attrs.field(default=0, init=False)
    _unwritten: int = attrs.field(default=0, init=False)
    _all_written: trio.Event | None = attrs.field(default=None, init=False)

    def started(self, facts: SessionFacts, turn_id: str | None) -> None:
        """A response began."""
        self.bus.publish(TurnStarted(session=facts, turn_id=turn_id))

    def first_output(
        self, facts: SessionFacts, turn_id: str | None, asked_at: float, now: float
    ) -> None:
        """The first output of a response passed, which was asked for at ``asked_at``."""
        ttft_ms = milliseconds(now - asked_at)
        self.bus.publish(TurnFirstOutput(session=facts, turn_id=turn_id, ttft_ms=ttft_ms))

    def tool_called(self, facts: SessionFacts, turn_id: str | None, call: ToolCalled) -> None:
        """A response calls a tool of its client's."""
        self.bus.publish(
            TurnToolCalled(session=facts, turn_id=turn_id, name=call.name, call_id=call.call_id)
        )

    def connected(self, facts: SessionFacts, wait_ms: float) -> None:
        """A socket was opened for a turn, which waited so long for it."""
        self.bus.publish(UpstreamConnected(session=facts, wait_ms=wait_ms))

    def failed_over(self, facts: SessionFacts, account_from: str, reason: str) -> None:
        """A turn goes to the account of ``facts``, since another one has failed."""
        self.bus.publish(SessionFailedOver(session=facts, account_from=account_from, reason=reason))

    def ended(
        self, facts: SessionFacts, turn: Turn, charge: Charge, place: Place = _NOWHERE
    ) -> None:
        """A response is over."""
        self.turns += 1
        usage, first = charge.usage, turn.first_output_at
        ttft_ms = None if first is None else milliseconds(first - turn.asked_at)
        duration_ms = milliseconds(turn.ended_at - turn.asked_at)
        self.await_row(
            charge.receipt, partial(_write, facts, turn, charge, ttft_ms, duration_ms, place)
        )
        self.bus.publish(
            TurnEnded(
                session=facts,
                turn_id=turn.turn_id,
                reason=turn.reason,
                ttft_ms=ttft_ms,
                duration_ms=duration_ms,
                tokens_in=None if usage is None else usage.input_total,
                tokens_out=None if usage is None else usage.output_total,
                cost_usd=charge.cost_usd,
            )
        )

    def refused(self, facts: SessionFacts, refuse: Refuse) -> None:
        """The meter stood against a turn."""
        self.bus.publish(TurnRefused(session=facts, reason=refuse.code))

    def charged(self, facts: SessionFacts, row: Row) -> None:
        """The meter wrote down that something was used."""
        self.bus.publish(
            UsageCharged(
                session=facts,
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

    def await_row(self, receipt: Receipt | None, write: partial[None] | None = None) -> None:
        """Have ``write`` called once the row of ``receipt`` is written, or is known to be late."""
        self._unwritten += 1
        tell = partial(self._written, write)
        if receipt is None:
            tell()
        else:
            receipt.then(tell)

    async def settled(self) -> None:
        """Wait until every row is written, but not long. Cancelling it is fine."""
        if self._unwritten:
            self._all_written = trio.Event()
            with trio.move_on_after(LAST_LINES_S):
                await self._all_written.wait()

    def _written(self, write: partial[None] | None) -> None:
        if write is not None:
            write()
        self._unwritten -= 1
        if self._all_written is not None and not self._unwritten:
            self._all_written.set()


def _write(
    facts: SessionFacts,
    turn: Turn,
    charge: Charge,
    ttft_ms: float | None,
    duration_ms: float,
    place: Place,
) -> None:
    usage = charge.usage
    log.info(
        LogEvent.TURN_ENDED,
        session_id=facts.session_id,
        turn_id=turn.turn_id,
        dialect=facts.dialect,
        key=facts.key,
        account=facts.account or None,
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
        lane=place.lane,
        slot=place.slot,
        generation=place.generation,
        reused=place.reused,
        queue_ms=place.queue_ms,
        wait_ms=place.wait_ms,
        tool_calls=place.tool_calls,
        warm_up=place.warm_up,
    )
