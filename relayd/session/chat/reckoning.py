"""What one request comes to: asked for once, gathered while it is answered, written down once."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from relayd.config.snapshot import Account
from relayd.core.endings import Reason
from relayd.dialect.behind import (
    Began,
    Fault,
    Faulted,
    Finished,
    FinishReason,
    Piece,
    Reasoning,
    Text,
    ToolCall,
    Used,
)
from relayd.dialect.chat_usage import Tally, expected_usage
from relayd.dialect.chat_values import ChatRequest
from relayd.dialect.meter import Refuse, ToolCalled, TurnAsk, Usage
from relayd.session.chat.verdicts import of_refuse
from relayd.session.entries import milliseconds
from relayd.session.responses.accounting import Bill, Purse
from relayd.session.turn_lines import Place

NAME_MAX_CHARS: Final = 128
"""Of a tool's name, as the bus is told it."""

_COMPLETED = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})


@attrs.define(eq=False, kw_only=True)
class Reckoning:
    """One per request.

    It has one turn, and one more for each upstream that answered in the place of another one which
    had said something already.

    Attributes:
        asked_at: When its client asked.
        upstream_id: The upstream's name for the answer, once it has begun.
        began: Whether an upstream has taken the request.
        has_output: Whether it has said anything.
        sent: Whether the request is with an upstream: it reads, and bills, what it has.
    """

    purse: Purse
    request: ChatRequest
    asked_at: float = attrs.field(factory=trio.current_time)
    upstream_id: str | None = attrs.field(default=None, init=False)
    began: bool = attrs.field(default=False, init=False)
    sent: bool = attrs.field(default=False, init=False)
    _expected: Usage = attrs.field(init=False)
    _bill: Bill | None = attrs.field(default=None, init=False)
    _tally: Tally = attrs.field(factory=Tally, init=False)
    _used: Usage | None = attrs.field(default=None, init=False)
    _first_output_at: float | None = attrs.field(default=None, init=False)
    _written: set[str | None] = attrs.field(factory=set, init=False)
    _told: bool = attrs.field(default=False, init=False)  # that the turn has started

    def __attrs_post_init__(self) -> None:
        self._expected = expected_usage(self.request)

    @property
    def has_output(self) -> bool:
        """See the class."""
        return self._first_output_at is not None

    @property
    def _turn_id(self) -> str | None:
        """The turn's, which names its row: two of a name would be one."""
        return None if self.upstream_id in self._written else self.upstream_id

    async def bill_to(self, account: Account, stuck: Fault | None = None) -> Fault | None:
        """Ask once whether there may be a turn; a further attempt only moves its bill.

        Args:
            account: Who is asked now.
            stuck: Why the attempt before came to nothing, if there was one.

        Returns:
            Why there may be none. Cancelling it sets nothing aside.
        """
        if self._bill is not None:
            before = self._bill.facts.account
            self._bill.moved(account)
            if stuck is not None and account.name != before:
                self.purse.lines.failed_over(self._bill.facts, before, stuck.code)
            return None
        ask = TurnAsk(
            now=self.asked_at,
            expected=self._expected,
            output_max_tokens=self.request.max_tokens or account.defaults.max_tokens,
            audio=False,
        )
        answer = await self.purse.take(self.request.model, account, ask)
        if isinstance(answer, Refuse):
            return of_refuse(answer)
        self._bill = answer
        return None

    def attempted(self, waited_s: float, *, was_ready: bool = False) -> None:
        """Another upstream has been sent the request: what the last one said counts no more.

        Args:
            waited_s: How long it took to get there.
            was_ready: Whether a socket was open already.
        """
        assert self._bill is not None, "a turn that begins is paid for"
        if self._bill.ended:
            self._bill.succeeded_by(self.asked_at, self._expected)
            self._told = False
        wait_ms = milliseconds(waited_s)
        self._bill.place = Place(wait_ms=wait_ms)
        if not was_ready:
            self.purse.lines.connected(self._bill.facts, wait_ms)
        self.sent = True
        self.upstream_id, self.began, self._used = None, False, None
        self._tally, self._first_output_at = Tally(), None

    def failed(self, reason: str) -> None:
        """An upstream has come to no end of its answer.

        It bills what it has said all the same, so that has a row of its own; what another one says
        in its place has the next.

        Args:
            reason: As for :meth:`close`.
        """
        self.sent = False
        if self.has_output or self._used is not None:
            self.close(reason)

    def add(self, piece: Piece) -> None:
        """A piece of the answer has come. The last one is written down at once."""
        match piece:
            case Text() | Reasoning() | ToolCall():
                self._tally.add(piece)
                if self._first_output_at is None:
                    self._first_output_at = trio.current_time()
                    self._tell_first_output(self._first_output_at)
                if isinstance(piece, ToolCall):
                    self._tell_call(piece)
            case Began(upstream_id):
                self.began, self.upstream_id = True, upstream_id
            case Used(usage):
                self._used = usage
            case Finished(reason):
                self._used = self._used or self._estimate()
                self.close("completed" if reason in _COMPLETED else "incomplete")
            case Faulted(fault):
                self.upstream_id = fault.upstream_id or self.upstream_id
            case _:
                pass

    def close(self, reason: str, *, is_cut: bool = False) -> None:
        """The turn is over. Closing it again does nothing.

        What an upstream had no time to tell is estimated, once it has answered anything.

        Args:
            reason: For the log and the ledger.
            is_cut: It was relayd that ended the answer: the upstream had read the question.
        """
        if self._bill is None or self._bill.ended:
            return
        usage = self._used
        left_behind = self.sent and reason == Reason.CLIENT_GONE.value
        if usage is None and (self.has_output or (is_cut and self.began) or left_behind):
            usage = self._estimate()
        if self.began:
            self._tell_start()
        turn_id = self._turn_id
        self._written.add(self.upstream_id)
        self._bill.close(
            reason,
            now=trio.current_time(),
            turn_id=turn_id,
            first_output_at=self._first_output_at,
            usage=usage,
        )

    def _tell_start(self) -> None:
        """Once for each turn, and no sooner than it is known whose answer it will be."""
        if self._bill is not None and not self._told:
            self._told = True
            self.purse.lines.started(self._bill.facts, self._turn_id)

    def _tell_first_output(self, now: float) -> None:
        self._tell_start()
        if self._bill is not None:
            lines, bill = self.purse.lines, self._bill
            lines.first_output(bill.facts, self._turn_id, bill.asked_at, now)

    def _tell_call(self, call: ToolCall) -> None:
        if self._bill is not None:
            called = ToolCalled(call.name[:NAME_MAX_CHARS], None)
            self.purse.lines.tool_called(self._bill.facts, self._turn_id, called)

    def _estimate(self) -> Usage:
        return self._tally.usage(self._expected, self.upstream_id)
