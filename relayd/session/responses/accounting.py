"""What each turn is charged for, and what a session's turns come to.

Every turn has a meter of its own, since each may ask for another model and go to another account.
A turn that was allowed ends in exactly one row and one line, however it ends.
"""

from __future__ import annotations

import math
from decimal import Decimal

import attrs

from relayd.config.pricebook import PriceBook
from relayd.config.snapshot import Account, Key
from relayd.core.redact import redact
from relayd.dialect.meter import Receipt, Refuse, Ticket, Turn, TurnAsk, Usage, Wait
from relayd.dialect.responses_turns import Terminal
from relayd.ledger.rows import Row
from relayd.observe.bus import SessionFacts
from relayd.session.books import Books, Leave, stay
from relayd.session.metering import SessionMeter
from relayd.session.turn_lines import Place, TurnLines


@attrs.define
class Totals:
    """A session's turns together, as far as they have ended: what its last line says."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: Decimal | None = Decimal(0)  # None once something in it had no price

    def add(self, usage: Usage | None, cost_usd: Decimal | None) -> None:
        """A turn has ended."""
        if usage is not None:
            self.tokens_in += usage.input_total
            self.tokens_out += usage.output_total
        if cost_usd is None or self.cost_usd is None:
            self.cost_usd = None
        else:
            self.cost_usd += cost_usd

    def opened(self, now: float) -> None:
        """A session costs nothing by itself."""

    def look(self, now: float) -> float:
        """Nothing is billed by time."""
        return math.inf

    def ended(self, reason: str, now: float) -> Receipt | None:
        """Its turns have their rows; there is no other."""
        return None


@attrs.define(eq=False, kw_only=True)
class Purse:
    """What the turns of one session are charged to.

    Attributes:
        base: Whose they are; each turn has an account and a model beside it.
        leave: Ends the session when no turn runs any more; set by the session.
        numbers: How many turns were allowed so far.
    """

    books: Books
    base: SessionFacts
    key: Key
    prices: PriceBook
    tag: str | None
    lines: TurnLines
    totals: Totals = attrs.field(factory=Totals)
    leave: Leave = stay
    numbers: int = attrs.field(default=0, init=False)
    _last: tuple[str, SessionFacts] | None = attrs.field(default=None, init=False)

    def facts(self, model: str, account: Account) -> SessionFacts:
        """Who and where, for a turn. Most turns are like the one before."""
        if self._last is not None:
            last_model, facts = self._last
            if last_model == model and facts.account == account.name:
                return facts
        facts = attrs.evolve(self.base, account=account.name, model=redact(model))
        self._last = model, facts
        return facts

    async def take(self, model: str, account: Account, ask: TurnAsk) -> Bill | Refuse:
        """The right to one turn, or why there is none. Cancelling it sets nothing aside."""
        facts = self.facts(model, account)
        meter = SessionMeter(
            books=self.books,
            facts=facts,
            key=self.key,
            prices=self.prices,
            upstream_model=account.upstream_model(model),
            tag=self.tag,
            leave=self.leave,
        )
        bill = Bill(self, model, meter, ask.now)
        meter.charged, meter.refused = bill.charged, bill.refused
        answer = meter.turn_asked(ask)
        if isinstance(answer, Wait):
            answer = await answer.decision.wait()
        if isinstance(answer, Refuse):
            return answer
        bill.open(answer)
        return bill


def usage_of(end: Terminal, expected: Usage, output_messages: int) -> Usage | None:
    """What a response used, as its upstream says; of a complete one that says nothing, an estimate.

    Args:
        end: The response's.
        expected: The input that was due, as an estimate.
        output_messages: Of the answer; the events of an output are about as many as its tokens.
    """
    if end.usage is not None:
        return end.usage.usage
    if end.status != "completed":
        return None
    return attrs.evolve(
        expected,
        upstream_id=end.running.response_id,
        output_text=output_messages,
        output_total=output_messages,
        estimated=True,
    )


@attrs.define(eq=False)
class Bill:
    """One turn's: opened with a ticket, closed with a row.

    Attributes:
        asked_at: When the client asked for it.
        place: Where it runs, as it becomes known.
        ended: Whether it is closed.
    """

    _purse: Purse
    _model: str
    _meter: SessionMeter
    asked_at: float
    place: Place = attrs.field(factory=Place, init=False)
    number: int = attrs.field(default=0, init=False)
    _ticket: Ticket | None = attrs.field(default=None, init=False)

    @property
    def facts(self) -> SessionFacts:
        """Who and where."""
        return self._meter.facts

    @property
    def ended(self) -> bool:
        """Whether it is closed."""
        return self._ticket is None

    def open(self, ticket: Ticket) -> None:
        """The turn is allowed."""
        self._purse.numbers += 1
        self.number, self._ticket = self._purse.numbers, ticket

    def moved(self, account: Account) -> None:
        """The turn goes to ``account``, whatever was thought before; what is set aside stays."""
        if account.name != self.facts.account:
            facts = self._purse.facts(self._model, account)
            self._meter.moved(facts, account.upstream_model(self._model))

    def close(
        self,
        reason: str,
        *,
        now: float,
        turn_id: str | None = None,
        first_output_at: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """The turn is over. Closing again does nothing."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        turn = Turn(
            number=self.number,
            turn_id=turn_id,
            reason=reason,
            asked_at=self.asked_at,
            first_output_at=first_output_at,
            ended_at=now,
            usage=usage,
        )
        charge = ticket.settle(turn)
        self._purse.totals.add(charge.usage, charge.cost_usd)
        self._purse.lines.ended(self.facts, turn, charge, self.place)

    def succeeded_by(self, now: float, expected: Usage) -> None:
        """The upstream goes on with another response in the place of a closed one."""
        assert self.ended, "one response follows another"
        self.asked_at = now
        self.place = attrs.evolve(self.place, tool_calls=None)
        self.open(self._meter.turn_begun(TurnAsk(now=now, expected=expected, audio=False)))

    def charged(self, row: Row) -> None:
        """The meter put a row."""
        self._purse.lines.charged(self.facts, row)

    def refused(self, refuse: Refuse) -> None:
        """The meter stood against the turn."""
        self._purse.lines.refused(self.facts, refuse)
