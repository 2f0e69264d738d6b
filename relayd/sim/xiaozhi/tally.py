"""A simulated xiaozhi server's own count of what it has heard and said."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

import attrs

from relayd.sim.xiaozhi.audio import Ear
from relayd.sim.xiaozhi.visitor import Visitor

KINDS_MAX = 32
"""Types of messages that are told apart; others count as "more"."""


@attrs.frozen(kw_only=True)
class Record:
    """One connection that has ended.

    Attributes:
        visitor: Who it was.
        version: The framing it was spoken with.
        kinds: How many text messages of each type came.
        packets_in: Packets that were heard.
        packets_lost: Those that were missing between two.
        packets_misplaced: Those that came twice or too late.
        frames_wrong: Binary messages that were no packet, as their size is not what they say.
        packets_out: Packets that were spoken.
        turns: Answers that were spoken to their end.
        cut: Answers that were not.
        tools: The device's tools, as far as they were listed.
        calls_answered: Calls of tools that were answered.
        is_refused: Whether the device was sent away.
        close_code: Of the device's Close, where it sent one.
    """

    visitor: Visitor
    version: int
    kinds: Mapping[str, int]
    packets_in: int
    packets_lost: int
    packets_misplaced: int
    frames_wrong: int
    packets_out: int
    turns: int
    cut: int
    tools: tuple[str, ...]
    calls_answered: int
    is_refused: bool
    close_code: int | None


@attrs.frozen(kw_only=True)
class Tally:
    """A sum of connections."""

    connections: int = 0
    refused: int = 0
    turns: int = 0
    cut: int = 0
    packets_in: int = 0
    packets_lost: int = 0
    frames_wrong: int = 0
    packets_out: int = 0

    def plus(self, record: Record) -> Tally:
        """This tally and one connection more."""
        return Tally(
            connections=self.connections + 1,
            refused=self.refused + record.is_refused,
            turns=self.turns + record.turns,
            cut=self.cut + record.cut,
            packets_in=self.packets_in + record.packets_in,
            packets_lost=self.packets_lost + record.packets_lost,
            frames_wrong=self.frames_wrong + record.frames_wrong,
            packets_out=self.packets_out + record.packets_out,
        )


@attrs.define
class Book:
    """The connections that have ended.

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
        """The last ``records_max`` connections, the oldest first."""
        return tuple(self._records)


@attrs.define(eq=False)
class Running:
    """A connection, as far as it has come. The counts are those of :class:`Record`."""

    visitor: Visitor
    version: int
    ear: Ear = attrs.field(factory=Ear, init=False)
    frames_wrong: int = attrs.field(default=0, init=False)
    packets_out: int = attrs.field(default=0, init=False)
    turns: int = attrs.field(default=0, init=False)
    cut: int = attrs.field(default=0, init=False)
    is_refused: bool = attrs.field(default=False, init=False)
    close_code: int | None = attrs.field(default=None, init=False)
    _kinds: Counter[str] = attrs.field(factory=Counter, init=False)

    def heard(self, kind: str) -> None:
        """A text message of that type has come."""
        is_new = kind not in self._kinds
        self._kinds["more" if is_new and len(self._kinds) >= KINDS_MAX else kind] += 1

    def count(self, kind: str) -> int:
        """How many of that type have come."""
        return self._kinds[kind]

    def record(self, tools: tuple[str, ...], calls_answered: int) -> Record:
        """What is to be kept, now that it is over."""
        return Record(
            visitor=self.visitor,
            version=self.version,
            kinds=dict(self._kinds),
            packets_in=self.ear.packets,
            packets_lost=self.ear.lost,
            packets_misplaced=self.ear.misplaced,
            frames_wrong=self.frames_wrong,
            packets_out=self.packets_out,
            turns=self.turns,
            cut=self.cut,
            tools=tools,
            calls_answered=calls_answered,
            is_refused=self.is_refused,
            close_code=self.close_code,
        )
