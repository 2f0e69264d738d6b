"""One connection as a machine: client messages in, frames out, no I/O and no clock.

The owner hands in each message with :meth:`Connection.receive`, asks for one frame after the other
with :meth:`Connection.advance`, and says with :meth:`Connection.delivered` that the last one was
taken. Turns of several lanes move in rotation, so the same calls give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import msgspec

from relayd.sim.responses import errors, steering
from relayd.sim.responses.client_events import Create, Steer, parse
from relayd.sim.responses.errors import JsonObject, Rejected, ServiceError, invalid
from relayd.sim.responses.faults import play
from relayd.sim.responses.lanes import Lanes
from relayd.sim.responses.memory import Memory, Steered, Storage
from relayd.sim.responses.planning import plan
from relayd.sim.responses.quota import Quota
from relayd.sim.responses.response import Response
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.steps import CloseWith, Distorted, Exit, Leave, Pause, as_text
from relayd.sim.responses.tally import Book, Ending
from relayd.sim.responses.turn import Turn, stamped

GRACE_S: Final = 60.0
"""How long turns may still run on a connection that has reached its age."""

_NO_STEERING: Final = invalid(
    "invalid_value", "Invalid value: 'response.steer'. Use 'response.create'.", "type"
)


@attrs.frozen(kw_only=True)
class Service:
    """What the connections of one upstream share.

    Attributes:
        choose: The scenario of a turn; raises ``Rejected`` for one that there is none of.
        book: Where turns are counted.
        storage: The responses that outlive their connection.
        quota: What a key may use; ``None``: as much as it likes.
    """

    choose: Callable[[Create], Scenario]
    book: Book
    storage: Storage
    quota: Quota | None = None


@attrs.define(eq=False)
class Connection:
    """The server's side of one connection.

    Attributes:
        name: What makes its ids differ from those of other connections.
        key: The SHA-256 of its API key, in hexadecimal.
        service: What it shares.
        expires_at: When it reaches its age, on the owner's clock.
        epoch: Unix time where that clock is 0.
        has_lanes: Whether it knows lanes and steering.
    """

    name: str
    key: str
    service: Service
    expires_at: float
    epoch: float = 0.0
    has_lanes: bool = True
    _lanes: Lanes[Turn] = attrs.field(factory=Lanes, init=False)
    _memory: Memory = attrs.field(factory=Memory, init=False)
    _sent: tuple[Turn, JsonObject] | None = attrs.field(default=None, init=False)
    _responses: int = attrs.field(default=0, init=False)
    _steers: int = attrs.field(default=0, init=False)
    _is_limit_told: bool = attrs.field(default=False, init=False)

    @property
    def has_room(self) -> bool:
        """Whether the next message may be handed in."""
        return self._lanes.has_room

    @property
    def due_at(self) -> float:
        """When :meth:`advance` has something to give, if nothing is handed in before."""
        pauses = [turn.resumes_at for turn in self._lanes.running]
        return min([*pauses, self.expires_at + (0.0 if self._lanes.is_idle else GRACE_S)])

    def receive(self, message: str | bytes) -> list[bytes]:
        """The frames that answer ``message`` at once; never raises."""
        try:
            if isinstance(message, bytes):
                raise Rejected(errors.BINARY)
            event = parse(message)
            if isinstance(event, Steer):
                return [_text(self._steer(event))]
            self._lanes.wait(self._turn(event, len(message)))
        except Rejected as rejected:
            lane = rejected.lane if self.has_lanes else None
            return [_text(stamped(rejected.error.event(), lane, None))]
        return []

    def advance(self, now: float) -> bytes | Exit | None:
        """The next frame, or how the connection ends now; ``None``: nothing before ``due_at``."""
        while True:
            while (turn := self._lanes.next_waiting()) is not None:
                self._begin(turn, now)
            moving = self._moving(now)
            if moving is None:
                return self._aged(now)
            step = next(moving.steps, None)
            match step:
                case None:
                    self._finish(moving, now)
                case Pause(seconds=seconds):
                    moving.resumes_at = now + seconds
                case CloseWith() | Leave():
                    return step
                case Distorted(event=event, write=write):
                    return write(self._next_event(moving, event))
                case _:
                    return as_text(self._next_event(moving, step))

    def delivered(self) -> None:
        """The frame that :meth:`advance` gave last was taken by the transport."""
        if self._sent is None:
            return
        turn, event = self._sent
        self._sent = None
        record = turn.ended_by(event, self.key)
        if record is None:
            return
        self.service.book.add(record)
        past = None if turn.response is None else turn.response.past()
        if past is not None and record.ending is not Ending.ERROR:
            self._memory.keep(past)
            if turn.create.is_stored:
                self.service.storage.keep(self.key, past)
        elif turn.create.previous_response_id is not None:
            self._memory.evict(turn.create.previous_response_id, turn.lane)

    def end(self) -> None:
        """The connection is over: what still runs is cut."""
        for turn in self._lanes.running:
            self._cut(turn)

    def _turn(self, create: Create, size_bytes: int) -> Turn:
        """``create`` as a turn that waits, be it for its refusal.

        Raises:
            Rejected: It names no lane that there can be.
        """
        if self.has_lanes:
            lane = create.lane()
            refusal = None if self._lanes.open(lane) else errors.STREAM_LIMIT
            return Turn(create, lane, size_bytes, refusal)
        refusal = None if create.stream_id is msgspec.UNSET else errors.UNKNOWN_STREAM_ID
        return Turn(create, None, size_bytes, refusal)

    def _begin(self, turn: Turn, now: float, scenario: Scenario | None = None) -> None:
        """Settle what ``turn`` will do, from the next step on."""
        try:
            self._admit(turn, now)
            create = turn.create
            turn.scenario = self.service.choose(create) if scenario is None else scenario
            self._responses += 1
            settled = plan(
                create,
                response_id=f"resp_{self.name}_{self._responses}",
                lane=turn.lane,
                key=self.key,
                memory=self._memory,
                storage=self.service.storage,
                created_at=int(self.epoch + now),
            )
            response = Response(settled)
            turn.steps = play(response, turn.scenario)
            turn.response = response
        except Rejected as rejected:
            turn.steps = iter((rejected.error.event(),))

    def _admit(self, turn: Turn, now: float) -> None:
        refusal: ServiceError | None = turn.refusal
        if refusal is None and now >= self.expires_at:
            refusal = errors.CONNECTION_LIMIT
            self._is_limit_told = True
        if refusal is None and self.service.quota is not None:
            resets_at = self.service.quota.take(self.key, self.epoch + now)
            refusal = None if resets_at is None else errors.usage_limit_reached(int(resets_at))
        if refusal is not None:
            raise Rejected(refusal)

    def _moving(self, now: float) -> Turn | None:
        """The turn whose move it is; the next one's is the next."""
        running = self._lanes.running
        for _ in range(len(running)):
            running.rotate(-1)
            if running[-1].resumes_at <= now:
                return running[-1]
        return None

    def _next_event(self, turn: Turn, event: JsonObject) -> bytes:
        self._sent = (turn, event)
        return msgspec.json.encode(turn.stamped(event))

    def _finish(self, turn: Turn, now: float) -> None:
        """End a turn that has no further step; what was said to it begins the next one."""
        response = turn.response
        if turn.is_ended and response is not None and response.has_successor:
            said = [item for steered in response.steers for item in steered.items]
            past_id = response.plan.response_id
            create = msgspec.structs.replace(turn.create, input=said, previous_response_id=past_id)
            successor = Turn(create, turn.lane)
            self._lanes.succeed(turn, successor)
            self._begin(successor, now, Scenario.NORMAL)
            return
        self._cut(turn)
        self._lanes.end(turn)

    def _cut(self, turn: Turn) -> None:
        if not turn.is_ended:
            turn.is_ended = True
            self.service.book.add(turn.record(Ending.CUT, self.key))

    def _aged(self, now: float) -> bytes | Exit | None:
        """What becomes of a connection on which nothing moves, when it has reached its age."""
        if now < self.expires_at:
            return None
        if self._lanes.is_idle and not self._is_limit_told:
            self._is_limit_told = True
            return _text(errors.CONNECTION_LIMIT.event())
        if self._lanes.is_idle or now >= self.expires_at + GRACE_S:
            return CloseWith(1000)
        return None

    def _steer(self, steer: Steer) -> JsonObject:
        """The answer to ``steer``.

        Raises:
            Rejected: This connection knows no steering.
        """
        if not self.has_lanes:
            raise Rejected(_NO_STEERING)
        target = steer.previous_response_id
        running = (turn for turn in self._lanes.running if not turn.is_ended)
        turn = next((turn for turn in running if turn.response_id == target), None)
        reason = self._reason_against(steer, turn)
        if turn is None or turn.response is None or reason is not None:
            code, message = reason or ("response_not_found", "The response was not found.")
            event = steering.refused(steer, code, message)
            return stamped(event, None, 0) if turn is None else turn.stamped(event)
        self._steers += 1
        steered = Steered(f"steer_{self.name}_{self._steers}", tuple(steer.items()))
        turn.response.steer(steered)
        return turn.stamped(steering.accepted(steered, target))

    def _reason_against(self, steer: Steer, turn: Turn | None) -> tuple[str, str] | None:
        """Why ``steer`` is not accepted: a code and a sentence; ``None``: it is."""
        if not steer.is_acceptable():
            return "invalid_input", "Steering input must be one or more messages of the user."
        if turn is None or turn.response is None:
            if self._memory.find(steer.previous_response_id) is not None:
                return "response_already_completed", "The response has completed."
            return "response_not_found", "The response was not found on this connection."
        if turn.create.is_warm_up:
            return "steering_not_supported", "A response that generates nothing cannot be steered."
        if not turn.response.is_steerable:
            return "response_not_active", "The response no longer accepts steering input."
        if len(turn.response.steers) >= steering.STEERS_MAX:
            return "too_many_pending_steers", "Too much steering input is pending."
        return None


def _text(event: JsonObject) -> bytes:
    return as_text(msgspec.json.encode(event))
