"""One chat request: from its question to its bill, over one upstream or, unseen, several.

It is tried again as long as its client has been told nothing: of a stream until its first word, of
one document until it is whole. Until then every fault is an error with a status of its own, behind
it the stream says what went wrong. An answer that its upstream has not ended is never a success.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
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
    Reasoning,
    Retry,
    Text,
    ToolCall,
)
from relayd.dialect.chat_values import ChatRequest
from relayd.observe.bus import AccountFailed
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.routing.health import Change
from relayd.routing.roster import Seat
from relayd.session.accounts import tell_changes
from relayd.session.admission import Grant
from relayd.session.chat import over_http, verdicts
from relayd.session.chat.following import Following
from relayd.session.chat.handover import Denied, Handover, Opened, Said, Whole
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
    _handover: Handover = attrs.field(init=False)
    _asked_at: float = attrs.field(factory=trio.current_time, init=False)
    _attempts: int = attrs.field(default=0, init=False)
    _ignored: tuple[str, ...] = attrs.field(default=(), init=False)

    def __attrs_post_init__(self) -> None:
        self._way = Way(
            shared=self.shared, key=self.grant.key, snapshot=self.snapshot, request=self.request
        )
        self._reckoning = Reckoning(purse=self.purse, request=self.request, asked_at=self._asked_at)
        self._handover = Handover(self.request.stream)

    # -- for whoever answers the client

    async def opened(self) -> Opened | Whole | Denied:
        """See :class:`~relayd.session.chat.handover.Handover`."""
        return await self._handover.opened()

    async def said(self) -> Said | None:
        """See :class:`~relayd.session.chat.handover.Handover`."""
        return await self._handover.said()

    # -- its task

    async def run(self) -> None:
        """Answer the request, and write down what it came to. Raises nothing.

        Cancelling it, as when its client leaves, tells the upstream to stop.
        """
        with self._handover:
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
                await self._handover.end(verdicts.INTERNAL, self._ignored)
            finally:
                self._reckoning.close(Reason.CLIENT_GONE.value, is_cut=True)

    async def _run(self) -> None:
        stuck: Fault | None = None  # why the attempt before came to nothing
        while True:
            seat = self._way.seat()
            if isinstance(seat, Fault):
                fault = seat
                break
            with seat:
                denied = await self._reckoning.bill_to(seat.account, stuck)
                failed = denied or await self._try(seat)
            if failed is None:
                return
            fault = stuck = failed
            if not self._may_try_again(fault):
                break
            self._way.leave(seat.account.name, fault)
        fault = verdicts.last_word(fault, self._attempts)
        self._reckoning.close(fault.code)
        await self._handover.end(fault, self._ignored)

    def _may_try_again(self, fault: Fault) -> bool:
        if self._handover.is_open or fault.retry is Retry.NONE:
            return False
        in_time = trio.current_time() < self._asked_at + RETRY_S
        return in_time and self._attempts < ATTEMPTS_MAX

    # -- attempts

    async def _try(self, seat: Seat) -> Fault | None:
        """At one account, twice where its fault says so; ``None``: there was an answer."""
        fault = await self._attempt(seat, attempt=0, may_be_ready=True)
        if fault is None or fault.retry is not Retry.SAME_ONCE or not self._may_try_again(fault):
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
            waited_s = trio.current_time() - began
            self._reckoning.attempted(waited_s, was_ready=talk.was_ready)
            fault = await self._follow(talk, seat)
            if fault is not None:
                self._judge(seat, fault)
                self._reckoning.failed(fault.code)
            return fault
        finally:
            await talk.aclose()

    async def _open(self, account: Account, *, attempt: int, may_be_ready: bool) -> Talk:
        if over_http.goes_over_http(self.request, account):
            return await self.shared.http.talk(account, self.request)
        return await self.shared.opening.talk(
            account, self.request, attempt=attempt, may_be_ready=may_be_ready
        )

    async def _follow(self, talk: Talk, seat: Seat) -> Fault | None:
        """From the request to the end of its answer; ``None``: it is whole, and handed on."""
        patience, sent_at = patience_with(seat.account), trio.current_time()
        pieces, fault = await self._first_words(talk, patience, sent_at)
        if fault is not None:
            if not pieces and talk.was_ready and fault.retry is Retry.SAME_ONCE:
                # It was perhaps lost while nobody used it: that says nothing of the account.
                fault = attrs.evolve(fault, effect=Effect.NONE)
            return fault
        now = trio.current_time()
        self._tell(seat.succeed(first_frame_ms=(now - sent_at) * 1000, now=now))
        await self._handover.begin(Opened(self._reckoning.upstream_id, talk.ignored))
        following = Following(
            talk=talk,
            handover=self._handover,
            idle_s=patience.idle_s,
            total_by=sent_at + patience.total_s,
            reckon=self._reckoning.add,
        )
        return await following.to_end(pieces)

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
                match piece:
                    case Faulted(fault):
                        return heard[:-1], fault
                    case Text() | Reasoning() | ToolCall() | Finished():
                        return heard, None

    async def _next(
        self, talk: Talk, patience: Patience, sent_at: float, heard_at: float | None
    ) -> Said:
        """The next pieces, or the fault that they do not come in time. They are reckoned up."""
        total_by = sent_at + patience.total_s
        if heard_at is None:
            by, late = sent_at + patience.first_frame_s, verdicts.SILENT
        else:
            by, late = heard_at + patience.idle_s, verdicts.STOPPED
        if total_by < by:
            by, late = total_by, verdicts.ENDLESS
        pieces: Said | None = None
        if trio.current_time() < total_by:  # frames that wait are had without waiting
            with trio.move_on_at(by):
                pieces = await talk.pieces()
        if pieces is None:
            pieces = (Faulted(attrs.evolve(late, upstream_id=talk.upstream_id)),)
        for piece in pieces:
            self._reckoning.add(piece)
        return pieces

    # -- what is written down

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
        self._way.note(account, fault, now, wall)
        failure = verdicts.failure_of(fault, wall)
        if failure is not None:
            self._tell(seat.fail(failure, now, jitter=random.random()))

    def _tell(self, changes: Sequence[Change]) -> None:
        """Tell the log and the bus of what has changed in an account's standing, if anything."""
        if changes:
            tell_changes(changes, self.shared.connector.roster, self.shared.bus)
