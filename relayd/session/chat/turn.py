"""One chat request: from its question to its bill, over one upstream or, unseen, several.

It is tried again only until the first word of an answer, which decides the status that its client
gets: before it every fault is an error with a status of its own, behind it the stream says what
went wrong. An answer that its upstream has not ended is never a success.
"""

from __future__ import annotations

import random
from typing import Final

import attrs
import trio

from relayd.config.snapshot import Account, Snapshot
from relayd.core.endings import Reason
from relayd.dialect.behind import (
    Effect,
    Fault,
    Faulted,
    Finished,
    Piece,
    Reasoning,
    Retry,
    Text,
    ToolCall,
)
from relayd.dialect.chat_values import ChatRequest
from relayd.observe.bus import AccountFailed
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.routing.roster import Seat
from relayd.session.accounts import log_changes
from relayd.session.admission import Grant
from relayd.session.chat import over_http, verdicts
from relayd.session.chat.opening import NAME, Stopped
from relayd.session.chat.providers import Patience, patience_with
from relayd.session.chat.reckoning import Reckoning
from relayd.session.chat.shared import ChatShared
from relayd.session.chat.talk import Talk
from relayd.session.chat.way import Way
from relayd.session.responses.accounting import Purse

log = get_logger()

RETRY_S: Final = 30.0
"""How long after it was asked a request may be tried again, unseen by its client."""

ATTEMPTS_MAX: Final = 4

BATCHES_MAX: Final = 4
"""Batches of pieces between an upstream and a client that does not read; then both wait."""


@attrs.frozen
class Opened:
    """There is an answer.

    Attributes:
        upstream_id: The upstream's name for it, if it gave one.
        ignored: What of the request is not acted on.
    """

    upstream_id: str | None
    ignored: tuple[str, ...]


@attrs.frozen
class Denied:
    """There is none.

    Attributes:
        ignored: As far as an upstream was asked.
    """

    fault: Fault
    ignored: tuple[str, ...] = ()


Said = tuple[Piece, ...]


@attrs.define(eq=False, kw_only=True)
class ChatTurn:
    """See the module's text.

    Attributes:
        request_id: Names it in the log and in the ledger.
    """

    shared: ChatShared
    grant: Grant
    snapshot: Snapshot
    purse: Purse
    request_id: str
    request: ChatRequest
    _way: Way = attrs.field(init=False)
    _reckoning: Reckoning = attrs.field(init=False)
    _send: trio.MemorySendChannel[Opened | Denied | Said] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Opened | Denied | Said] = attrs.field(init=False)
    _asked_at: float = attrs.field(factory=trio.current_time, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _attempts: int = attrs.field(default=0, init=False)
    _ignored: tuple[str, ...] = attrs.field(default=(), init=False)
    _is_open: bool = attrs.field(default=False, init=False)  # its client's status is decided
    _reason: str = attrs.field(default=Reason.CLIENT_GONE.value, init=False)

    def __attrs_post_init__(self) -> None:
        self._way = Way(
            shared=self.shared, key=self.grant.key, snapshot=self.snapshot, request=self.request
        )
        self._reckoning = Reckoning(purse=self.purse, request=self.request, asked_at=self._asked_at)
        self._send, self._receive = trio.open_memory_channel[Opened | Denied | Said](BATCHES_MAX)

    # -- for whoever answers the client

    async def opened(self) -> Opened | Denied:
        """What the client's status follows from. Asked once, first."""
        first = await self._receive.receive()
        assert isinstance(first, Opened | Denied), "nothing is said before"
        return first

    async def said(self) -> Said | None:
        """Some more pieces of an answer; ``None`` behind the last.

        The last of them is a Finished or a Faulted. Cancelling this loses none.
        """
        try:
            more = await self._receive.receive()
        except trio.EndOfChannel:
            return None
        assert isinstance(more, tuple), "it was opened once"
        return more

    def abandon(self, reason: str) -> None:
        """Nobody wants the rest of the answer, for a reason of relayd's own."""
        self._reason = reason
        self._scope.cancel(reason=reason)

    # -- its task

    async def run(self) -> None:
        """Answer the request, and write down what it came to. Raises nothing.

        Cancelling it, as when its client leaves, tells the upstream to stop.
        """
        with self._send, self._scope:
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001 - the boundary of a request's turn: a bug in it ends one request
                log.error(
                    LogEvent.REQUEST_CRASHED,
                    request_id=self.request_id,
                    route=None,
                    traceback=error,
                )
                self._reckoning.close(verdicts.INTERNAL.code, is_cut=True)
                await self._tell(verdicts.INTERNAL)
            finally:
                self._reckoning.close(self._reason, is_cut=True)

    async def _run(self) -> None:
        while True:
            seat = self._way.seat()
            if isinstance(seat, Fault):
                fault = seat
                break
            with seat:
                denied = await self._reckoning.bill_to(seat.account)
                if denied is not None:
                    fault = denied
                    break
                failed = await self._try(seat)
            if failed is None:
                return
            fault = failed
            if fault.retry is Retry.NONE or not self._may_try_again():
                break
            self._way.leave(seat.account.name, fault)
        fault = verdicts.last_word(fault, self._attempts)
        self._reckoning.close(fault.code)
        await self._tell(fault)

    def _may_try_again(self) -> bool:
        in_time = trio.current_time() < self._asked_at + RETRY_S
        return in_time and self._attempts < ATTEMPTS_MAX

    # -- attempts

    async def _try(self, seat: Seat) -> Fault | None:
        """At one account, twice where its fault says so; ``None``: there was an answer."""
        fault = await self._attempt(seat, attempt=0, may_be_ready=True)
        if fault is None or fault.retry is not Retry.SAME_ONCE or not self._may_try_again():
            return fault
        return await self._attempt(seat, attempt=1, may_be_ready=False)

    async def _attempt(self, seat: Seat, *, attempt: int, may_be_ready: bool) -> Fault | None:
        self._attempts += 1
        began = trio.current_time()
        try:
            talk = await self._open(seat.account, attempt=attempt, may_be_ready=may_be_ready)
        except Stopped as stopped:
            self._judge(seat, stopped.fault)
            return stopped.fault
        try:
            self._ignored = talk.ignored
            self._reckoning.attempted(trio.current_time() - began)
            return await self._follow(talk, seat)
        finally:
            await talk.aclose()

    async def _open(self, account: Account, *, attempt: int, may_be_ready: bool) -> Talk:
        if over_http.goes_over_http(self.request, account):
            return await self.shared.http.talk(account, self.request)
        return await self.shared.opening.talk(
            account, self.request, attempt=attempt, may_be_ready=may_be_ready
        )

    async def _follow(self, talk: Talk, seat: Seat) -> Fault | None:
        """From the request to the end of its answer; a fault that comes before the first word."""
        patience, sent_at = patience_with(seat.account), trio.current_time()
        pieces, fault = await self._first_words(talk, patience, sent_at)
        if fault is not None:
            if not pieces and talk.was_ready and fault.retry is Retry.SAME_ONCE:
                # It was perhaps lost while nobody used it: that says nothing of the account.
                fault = attrs.evolve(fault, effect=Effect.NONE)
            self._judge(seat, fault)
            return fault
        now = trio.current_time()
        log_changes(seat.succeed(first_frame_ms=(now - sent_at) * 1000, now=now))
        self._is_open = True
        await self._send.send(Opened(self._reckoning.upstream_id, talk.ignored))
        while not await self._pass_on(pieces, seat):
            pieces = await self._next(talk, patience, sent_at, trio.current_time())
            for piece in pieces:
                self._reckoning.add(piece)
        return None

    async def _first_words(
        self, talk: Talk, patience: Patience, sent_at: float
    ) -> tuple[Said, Fault | None]:
        """All pieces up to the first that a client sees, or the fault that came instead."""
        heard: Said = ()
        while True:
            heard_at = trio.current_time() if heard else None
            pieces = await self._next(talk, patience, sent_at, heard_at)
            heard += pieces
            for piece in pieces:
                self._reckoning.add(piece)
            for piece in pieces:
                match piece:
                    case Faulted(fault):
                        return heard[:-1], fault
                    case Text() | Reasoning() | ToolCall() | Finished():
                        return heard, None

    async def _next(
        self, talk: Talk, patience: Patience, sent_at: float, heard_at: float | None
    ) -> Said:
        """The next pieces, or the fault that they do not come in time."""
        total_by = sent_at + patience.total_s
        if heard_at is None:
            by, late = sent_at + patience.first_frame_s, verdicts.SILENT
        else:
            by, late = heard_at + patience.idle_s, verdicts.STOPPED
        if total_by < by:
            by, late = total_by, verdicts.ENDLESS
        with trio.move_on_at(by):
            return await talk.pieces()
        return (Faulted(attrs.evolve(late, upstream_id=talk.upstream_id)),)

    async def _pass_on(self, pieces: Said, seat: Seat) -> bool:
        """Hand pieces on; whether they were the last. By then they are written down."""
        last = pieces[-1] if pieces else None
        if isinstance(last, Faulted):
            self._judge(seat, last.fault)
            self._reckoning.close(last.fault.code)
        if pieces:
            await self._send.send(pieces)
        return isinstance(last, Finished | Faulted)

    # -- what is told, and written down

    async def _tell(self, fault: Fault) -> None:
        """Tell the client, which may have seen the answer begin."""
        await self._send.send((Faulted(fault),) if self._is_open else Denied(fault, self._ignored))

    def _judge(self, seat: Seat, fault: Fault) -> None:
        """Tell the log, the bus and the account's standing of a fault."""
        if fault.effect is Effect.NONE and fault.status < verdicts.SERVER_ERRORS:
            return  # the request's own
        account, shared = seat.account, self.shared
        now, wall = trio.current_time(), shared.clocks.wall()
        log.warning(
            LogEvent.UPSTREAM_FAILED,
            session_id=self.request_id,
            dialect=NAME,
            account=account.name,
            reason=fault.code,
            message=fault.detail or fault.message,
        )
        if fault.effect is Effect.NONE:
            return
        shared.bus.publish(AccountFailed(account=account.name, dialect=NAME, reason=fault.code))
        shared.bars.note(account, account.upstream_model(self.request.model), fault, now, wall)
        failure = verdicts.failure_of(fault, wall)
        if failure is not None:
            log_changes(seat.fail(failure, now, jitter=random.random()))
