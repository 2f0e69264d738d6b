"""The meter of one session: it prices what was used, writes it down, and asks the limits.

Every response, every transcription and, where a model is billed by time, every minute becomes one
row of the ledger. The row is put before the limits hear of its cost, so that a budget which is
counted from the ledger and one that is counted along agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import attrs

from relayd.config.pricebook import Price, PriceBook
from relayd.config.providers import Dialect
from relayd.config.snapshot import Key
from relayd.core.endings import Reason
from relayd.core.money import usd_of
from relayd.dialect.meter import Charge, Receipt, Refuse, Ticket, Turn, TurnAsk, Usage, Wait
from relayd.ledger.costs import cost_of, known_cost, reserve_for, time_cost
from relayd.ledger.rows import Row
from relayd.observe.bus import SessionFacts
from relayd.observe.logs import get_logger
from relayd.session.books import (
    LEDGER_UNAVAILABLE,
    NOT_PRICED,
    Books,
    Leave,
    stay,
    unheard,
)
from relayd.session.entries import Entry, row_of
from relayd.session.limits import INSUFFICIENT_QUOTA, Hold

log = get_logger()

SLICE_S: Final = 60.0
"""A session that is billed by time is billed this often: what a crash can lose of it."""

UNKNOWN: Final = "(unknown)"
"""How a model is called that nobody has named."""

ID_MAX_CHARS: Final = 256
"""How much of an upstream's id is kept."""


@attrs.define(eq=False, kw_only=True)
class SessionMeter:
    """A :class:`~relayd.dialect.meter.Meter` over the ledger and the limits.

    Attributes:
        upstream_model: The account's name for what the client asked for; what is priced.
        tag: The client's word for what it does.
        leave: Ends the session when no response runs any more; set by the session.
        charged: Hears of each row.
        refused: Hears of each turn that is not allowed.
        tokens_in: Input tokens so far.
        tokens_out: Output tokens so far.
    """

    books: Books
    facts: SessionFacts
    key: Key
    prices: PriceBook
    upstream_model: str | None
    tag: str | None = None
    leave: Leave = stay
    charged: Callable[[Row], None] = unheard
    refused: Callable[[Refuse], None] = unheard
    tokens_in: int = attrs.field(default=0, init=False)
    tokens_out: int = attrs.field(default=0, init=False)
    _cost_nano: int = attrs.field(default=0, init=False)
    _unpriced: bool = attrs.field(default=False, init=False)
    _price: Price | None = attrs.field(default=None, init=False)
    _told_model: str | None = attrs.field(default=None, init=False)
    _transcription_model: str | None = attrs.field(default=None, init=False)
    _transcriptions: int = attrs.field(default=0, init=False)
    _slices: int = attrs.field(default=0, init=False)
    _billed_to: float = attrs.field(default=math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        if self.upstream_model is not None:
            self._price = self.prices.find(self.upstream_model)

    @property
    def cost_usd(self) -> Decimal | None:
        """See :class:`~relayd.dialect.meter.Meter`."""
        return None if self._unpriced else usd_of(self._cost_nano)

    def opened(self, now: float) -> None:
        """See :class:`~relayd.dialect.meter.Meter`."""
        self._billed_to = now
        if self._price is not None and self._price.per_request and self._is_one_request:
            self._bill_time(0.0, "running")

    def told(self, model: str | None, transcription_model: str | None) -> None:
        """See :class:`~relayd.dialect.meter.Meter`.

        What the operator has priced counts. The upstream's own word does where that has no price,
        and where the session's model is changed later: a longer name for an alias is no change.
        """
        self._transcription_model = transcription_model
        changed = self._told_model is not None and model != self._told_model
        self._told_model = model
        if model is not None and (self._price is None or changed):
            price = self.prices.find(model)
            if changed or price is not None or self.upstream_model is None:
                self.upstream_model, self._price = model, price
        unpriced = model is not None and self._price is None and bool(self.key.budget_nano)
        if unpriced or not (transcription_model is None or self.may_use(transcription_model)):
            self.leave(Reason.POLICY, NOT_PRICED)

    def moved(self, facts: SessionFacts, upstream_model: str) -> None:
        """The turn goes to another account than was thought; what is set aside stays."""
        self.facts, self.upstream_model = facts, upstream_model
        self._price = self.prices.find(upstream_model)

    def may_use(self, model: str) -> bool:
        """Whether a session of this key may use ``model``: under a budget it needs a price."""
        return not self.key.budget_nano or self._price_of(model) is not None

    # -- turns

    def turn_asked(self, ask: TurnAsk) -> Ticket | Refuse | Wait:
        """See :class:`~relayd.dialect.meter.Meter`."""
        answer = self._answer(ask)
        if isinstance(answer, Refuse):
            self.refused(answer)
        return answer

    def _answer(self, ask: TurnAsk) -> Ticket | Refuse | Wait:
        if not self.books.ledger.accepts_turns:
            return LEDGER_UNAVAILABLE
        if self.key.budget_nano and self._price is None:
            return NOT_PRICED
        if not self.books.limits.needs_asking(self.key):
            return _Ticket(self)
        return Wait(_Asking(self, self._reserve(ask)))

    def turn_begun(self, ask: TurnAsk) -> Ticket:
        """See :class:`~relayd.dialect.meter.Meter`. What does not fit ends the session after it."""
        limits = self.books.limits
        if not self.books.ledger.accepts_turns:
            self.leave(Reason.OVERLOAD, LEDGER_UNAVAILABLE)
        if not limits.needs_asking(self.key):
            return _Ticket(self)
        reserve_nano = self._reserve(ask)
        hold = limits.begin_turn(self.key, reserve_nano, self.exhausted)
        return _Ticket(self, hold, reserve_nano)

    def exhausted(self, refuse: Refuse) -> None:
        """The key's budget is used up."""
        self.leave(Reason.BUDGET_EXHAUSTED, refuse)

    def settle(self, turn: Turn, hold: Hold | None, reserve_nano: int) -> Charge:
        """A turn is over; see :class:`~relayd.dialect.meter.Ticket`.

        Where its cost turns out to be unknown, a budget bears what is known of it, and at least
        what was set aside.
        """
        usage, ended_at = turn.usage, self.books.wall()
        cost_nano = 0 if usage is None else self._cost(usage, self._price, self.upstream_model)
        if turn.turn_id is not None and len(turn.turn_id) > ID_MAX_CHARS:
            turn = attrs.evolve(turn, turn_id=turn.turn_id[:ID_MAX_CHARS])
        receipt = self._put(Entry.of_turn(turn, ended_at, self.upstream_model), usage, cost_nano)
        if hold is not None and usage is None:
            hold.void()
        elif hold is not None:
            debit_nano = cost_nano
            if debit_nano is None:
                debit_nano = max(self._known(usage, self._price), reserve_nano)
            hold.settle(debit_nano, _tokens(usage), ended_at)
        return Charge(usage=usage, cost_usd=self._counted(usage, cost_nano), receipt=receipt)

    # -- beside turns

    def transcribed(self, usage: Usage, now: float) -> Charge:
        """See :class:`~relayd.dialect.meter.Meter`. Transcriptions have a model of their own."""
        self._transcriptions += 1
        model, ended_at = self._transcription_model, self.books.wall()
        price = None if model is None else self._price_of(model)
        cost_nano = self._cost(usage, price, model)
        name = (usage.upstream_id or f"#{self._transcriptions}")[:ID_MAX_CHARS]
        entry = Entry(
            entry=f"transcription:{name}",
            source="transcription",
            ended_at=ended_at,
            upstream_model=model,
            upstream_id=None if usage.upstream_id is None else name,
            reason="completed",
        )
        receipt = self._put(entry, usage, cost_nano)
        debit_nano = self._known(usage, price) if cost_nano is None else cost_nano
        self._charge(debit_nano, _tokens(usage), ended_at)
        return Charge(usage=usage, cost_usd=self._counted(usage, cost_nano), receipt=receipt)

    def look(self, now: float) -> float:
        """See :class:`~relayd.dialect.meter.Meter`: a session billed by time, a slice at a time."""
        if self._price is None or not self._price.per_second:
            return math.inf
        while now >= self._billed_to + SLICE_S:
            self._bill_time(SLICE_S, "running")
        return self._billed_to + SLICE_S

    def ended(self, reason: str, now: float) -> Receipt | None:
        """See :class:`~relayd.dialect.meter.Meter`.

        A passthrough session has no turns, so that it was there is written down in any case.
        """
        by_time = self._price is not None and self._price.per_second
        self.look(now)
        receipt = None
        if by_time or self._is_one_request:
            receipt = self._bill_time(now - self._billed_to, reason)
        self.leave, self.charged, self.refused = stay, unheard, unheard  # those refer to this
        return receipt

    @property
    def _is_one_request(self) -> bool:
        """Whether the session as a whole is what is asked for, since it has no turns."""
        return self.facts.dialect == Dialect.PASSTHROUGH

    def _bill_time(self, seconds: float, reason: str) -> Receipt:
        self._slices += 1
        self._billed_to += seconds
        seconds, ended_at = round(seconds, 3), self.books.wall()
        cost_nano = self._time_cost(seconds)
        entry = Entry(
            entry=f"time:{self._slices}",
            source="time",
            ended_at=ended_at,
            upstream_model=self.upstream_model,
            reason=reason,
            seconds=seconds,
        )
        receipt = self._put(entry, None, cost_nano)
        self._charge(cost_nano, 0, ended_at)
        self._counted(None, cost_nano)
        return receipt

    def _time_cost(self, seconds: float) -> int | None:
        if self._price is None:
            self._unpriced_used(self.upstream_model)
            return None
        first = self._is_one_request and self._slices == 1
        return time_cost(seconds, self._price, self.key.price_factor, per_request=first)

    # -- what they share

    def _price_of(self, model: str) -> Price | None:
        return self._price if model == self.upstream_model else self.prices.find(model)

    def _reserve(self, ask: TurnAsk) -> int:
        if not self.key.budget_nano or self._price is None:
            return 0
        return reserve_for(ask, self._price, self.key.price_factor)

    def _cost(self, usage: Usage, price: Price | None, model: str | None) -> int | None:
        cost = None if price is None else cost_of(usage, price, self.key.price_factor)
        if cost is None:
            self._unpriced_used(model)
        return cost

    def _known(self, usage: Usage | None, price: Price | None) -> int:
        """What is known of a cost that is not known as a whole."""
        if usage is None or price is None:
            return 0
        return known_cost(usage, price, self.key.price_factor)

    def _unpriced_used(self, model: str | None) -> None:
        """Something cost nobody knows what. A key with a budget does not go on like that."""
        self.books.tell_unpriced(model or UNKNOWN, self.facts.account)
        if self.key.budget_nano:
            self.leave(Reason.POLICY, NOT_PRICED)

    def _counted(self, usage: Usage | None, cost_nano: int | None) -> Decimal | None:
        """Add to the session's totals; the cost in dollars."""
        if usage is not None:
            self.tokens_in += usage.input_total
            self.tokens_out += usage.output_total
        if cost_nano is None:
            self._unpriced = True
            return None
        self._cost_nano += cost_nano
        return usd_of(cost_nano)

    def _charge(self, cost_nano: int | None, tokens: int, ended_at: float) -> None:
        if self.books.limits.needs_asking(self.key):
            self.books.limits.charge(self.key, cost_nano or 0, tokens, ended_at, self.exhausted)

    def _put(self, entry: Entry, usage: Usage | None, cost_nano: int | None) -> Receipt:
        row = row_of(self.facts, self.tag, entry, usage, cost_nano)
        receipt = self.books.ledger.put(row)
        self.charged(row)
        return receipt


@attrs.define(eq=False)
class _Ticket:
    """See :class:`~relayd.dialect.meter.Ticket`."""

    meter: SessionMeter
    hold: Hold | None = None
    reserve_nano: int = 0

    def settle(self, turn: Turn) -> Charge:
        """See :class:`~relayd.dialect.meter.Ticket`."""
        return self.meter.settle(turn, self.hold, self.reserve_nano)

    def void(self) -> None:
        """See :class:`~relayd.dialect.meter.Ticket`."""
        if self.hold is not None:
            self.hold.void()


@attrs.frozen
class _Asking:
    """A turn that the limits are being asked about."""

    meter: SessionMeter
    reserve_nano: int

    async def wait(self) -> Ticket | Refuse:
        """See :class:`~relayd.dialect.meter.TurnDecision`."""
        meter = self.meter
        limits, wall = meter.books.limits, meter.books.wall()
        answer = await limits.take_turn(meter.key, self.reserve_nano, wall, meter.exhausted)
        if not isinstance(answer, Refuse):
            return _Ticket(meter, answer, self.reserve_nano)
        meter.refused(answer)
        if answer.code == INSUFFICIENT_QUOTA:
            meter.leave(Reason.BUDGET_EXHAUSTED, answer, told=True)
        return answer


def _tokens(usage: Usage | None) -> int:
    return 0 if usage is None else usage.input_total + usage.output_total
