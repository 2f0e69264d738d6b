"""Which responses of a Realtime session are asked for, running and over, and what they used."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs
import msgspec

from relayd.core.endings import Reason
from relayd.dialect.meter import (
    Listener,
    Meter,
    Refuse,
    Ticket,
    ToolCalled,
    Turn,
    TurnAsk,
    Usage,
)
from relayd.dialect.realtime_estimates import Amount, Heard, Medium, amount_of_create, estimate
from relayd.dialect.realtime_settings import Settings
from relayd.dialect.realtime_transcriptions import Transcriptions
from relayd.dialect.realtime_usage import complete, decode_usage
from relayd.protocol.outcomes import Notice

ASKED_MAX: Final = 64
"""Creates without a response that there may be; an upstream refuses a second active one."""

TURNS_MAX: Final = 64
"""Responses in progress that are remembered (out-of-band ones run side by side)."""

ENDED_MAX: Final = 4096
"""Ids of responses that are remembered to be over, so that none is counted twice.

Each has been cut to :data:`~relayd.dialect.realtime_settings.TEXT_MAX_CHARS` characters.
"""

CREATE_ERRORS: Final = frozenset(
    {
        "account_deactivated",
        "billing_hard_limit_reached",
        "conversation_already_has_active_response",
        "credit_balance_exhausted",
        "inference_rate_limit_exceeded",
        "insufficient_quota",
    }
)
"""Codes of errors that answer a create even where they name no event.

None of them can be provoked by an event of another kind while creates go through. Others, such
as ``invalid_value``, can, so that a client could free what is set aside for a create that runs.
"""

TOO_MANY_ASKED: Final = Refuse(
    "rate_limit_exceeded",
    "rate_limit_exceeded",
    f"{ASKED_MAX} creates of this session have no response yet; wait for one, or open another"
    " session.",
)

IDLE: Final = Notice("idle")
"""Handed to the session's task, on request, when the last running response has ended."""

_FAILED: Final = "failed"


@attrs.define(eq=False)
class _Asked:
    at: float
    event_id: str | None  # the client's own, which an error may name
    ticket: Ticket
    doubted: bool = False  # an error has arrived that may have been the answer to it


@attrs.define
class _Running:
    number: int
    asked_at: float
    came: Amount  # its input, as far as it was new
    went: Amount = attrs.field(factory=Amount)  # its output so far
    first_output_at: float | None = None
    ticket: Ticket = attrs.field(init=False)


class Turns:
    """The state that the readers of a session's two directions share.

    Every ticket that the meter gives is here from then on, in ``asked`` and then in ``running``,
    and whatever takes it out settles or voids it.

    Attributes:
        meter: Asked for every turn, told of every usage.
        listener: Told of every turn's beginning and end.
        settings: What the upstream says the session is set to.
        heard: What the client has sent for the model to read.
        transcriptions: Of what the client said.
        waits_for_output: How many running responses have had no output yet.
        tell_idle: Ask for :data:`IDLE` when the last running response has ended.
        closed_to_turns: While set, a new response is refused with it.
    """

    def __init__(self, meter: Meter, listener: Listener) -> None:
        self.meter = meter
        self.listener = listener
        self.settings = Settings()
        self.heard = Heard()
        self.transcriptions = Transcriptions(meter, self.heard, self.settings)
        self.tell_idle = False
        self.closed_to_turns: Refuse | None = None
        self.asked: deque[_Asked] = deque()
        self.running: dict[str | None, _Running] = {}
        self.waits_for_output = 0
        self._ended: dict[str, None] = {}  # the oldest first
        self._unclaimed = Amount()  # output while no response was known to run
        self._number = 0  # of the turn that began last
        self._over = False

    @property
    def busy(self) -> bool:
        """Whether a response is asked for or running; a doubted create has most likely failed."""
        return bool(self.running) or self._expected() is not None

    @property
    def busy_since(self) -> float | None:
        """When the oldest response asked for or running was asked for."""
        times = [
            *(asked.at for asked in self.asked if not asked.doubted),
            *(turn.asked_at for turn in self.running.values()),
        ]
        return min(times, default=None)

    def cut_short(self, reason: Reason, now: float) -> None:
        """The session is over: every response that still runs ends with it, unpaid."""
        self._over = True
        if self.closed_to_turns is None:
            self.closed_to_turns = Refuse("server_error", reason.value, "The session is over.")
        running, self.running = self.running, {}
        asked, self.asked = self.asked, deque()
        self.waits_for_output = 0
        for turn_id, turn in running.items():
            self._settle(turn_id, turn, reason.value, None, now)
        for create in asked:
            if create.doubted:
                create.ticket.void()
                continue
            turn = self._next(create.at, Amount())
            turn.ticket = create.ticket
            self._settle(None, turn, reason.value, None, now)

    # -- what the client does

    def refuses(self) -> Refuse | None:
        """Why there can be no further create at the moment, if so."""
        if self.closed_to_turns is not None:
            return self.closed_to_turns
        return TOO_MANY_ASKED if len(self.asked) >= ASKED_MAX else None

    def ask_of(self, now: float, create: bytes | None = None) -> TurnAsk:
        """What a response would take that is asked for by ``create``, or begun by the upstream."""
        settings = self.settings
        output, came = settings.output, self.heard.due()
        if create is not None:
            output, brought = settings.of_create(create), amount_of_create(create)
            came = Amount(came.audio + brought.audio, came.text + brought.text)
        return TurnAsk(
            now=now,
            expected=self._estimate(None, came, Amount()),
            output_max_tokens=output.tokens_max,
            audio=output.audio,
        )

    def ask(self, now: float, ticket: Ticket, event_id: str | None = None) -> None:
        """A create is sent on, which :meth:`refuses` does not refuse; else its ticket is void."""
        if self._over or len(self.asked) >= ASKED_MAX:
            ticket.void()
            return
        self.asked.append(_Asked(now, event_id, ticket))
        self.listener.turn_asked(now)

    # -- what the upstream says

    def told(self, session: msgspec.Raw) -> None:
        """``session.created`` or ``session.updated`` passed."""
        self.settings.tell(session)
        self.meter.told(self.settings.model, self.settings.transcription_model)

    def started(self, turn_id: str | None, now: float) -> None:
        """``response.created`` passed; of too many responses the oldest is given up."""
        if self._over or turn_id in self.running or turn_id in self._ended:
            return
        if len(self.running) >= TURNS_MAX:
            self.running.pop(next(iter(self.running))).ticket.void()
        if not self.running:
            self._unclaimed = Amount()
        self._begin(turn_id, now)
        self._count_waiting()
        self.listener.turn_started(turn_id, now)

    def output(self, turn_id: str | None, now: float) -> None:
        """A delta passed while some response had none yet."""
        turn_id = self._known(turn_id)
        running = self.running.get(turn_id)
        if running is not None and running.first_output_at is None:
            running.first_output_at = now
            self._count_waiting()
            self.listener.turn_first_output(turn_id, running.asked_at, now)

    def passed(self, turn_id: str | None, medium: Medium, size: int) -> None:
        """Deltas passed whose values have ``size`` bytes together."""
        running = self.running.get(self._known(turn_id))
        went = self._unclaimed if running is None else running.went
        if medium is Medium.AUDIO:
            went.audio += size
        else:
            went.text += size

    def finished(
        self,
        turn_id: str | None,
        status: str | None,
        usage: msgspec.Raw,
        now: float,
        calls: Sequence[ToolCalled] = (),
    ) -> None:
        """``response.done`` passed. Of a response that has ended already it changes nothing."""
        turn_id = self._known(turn_id)
        if self._over or turn_id in self._ended:
            return
        if turn_id not in self.running:  # an upstream that does not say when a response begins
            unannounced = self._begin(turn_id, now)
            unannounced.went, self._unclaimed = self._unclaimed, Amount()
            self.listener.turn_started(turn_id, now)
        running = self.running.pop(turn_id)
        if turn_id is not None:
            if len(self._ended) >= ENDED_MAX:
                del self._ended[next(iter(self._ended))]
            self._ended[turn_id] = None
        self._count_waiting()
        for call in calls:
            self.listener.tool_called(turn_id, call)
        used = self._used(turn_id, running, status, usage)
        self._settle(turn_id, running, status or "completed", used, now)

    def unasked(self, event_id: str | None, code: str | None) -> None:
        """An error arrived: the create that it names has failed.

        One that names no event is the answer to the oldest create if ``code`` is among
        :data:`CREATE_ERRORS`. Otherwise it may be, or it may answer anything else that the client
        sent: the ticket is kept, for the response that may come.
        """
        if event_id is not None:
            failed = next((asked for asked in self.asked if asked.event_id == event_id), None)
        elif code in CREATE_ERRORS:
            failed = self._next_asked()
        else:
            failed = None
            if (doubtful := self._expected()) is not None:
                doubtful.doubted = True
        if failed is not None:
            self.asked.remove(failed)
            failed.ticket.void()

    # -- what both come to

    def _next(self, asked_at: float, came: Amount) -> _Running:
        self._number += 1
        return _Running(self._number, asked_at, came)

    def _begin(self, turn_id: str | None, now: float) -> _Running:
        """A create has its response, or the upstream began one that nobody asked for."""
        ask = self.ask_of(now)
        running = self.running[turn_id] = self._next(now, self.heard.take())
        asked = self._next_asked()
        if asked is not None:
            self.asked.remove(asked)
            running.asked_at, running.ticket = asked.at, asked.ticket
        else:  # the meter may end the session over it, and has to find it busy
            running.ticket = self.meter.turn_begun(ask)
        return running

    def _expected(self) -> _Asked | None:
        """The oldest create that is not doubted."""
        return next((asked for asked in self.asked if not asked.doubted), None)

    def _next_asked(self) -> _Asked | None:
        """The create that is most likely answered next: a doubted one where there are no others."""
        return self._expected() or next(iter(self.asked), None)

    def _known(self, turn_id: str | None) -> str | None:
        """The response meant by an event that names none: the only one, if it is one."""
        if turn_id is None and len(self.running) == 1:
            return next(iter(self.running))
        return turn_id

    def _count_waiting(self) -> None:
        turns = self.running.values()
        self.waits_for_output = sum(turn.first_output_at is None for turn in turns)

    def _used(
        self, turn_id: str | None, running: _Running, status: str | None, usage: msgspec.Raw
    ) -> Usage:
        """What a response used that is over; one that failed without output was for nothing."""
        expected = self._estimate(turn_id, running.came, running.went)
        wire = decode_usage(usage)
        if wire is not None:
            return complete(wire, expected)
        if status == _FAILED and not running.went:
            return self._estimate(turn_id, Amount(), Amount())
        return expected

    def _estimate(self, turn_id: str | None, came: Amount, went: Amount) -> Usage:
        return estimate("response", turn_id, came, went, self.settings.formats)

    def _settle(
        self, turn_id: str | None, running: _Running, reason: str, usage: Usage | None, now: float
    ) -> None:
        turn = Turn(
            number=running.number,
            turn_id=turn_id,
            reason=reason,
            asked_at=running.asked_at,
            first_output_at=running.first_output_at,
            ended_at=now,
            usage=usage,
        )
        self.listener.turn_ended(turn, running.ticket.settle(turn))
