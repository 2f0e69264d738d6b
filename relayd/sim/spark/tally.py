"""A simulated Spark's own count of what it has told, to compare others' counts with."""

from __future__ import annotations

import enum
from collections import deque

import attrs

from relayd.sim.spark.errors import JsonObject
from relayd.sim.spark.frames import is_last
from relayd.sim.spark.scenario import Scenario
from relayd.sim.spark.usage import NO_USAGE, Usage


class Ending(enum.StrEnum):
    """How a request has ended."""

    COMPLETED = "completed"
    ERROR = "error"
    CUT = "cut"
    """By this side, before the last frame."""
    CANCELLED = "cancelled"
    """By the client, before the last frame."""


@attrs.frozen(kw_only=True)
class Record:
    """One request.

    Attributes:
        sid: The session's id.
        app_id: Whose; empty where the request did not say.
        domain: The model, as asked for; empty where the request was refused before.
        user: The ``uid``, or ``user``.
        scenario: What was played.
        ending: How it ended.
        code: The code of an error.
        frames: Frames, or objects over HTTP, that were sent, whole or not.
        told: The usage that was told; ``None``: none, or one that is not true.
    """

    sid: str
    app_id: str
    domain: str
    user: str | None
    scenario: Scenario
    ending: Ending
    code: int | None = None
    frames: int = 0
    told: Usage | None = None


@attrs.frozen(kw_only=True)
class Tally:
    """A sum of requests.

    Attributes:
        completed: Requests by ending, as the next three.
        errors: With an error, first or last.
        cut: Ended by this side without a word.
        cancelled: Ended by the client.
        frames: Frames, or objects over HTTP, that were sent.
        usage: The sum of what was told.
        untold: Requests that told no usage, or none that is true.
    """

    completed: int = 0
    errors: int = 0
    cut: int = 0
    cancelled: int = 0
    frames: int = 0
    usage: Usage = NO_USAGE
    untold: int = 0

    @property
    def requests(self) -> int:
        """All of them."""
        return self.completed + self.errors + self.cut + self.cancelled

    def plus(self, record: Record) -> Tally:
        """This tally and one request more."""
        return Tally(
            completed=self.completed + (record.ending is Ending.COMPLETED),
            errors=self.errors + (record.ending is Ending.ERROR),
            cut=self.cut + (record.ending is Ending.CUT),
            cancelled=self.cancelled + (record.ending is Ending.CANCELLED),
            frames=self.frames + record.frames,
            usage=self.usage + (record.told or NO_USAGE),
            untold=self.untold + (record.told is None),
        )


@attrs.define
class Book:
    """The requests that have ended.

    Attributes:
        records_max: How many are kept one by one; the sum forgets none.
    """

    records_max: int
    total: Tally = attrs.field(factory=Tally, init=False)
    _records: deque[Record] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._records = deque(maxlen=self.records_max)

    def add(self, record: Record) -> None:
        """Count ``record``."""
        self.total = self.total.plus(record)
        self._records.append(record)

    def records(self) -> tuple[Record, ...]:
        """The last ``records_max`` requests, the oldest first."""
        return tuple(self._records)


@attrs.define(eq=False)
class Running:
    """A request that is being answered, as far as it is told.

    Attributes:
        sid: As in :class:`Record`, as the next five.
        app_id: Whose.
        domain: The model.
        user: The client's user.
        scenario: What is played.
        used: What the answer costs in truth, where there is one.
        is_admitted: Whether it counts as one that is being answered.
        is_closing: Whether this side closes when all is said.
    """

    sid: str
    app_id: str = ""
    domain: str = ""
    user: str | None = None
    scenario: Scenario = Scenario.NORMAL
    used: Usage | None = None
    is_admitted: bool = False
    is_closing: bool = True
    _frames: int = attrs.field(default=0, init=False)
    _ending: Ending | None = attrs.field(default=None, init=False)
    _code: int | None = attrs.field(default=None, init=False)
    _told: Usage | None = attrs.field(default=None, init=False)

    @property
    def is_ended(self) -> bool:
        """Whether its last frame was sent."""
        return self._ending is not None

    @property
    def is_refused(self) -> bool:
        """Whether its last frame was an error."""
        return self._ending is Ending.ERROR

    def sent(self, frame: JsonObject) -> None:
        """``frame`` was taken by the transport."""
        self._frames += 1
        if self._ending is not None or not is_last(frame):
            return
        match frame:
            case {"header": {"code": int(code)}} if code:
                self._ending, self._code = Ending.ERROR, code
            case _:
                self._ending = Ending.COMPLETED
        self._told = self._true_usage(frame)

    def record(self, *, is_cancelled: bool) -> Record:
        """What is to be counted, now that it is over; ``is_cancelled``: the client has gone."""
        gone = Ending.CANCELLED if is_cancelled else Ending.CUT
        return Record(
            sid=self.sid,
            app_id=self.app_id,
            domain=self.domain,
            user=self.user,
            scenario=self.scenario,
            ending=self._ending or gone,
            code=self._code,
            frames=self._frames,
            told=self._told,
        )

    def _true_usage(self, frame: JsonObject) -> Usage | None:
        match frame:
            case {"payload": {"usage": {"text": {"completion_tokens": int(said)} as told}}}:
                if self.used is None:
                    return None
                # An answer that is withdrawn is paid for as far as it went.
                used = attrs.evolve(
                    self.used, completion_tokens=min(said, self.used.completion_tokens)
                )
                return used if told == used.wire() else None
        return None
