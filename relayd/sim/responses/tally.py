"""A simulated upstream's own count of what it has told, to compare others' counts with."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping
from typing import Final

import attrs

from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.usage import NO_USAGE, Usage

KEYS_MAX: Final = 1_000
"""API keys that are counted apart; those of further ones are in the total alone."""


class Ending(enum.StrEnum):
    """How a turn has ended."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    ERROR = "error"
    CUT = "cut"
    """Without a terminal event, with the connection."""


@attrs.frozen(kw_only=True)
class TurnRecord:
    """One turn: one response, or the error in place of one.

    Attributes:
        response_id: The response's id; ``None`` where no ``response.created`` was sent.
        key: The SHA-256 of the API key, in hexadecimal.
        lane: Its ``stream_id``; ``None`` is the default lane.
        model: As asked for.
        scenario: What was played.
        ending: How it ended.
        code: ``error.code`` of an error.
        is_warm_up: Whether no output was asked for.
        used: What it has used, told or not.
        told: What its terminal event says of that; ``None``: nothing, or what cannot be true.
    """

    response_id: str | None
    key: str
    lane: str | None
    model: str
    scenario: Scenario
    ending: Ending
    code: str | None = None
    is_warm_up: bool = False
    used: Usage = NO_USAGE
    told: Usage | None = None


@attrs.frozen(kw_only=True)
class Tally:
    """A sum of turns. A turn counts when its last event was taken by the transport.

    Attributes:
        completed: Turns by ending, as the next four.
        incomplete: Cut short by a limit, a filter, or the user.
        failed: With ``response.failed``.
        errors: With an ``error`` event.
        cut: Begun, and ended with the connection.
        warm_ups: Those of ``completed`` that asked for no output.
        usage: The sum of what was told.
        untold: Turns that told no usage, or usage that cannot be.
        untold_usage: What those have used in truth.
    """

    completed: int = 0
    incomplete: int = 0
    failed: int = 0
    errors: int = 0
    cut: int = 0
    warm_ups: int = 0
    usage: Usage = NO_USAGE
    untold: int = 0
    untold_usage: Usage = NO_USAGE

    @property
    def turns(self) -> int:
        """All of them."""
        return self.delivered + self.errors + self.cut

    @property
    def delivered(self) -> int:
        """Responses that were told to their end."""
        return self.completed + self.incomplete + self.failed

    def plus(self, turn: TurnRecord) -> Tally:
        """This tally and one turn more."""
        is_told = turn.told is not None
        return Tally(
            completed=self.completed + (turn.ending is Ending.COMPLETED),
            incomplete=self.incomplete + (turn.ending is Ending.INCOMPLETE),
            failed=self.failed + (turn.ending is Ending.FAILED),
            errors=self.errors + (turn.ending is Ending.ERROR),
            cut=self.cut + (turn.ending is Ending.CUT),
            warm_ups=self.warm_ups + (turn.is_warm_up and turn.ending is Ending.COMPLETED),
            usage=self.usage + (turn.told or NO_USAGE),
            untold=self.untold + (not is_told),
            untold_usage=self.untold_usage + (NO_USAGE if is_told else turn.used),
        )


@attrs.define
class Book:
    """The turns of all connections.

    Attributes:
        turns_max: How many turns are kept one by one; the sums forget none.
    """

    turns_max: int
    total: Tally = attrs.field(factory=Tally, init=False)
    _by_key: dict[str, Tally] = attrs.field(factory=dict, init=False)
    _turns: deque[TurnRecord] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._turns = deque(maxlen=self.turns_max)

    def add(self, turn: TurnRecord) -> None:
        """Count ``turn``."""
        self.total = self.total.plus(turn)
        if turn.key in self._by_key or len(self._by_key) < KEYS_MAX:
            self._by_key[turn.key] = self._by_key.get(turn.key, Tally()).plus(turn)
        self._turns.append(turn)

    def by_key(self) -> Mapping[str, Tally]:
        """The sums by key, as in :class:`TurnRecord`."""
        return dict(self._by_key)

    def turns(self) -> tuple[TurnRecord, ...]:
        """The last ``turns_max`` turns, the oldest first."""
        return tuple(self._turns)
