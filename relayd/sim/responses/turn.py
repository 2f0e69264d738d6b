"""One turn of a connection: a create from its arrival to what it has told last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from relayd.sim.responses.client_events import Create
from relayd.sim.responses.errors import JsonObject, ServiceError
from relayd.sim.responses.response import TERMINALS, Response
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.steps import Step
from relayd.sim.responses.tally import Ending, TurnRecord
from relayd.sim.responses.usage import NO_USAGE

_UNNUMBERED: Final = frozenset({"codex.rate_limits", "response.metadata"})
_ENDINGS: Final = {
    "response.completed": Ending.COMPLETED,
    "response.incomplete": Ending.INCOMPLETE,
    "response.failed": Ending.FAILED,
}


@attrs.define(eq=False)
class Turn:
    """A turn, waiting or running.

    Attributes:
        create: What was asked.
        lane: Where; ``None`` is the default lane.
        size_bytes: The length of the message that asked.
        refusal: Why it will be refused, where that is known before it begins.
        scenario: What is played.
        response: What is played with; ``None`` before it begins and where it is refused.
        steps: What is still to be done.
        resumes_at: When the next step may be done, on the owner's clock.
        is_created: Whether ``response.created`` was sent.
        is_ended: Whether a terminal event was sent.
    """

    create: Create
    lane: str | None
    size_bytes: int = 0
    refusal: ServiceError | None = None
    scenario: Scenario = Scenario.NORMAL
    response: Response | None = attrs.field(default=None, init=False)
    steps: Iterator[Step] = attrs.field(factory=lambda: iter(()), init=False)
    resumes_at: float = attrs.field(default=0.0, init=False)
    is_created: bool = attrs.field(default=False, init=False)
    is_ended: bool = attrs.field(default=False, init=False)
    _sequence: int = attrs.field(default=0, init=False)

    @property
    def response_id(self) -> str | None:
        """The response's id, once a client can know it."""
        if self.response is None or not self.is_created:
            return None
        return self.response.plan.response_id

    def stamped(self, event: JsonObject) -> JsonObject:
        """``event`` with this turn's lane and the next number."""
        if event["type"] in _UNNUMBERED:
            return stamped(event, self.lane, None)
        self._sequence += 1
        return stamped(event, self.lane, self._sequence - 1)

    def ended_by(self, event: JsonObject, key: str) -> TurnRecord | None:
        """The record of this turn, if ``event`` is the one that ends it."""
        kind = str(event["type"])
        self.is_created = self.is_created or kind == "response.created"
        if self.is_ended or not (kind == "error" or kind in TERMINALS):
            return None
        self.is_ended = True
        ending = _ENDINGS.get(kind, Ending.ERROR)
        return self.record(ending, key, code=_code(event), is_told=self._is_true(event))

    def record(
        self, ending: Ending, key: str, *, code: str | None = None, is_told: bool = False
    ) -> TurnRecord:
        """What is to be counted of this turn."""
        response_id = self.response_id
        used = NO_USAGE if self.response is None or response_id is None else self.response.usage
        return TurnRecord(
            response_id=response_id,
            key=key,
            lane=self.lane,
            model=self.create.model,
            scenario=self.scenario,
            ending=ending,
            code=code,
            is_warm_up=self.create.is_warm_up,
            used=used,
            told=used if is_told else None,
        )

    def _is_true(self, event: JsonObject) -> bool:
        """Whether ``event`` tells the usage as it is."""
        match event:
            case {"response": {"usage": usage}} if self.response is not None:
                return bool(usage == self.response.usage.wire())
        return False


def stamped(event: JsonObject, lane: str | None, number: int | None) -> JsonObject:
    """``event`` with its lane, unless it is the default one, and its number, if it has one."""
    head: JsonObject = {"type": event["type"]}
    if lane is not None:
        head["stream_id"] = lane
    if number is not None:
        head["sequence_number"] = number
    return head | event


def _code(event: JsonObject) -> str | None:
    match event:
        case {"error": {"code": str(code)}} | {"code": str(code)}:
            return code
    return None
