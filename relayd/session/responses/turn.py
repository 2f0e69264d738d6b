"""One turn: from a request to its end, over one upstream or, unseen by its client, several.

A turn is tried again only while its client has been sent nothing of it, and only for some seconds.
A request that goes on from a response which lives on one socket alone is never moved to another:
its client is told at once that the response is not found, and sends all of its input again.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

from relayd.config.keys import BusyLane
from relayd.config.snapshot import Account
from relayd.core.redact import redact
from relayd.dialect import responses
from relayd.dialect.meter import Refuse, TurnAsk, Usage
from relayd.dialect.responses_aborts import CONSEQUENCES, Abort
from relayd.dialect.responses_aborts import Outcome as Remains
from relayd.dialect.responses_client import Create, rewritten
from relayd.dialect.responses_errors import incomplete_event
from relayd.dialect.responses_turns import Running, Terminal
from relayd.pool.errors import AcquireTimeout, DialTimeout, PinnedGone, PoolClosed
from relayd.routing.roster import Seat
from relayd.session.attempts import AttemptFailed
from relayd.session.entries import milliseconds
from relayd.session.responses.accounting import Bill, usage_of
from relayd.session.responses.blame import Blame, trust
from relayd.session.responses.desk import Desk
from relayd.session.responses.faults import (
    NO_ROOM,
    Aborted,
    Again,
    aborted_by,
    refused_by,
    stopped_by_error,
    stopped_by_loss,
)
from relayd.session.responses.holder import Began, Lapsed, Lost, Run
from relayd.session.responses.shared import RETRY_S
from relayd.session.responses.telling import Telling
from relayd.session.responses.way import Way
from relayd.session.turn_lines import Place

REMEMBER_S: Final = 1.0
"""How long it may take to note where a response lives; not noted, it counts as forgotten."""

ATTEMPTS_MAX: Final = 3


@attrs.define(eq=False, kw_only=True)
class Asked:
    """One request, being answered.

    Attributes:
        create: As it came.
        asked_at: When it did.
        run: Where it runs, once it does.
        behind: What its client is told behind its end, of requests that waited for it.
    """

    desk: Desk
    create: Create
    asked_at: float
    run: Run | None = attrs.field(default=None, init=False)
    behind: list[bytes] = attrs.field(factory=list, init=False)
    _way: Way = attrs.field(init=False)
    _blame: Blame = attrs.field(init=False)
    _bill: Bill | None = attrs.field(default=None, init=False)
    _telling: Telling = attrs.field(init=False)  # there is one as soon as there is a bill
    _queue_ms: float = attrs.field(default=0.0, init=False)
    _attempts: int = attrs.field(default=0, init=False)
    _begun_at: float = attrs.field(default=0.0, init=False)
    _lapsed: bool = attrs.field(default=False, init=False)
    _error: Abort | None = attrs.field(default=None, init=False)  # that its client was sent
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._way, self._blame = Way(desk=self.desk, create=self.create), Blame(self.desk)
        if self.desk.grant.key.busy_lane is BusyLane.PREEMPT:  # others need no scope of their own
            self._scope = trio.CancelScope()

    @property
    def shown_response_id(self) -> str | None:
        """The response that the client has seen begin, and not end."""
        running = None if self.run is None else self.run.running
        if running is None or not running.created_seen:
            return None
        return running.response_id if running.end is None or not running.end.told else None

    @property
    def is_owed(self) -> bool:
        """Whether the client waits for its end."""
        end = None if self.run is None else self.run.running.end
        if end is None or not end.told:
            return True
        return end.successor_expected and not self._lapsed

    def preempt(self) -> None:
        """A newer request takes its place: it ends, wherever it is."""
        if not self.is_owed:
            return  # it has ended, and will be gone in a moment
        run = self.run
        if run is None or not run.holder.abandon(Abort.PREEMPTED, mine=run):
            assert self._scope is not None, "its key has lanes that are preempted"
            self._scope.cancel(reason=Abort.PREEMPTED.value)

    def crashed(self) -> None:
        """A bug ended it."""
        if self.run is not None:
            self.run.holder.abandon(Abort.INTERNAL_LANE, mine=self.run)
        self._tell(Aborted(Abort.INTERNAL_LANE))

    async def answer(self) -> Abort | None:
        """See the turn to its end, and its client told of it.

        Returns:
            Why it came to nothing, by relayd's word or an error of the upstream's; ``None`` where
            there was a response.

        Cancelling it closes the upstream's socket, or leaves it to those who share it;
        :meth:`wind_up` writes the turn's line then.
        """
        self._begun_at = trio.current_time()
        self._queue_ms = milliseconds(self._begun_at - self.asked_at)
        try:
            if self._scope is None:
                await self._run()
                return self._error
            with self._scope:
                await self._run()
            if not self._scope.cancelled_caught:
                return self._error
            aborted = Aborted(Abort.PREEMPTED)
            if self.run is not None:  # it was cancelled in the moment in which it began
                self.run.holder.abandon(Abort.PREEMPTED, mine=self.run)
        except Aborted as caught:
            aborted = caught
        if CONSEQUENCES[aborted.abort].outcome is Remains.FAIL:
            await self._way.forget_parent()
        self._tell(aborted)
        return aborted.abort

    async def wind_up(self, reason: str) -> None:
        """The session is over, and its sockets are: write what is left to be written.

        What the upstream has ended by then counts as it said, though nobody was told any more.
        """
        run = self.run
        for outcome in () if run is None else run.rest():
            match outcome:
                case Terminal():
                    self._charge(outcome)
                    await self._remember(outcome)
                case Began():
                    assert self._bill is not None, "a successor follows a turn"
                    self._bill.succeeded_by(trio.current_time(), Usage(source="response"))
        self._close(reason)

    def _close(self, reason: str) -> None:
        """The turn is over. Calling it again is fine."""
        if self._bill is not None:
            running = None if self.run is None else self.run.running
            self._bill.close(
                reason,
                now=trio.current_time(),
                turn_id=None if running is None else running.response_id,
                first_output_at=None if running is None else running.first_output_at,
            )

    # -- attempts

    async def _run(self) -> None:
        await self._way.find()
        stuck: Aborted | None = None  # why the attempt before came to nothing
        while True:
            with await self._way.seat(stuck) as seat:
                self._attempts += 1
                await self._bill_to(seat.account, stuck)
                try:
                    await self._follow(await self._begin(seat), seat)
                except Again as again:
                    if not self._may_try_again(again):
                        raise again.aborted from None
                    stuck = again.aborted
                    if again.elsewhere:
                        self._way.tried.add(seat.account.name)
                else:
                    return

    def _may_try_again(self, again: Again) -> bool:
        hidden = CONSEQUENCES[again.aborted.abort].hidden_retry
        free = self._way.may_move_elsewhere if again.elsewhere else self._way.may_move
        in_time = trio.current_time() < self._begun_at + RETRY_S
        return hidden and free and in_time and self._attempts < ATTEMPTS_MAX

    async def _bill_to(self, account: Account, stuck: Aborted | None) -> None:
        """Ask once whether there may be a turn; a further attempt only moves its bill."""
        if stuck is not None:
            self._telling.moved(account, stuck.abort)
            return
        create = self.create
        ask = TurnAsk(
            now=self.asked_at,
            expected=create.expected,
            output_max_tokens=create.output_max_tokens if create.generate else 0,
            audio=False,
        )
        answer = await self.desk.purse.take(create.model, account, ask)
        if isinstance(answer, Refuse):
            raise refused_by(answer)
        self._bill, self._telling = answer, Telling(answer, self.desk.purse.lines)
        self._bill.place = Place(
            lane=None if create.stream_id is None else redact(create.stream_id),
            queue_ms=self._queue_ms,
            warm_up=not create.generate,
        )

    async def _begin(self, seat: Seat) -> Run:
        """Get a socket and send the request."""
        desk, create, account = self.desk, self.create, seat.account
        payload = rewritten(
            create,
            model=account.upstream_model(create.model),
            strip_stream_id=not account.lanes,
            previous_response_id=self._way.previous_id,
        )
        began = trio.current_time()
        running = Running(retryable=self._way.may_move, witness=self._telling)
        try:
            run = await desk.holders.begin(
                account,
                desk.identity(account),
                running,
                payload,
                lane=create.stream_id,
                pinned=self._way.pinned,
                deadline=began + desk.snapshot.settings.pool.acquire_s,
            )
        except AttemptFailed as failed:
            desk.shared.connector.note(failed, seat, responses.NAME, desk.session_id)
            raise Again(aborted_by(failed), elsewhere=True) from None
        except PinnedGone:
            raise self._way.not_found("socket_gone", account.name) from None
        except DialTimeout:
            raise Again(Aborted(Abort.UPSTREAM_UNREACHABLE), elsewhere=True) from None
        except AcquireTimeout:
            raise Aborted(Abort.GATEWAY_BUSY) from None
        except PoolClosed:
            raise Aborted(Abort.DRAINING) from None
        if run is None:
            raise Aborted(Abort.GATEWAY_BUSY, NO_ROOM)
        self._telling.placed(run, run.sent_at - began)
        self.run = run
        return run

    # -- what the upstream does

    async def _follow(self, run: Run, seat: Seat) -> None:
        """From the request to the last response that it has."""
        patience = self.desk.patience
        patience.watch(run)
        try:
            await self._follow_to_end(run, seat)
        except trio.Cancelled:
            by_newer = self._scope is not None and self._scope.cancel_called
            run.leave(Abort.PREEMPTED if by_newer else Abort.CLIENT_GONE)
            raise
        finally:
            patience.forget(run)

    async def _follow_to_end(self, run: Run, seat: Seat) -> None:
        while True:
            outcome = await run.next()
            match outcome:
                case Terminal():
                    await self._ended(outcome, run, seat)
                    if not outcome.successor_expected:
                        return
                case Began():
                    assert self._bill is not None, "a successor follows a turn"
                    self._bill.succeeded_by(trio.current_time(), Usage(source="response"))
                case Lapsed():
                    self._lapsed = True
                    return
                case Lost(abort):
                    self._blame.lost(run, seat)
                    raise stopped_by_loss(
                        abort, run.running, shown=self.shown_response_id, attempts=self._attempts
                    )

    async def _ended(self, end: Terminal, run: Run, seat: Seat) -> None:
        """The upstream has ended a response."""
        error = end.error
        if error is not None and error.concerns_account:
            self._blame.failed(end, error, run, seat)
        elif end.running.created_at is not None:
            latency_ms = (end.running.created_at - run.sent_at) * 1000
            trust(self.desk.shared, seat, latency_ms, end.at)
        if error is not None and not end.told:
            raise stopped_by_error(
                end, error, shown=self.shown_response_id, attempts=self._attempts
            )
        self._error = None if error is None else error.abort
        self._charge(end)  # first: nothing may come between an end and its row
        await self._remember(end)

    async def _remember(self, end: Terminal) -> None:
        """Its client may be gone already, and come back on another connection."""
        assert self.run is not None, "what has ended has run"
        if not self.desk.shared.chains.waits:
            await self._way.remember(end, self.run.holder.lease)
            return
        with trio.move_on_after(REMEMBER_S, shield=True):
            await self._way.remember(end, self.run.holder.lease)

    def _charge(self, end: Terminal) -> None:
        assert self._bill is not None, "a turn that runs is paid for"
        running = end.running
        self._bill.place.tool_calls = len(running.tool_calls)
        of_response = end.error is None or end.kind.startswith("response.")
        self._bill.close(
            end.status if of_response or end.error is None else end.error.abort.value,
            now=end.at,
            turn_id=running.response_id,
            first_output_at=running.first_output_at,
            usage=usage_of(end, self.create.expected, 0 if self.run is None else self.run.messages),
        )

    # -- the end

    def _tell(self, aborted: Aborted) -> None:
        lane, shown = self.create.stream_id, self.shown_response_id
        if not self.is_owed:
            event = None
        elif aborted.abort is Abort.PREEMPTED and shown is not None:
            event = incomplete_event(shown, aborted.abort.value, lane)
        else:
            event = aborted.told_as(lane)
        if event is not None:
            self.desk.say(event)
        self._close(aborted.abort.value)
