"""What a device's session costs: a row for each turn, and some for what no turn has.

There are no tokens here. What is priced is seconds of audio, both ways together, under the name
``xiaozhi/<account>``; a rate per request is due with each turn that was answered. A server need
never begin a turn, or end it, so audio that adds up meanwhile has rows of its own; a turn's row
then is about the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import attrs

from relayd.config.pricebook import PriceBook
from relayd.config.snapshot import Key
from relayd.core.endings import Reason
from relayd.core.money import usd_of
from relayd.dialect.meter import Charge, Receipt, Refuse
from relayd.dialect.xiaozhi_usage import TurnEnd, TurnReport, UsageMeter
from relayd.ledger.costs import time_cost
from relayd.ledger.rows import Row
from relayd.observe.bus import SessionFacts
from relayd.session.books import LEDGER_UNAVAILABLE, NOT_PRICED, Books, Leave, stay, unheard
from relayd.session.entries import Entry, milliseconds, row_of
from relayd.session.limits import Hold
from relayd.session.xiaozhi.admission import price_name
from relayd.session.xiaozhi.allowance import DeviceUse, unlimited

SOURCE: Final = "device"

AUDIO_MAX_S: Final = 60.0
"""Seconds of audio, both ways together, that are not paid for before a row is written."""

LOOK_EVERY_S: Final = 20.0
"""How often audio is looked at: nothing is woken by it."""

_REASONS: Final = {
    TurnEnd.DONE: "completed",
    TurnEnd.ABORTED: "cancelled",
    TurnEnd.LOST: "failed",
}


def reason_of(report: TurnReport, ending: str) -> str:
    """How a turn ended, in the words of all dialects; ``ending`` is the session's, if it has."""
    return _REASONS.get(report.ended_by, ending)


@attrs.define(eq=False, kw_only=True)
class DeviceMeter:
    """The account of one session (:class:`~relayd.session.reporter.Account`).

    Attributes:
        usage: What was used, as the dialect counts it.
        facts: Whose session it is, at the account of now.
        use: What is counted of the device itself.
        hello_ms: From the device's hello to the server's, once it is known.
        leave: Ends the session when no turn runs any more; set by the session.
        charged: Hears of each row.
    """

    books: Books
    key: Key
    prices: PriceBook
    tag: str | None
    usage: UsageMeter
    facts: SessionFacts
    use: DeviceUse
    hello_ms: float | None = None
    leave: Leave = stay
    charged: Callable[[Row], None] = unheard
    tokens_in: int = attrs.field(default=0, init=False)
    tokens_out: int = attrs.field(default=0, init=False)
    _cost_nano: int = attrs.field(default=0, init=False)
    _unpriced: bool = attrs.field(default=False, init=False)
    _hold: Hold | None = attrs.field(default=None, init=False)
    _audio_rows: int = attrs.field(default=0, init=False)
    _paid_s: float = attrs.field(default=0.0, init=False)
    """Of the audio that no turn has reported yet."""
    _look_at: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.use.exceeded = self.too_fast

    @property
    def cost_usd(self) -> Decimal | None:
        """See :class:`~relayd.session.reporter.Account`."""
        return None if self._unpriced else usd_of(self._cost_nano)

    def opened(self, now: float) -> None:
        """See :class:`~relayd.session.reporter.Account`: a device costs nothing by being here."""

    def look(self, now: float) -> float:
        """See :class:`~relayd.session.reporter.Account`: audio beside turns, a minute at a time."""
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            if self._unpaid_s() >= AUDIO_MAX_S:
                self.settle("running")
        return self._look_at

    def turn_begun(self) -> None:
        """A turn runs. Servers begin them, so what does not fit ends the session behind it."""
        if not self.books.ledger.accepts_turns:
            self.leave(Reason.OVERLOAD, LEDGER_UNAVAILABLE)
        self.use.turn_begun()
        limits = self.books.limits
        if self._hold is None and limits.needs_asking(self.key):
            self._hold = limits.begin_turn(self.key, 0, self.exhausted, self.too_fast)

    def turn_ended(self, report: TurnReport, reason: str) -> Charge:
        """A turn is over; ``reason`` says how, see :func:`reason_of`."""
        first = report.first_audio_s
        entry = Entry(
            entry=f"turn:{report.number}",
            source=SOURCE,
            ended_at=self.books.wall(),
            upstream_model=price_name(self.facts.account),
            reason=reason,
            seconds=round(max(report.audio_in_s + report.audio_out_s - self._paid_s, 0.0), 3),
            ttft_ms=None if first is None else milliseconds(first),
            duration_ms=milliseconds(report.ended_at - report.started_at),
            audio_in_s=round(report.audio_in_s, 3),
            audio_out_s=round(report.audio_out_s, 3),
            hello_ms=self.hello_ms,
            stt_ms=None if report.stt_s is None else milliseconds(report.stt_s),
        )
        self._paid_s = 0.0
        hold, self._hold = self._hold, None
        return self._put(entry, hold, is_request=report.ended_by is TurnEnd.DONE)

    def ended(self, reason: str, now: float) -> Receipt | None:
        """See :class:`~relayd.session.reporter.Account`: the row is of audio of no turn."""
        receipt = self.settle(reason)
        if self._hold is not None:
            self._hold.void()
            self._hold = None
        self.leave, self.charged = stay, unheard  # those refer to this
        self.use.exceeded = unlimited
        return receipt

    def exhausted(self, refuse: Refuse) -> None:
        """The key's budget is used up."""
        self.leave(Reason.BUDGET_EXHAUSTED, refuse)

    def too_fast(self, refuse: Refuse) -> None:
        """The key, or the device, has had more than it may in its time."""
        self.leave(Reason.POLICY, refuse)

    def _unpaid_s(self) -> float:
        """Seconds of audio that no row has."""
        totals = self.usage.totals()
        return totals.unreported_in_s + totals.unreported_out_s - self._paid_s

    def settle(self, reason: str) -> Receipt | None:
        """Put a row of audio that no row has; ``None`` where there is none."""
        seconds = round(self._unpaid_s(), 3)
        if seconds <= 0:
            return None
        self._audio_rows += 1
        self._paid_s += seconds
        entry = Entry(
            entry=f"audio:{self._audio_rows}",
            source=SOURCE,
            ended_at=self.books.wall(),
            upstream_model=price_name(self.facts.account),
            reason=reason,
            seconds=seconds,
        )
        return self._put(entry, None, is_request=False).receipt

    def _put(self, entry: Entry, hold: Hold | None, *, is_request: bool) -> Charge:
        cost_nano = self._cost(entry, is_request=is_request)
        row = row_of(self.facts, self.tag, entry, None, cost_nano)
        receipt = self.books.ledger.put(row)
        self.charged(row)
        self.use.passed(entry.seconds or 0.0)
        limits = self.books.limits
        if hold is not None:
            hold.settle(cost_nano or 0, 0, entry.ended_at)
        elif limits.needs_asking(self.key):
            limits.charge(self.key, cost_nano or 0, 0, entry.ended_at, self.exhausted)
        if cost_nano is None:
            self._unpriced = True
            return Charge(usage=None, receipt=receipt)
        self._cost_nano += cost_nano
        return Charge(usage=None, cost_usd=usd_of(cost_nano), receipt=receipt)

    def _cost(self, entry: Entry, *, is_request: bool) -> int | None:
        """Nano-dollars; ``None`` without a price, which a key with a budget does not go on with."""
        model, cost_nano = entry.upstream_model, None
        assert model is not None, "each server has a name for its price"
        price = self.prices.find(model)
        if price is not None:
            factor = self.key.price_factor
            cost_nano = time_cost(entry.seconds or 0.0, price, factor, per_request=is_request)
        if cost_nano is None:
            self.books.tell_unpriced(model, self.facts.account)
            if self.key.budget_nano:
                self.leave(Reason.POLICY, NOT_PRICED)
        return cost_nano
