"""The lanes of one Responses session: which create may start, which waits, and which is next.

A lane is a ``stream_id``, or ``None`` for the default one. On a lane creates run one after another,
in the order in which they came; lanes run side by side, up to as many as an upstream allows on one
connection. Creates that could start but for that start in the order in which they came.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from relayd.dialect.responses_aborts import CONSEQUENCES, Abort
from relayd.dialect.responses_client import Create, Mistake

ACTIVE_MAX: Final = 16
"""Responses that run at once on one connection."""

NAMES_MAX: Final = 32
"""Distinct ``stream_id`` that a connection may name in its life; the default lane is none."""

QUEUED_MAX: Final = 64
"""Creates that may wait on one lane."""

QUEUED_MAX_BYTES: Final = 64 << 20
"""Bytes of creates that may wait on all lanes of a session together."""


@attrs.frozen
class Placed:
    """What becomes of a create.

    Attributes:
        starts: Whether it may start now; else it waits.
        aborts: The running create that is to be aborted for it; then
            :meth:`Lanes.ended` gives the one that starts.
        dropped: Creates that waited on its lane and will never start.
    """

    starts: bool = False
    aborts: Create | None = None
    dropped: tuple[Create, ...] = ()


@attrs.frozen
class _Waiting:
    number: int  # in the order of coming
    create: Create


@attrs.define(eq=False)
class _Lane:
    running: Create | None = None
    aborting: bool = False  # its running create has been given up for a newer one
    queue: deque[_Waiting] = attrs.field(factory=deque)


class Lanes:
    """All lanes of one session.

    Whenever fewer than :data:`ACTIVE_MAX` creates run, none waits on a lane where nothing runs.

    Args:
        preempt: A create on a busy lane takes the place of what is there, instead of waiting.

    Attributes:
        queued: How many creates wait.
        queued_bytes: Bytes of their payloads.
        active: How many run.
    """

    def __init__(self, *, preempt: bool = False) -> None:
        self.queued = 0
        self.queued_bytes = 0
        self.active = 0
        self._preempt = preempt
        self._lanes: dict[str | None, _Lane] = {None: _Lane()}
        self._numbers = itertools.count()

    def running(self, stream_id: str | None) -> Create | None:
        """What runs on a lane."""
        lane = self._lanes.get(stream_id)
        return None if lane is None else lane.running

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits."""
        return bool(self.active or self.queued)

    def add(self, create: Create) -> Placed | Mistake:
        """Take in a create. One that is refused changes nothing."""
        lane = self._lanes.get(create.stream_id)
        if lane is None:
            if len(self._lanes) > NAMES_MAX:
                return _mistake(Abort.STREAM_LIMIT, create)
            lane = _Lane()
        if lane.running is None and not lane.queue and self.active < ACTIVE_MAX:
            self._lanes[create.stream_id] = lane
            self._start(lane, create)
            return Placed(starts=True)
        displaced = list(lane.queue) if self._preempt else []
        held = self.queued_bytes - sum(len(waiting.create.payload) for waiting in displaced)
        if (
            len(lane.queue) - len(displaced) >= QUEUED_MAX
            or held + len(create.payload) > QUEUED_MAX_BYTES
        ):
            return _mistake(Abort.QUEUE_FULL, create)
        self._lanes[create.stream_id] = lane
        self._empty(lane, displaced)
        number = displaced[0].number if displaced else next(self._numbers)  # it takes their place
        lane.queue.append(_Waiting(number, create))
        self.queued += 1
        self.queued_bytes += len(create.payload)
        dropped = tuple(waiting.create for waiting in displaced)
        if not self._preempt or lane.running is None or lane.aborting:
            return Placed(dropped=dropped)
        lane.aborting = True
        return Placed(aborts=lane.running, dropped=dropped)

    def ended(self, stream_id: str | None) -> Create | None:
        """The lane's running create is over, successors included; returns the one that starts.

        It may be one of another lane.
        """
        ended = self._lanes[stream_id]
        assert ended.running is not None, "nothing runs on this lane"
        ended.running, ended.aborting = None, False
        self.active -= 1
        lane = min(self._startable(), key=lambda lane: lane.queue[0].number, default=None)
        if lane is None:
            return None
        create = lane.queue.popleft().create
        self._forget(create)
        self._start(lane, create)
        return create

    def drop_all(self) -> tuple[Create, ...]:
        """Drop every create that waits, oldest first; what runs goes on."""
        all_waiting: list[_Waiting] = []
        for lane in self._lanes.values():
            waiting = list(lane.queue)
            self._empty(lane, waiting)
            all_waiting += waiting
        all_waiting.sort(key=lambda waiting: waiting.number)
        return tuple(waiting.create for waiting in all_waiting)

    def _startable(self) -> Iterator[_Lane]:
        return (lane for lane in self._lanes.values() if lane.running is None and lane.queue)

    def _start(self, lane: _Lane, create: Create) -> None:
        lane.running = create
        self.active += 1

    def _empty(self, lane: _Lane, waiting: Sequence[_Waiting]) -> None:
        """Take those that wait on a lane, all of them or none, out of its queue."""
        if waiting:
            lane.queue.clear()
        for one in waiting:
            self._forget(one.create)

    def _forget(self, create: Create) -> None:
        self.queued -= 1
        self.queued_bytes -= len(create.payload)


def _mistake(abort: Abort, create: Create) -> Mistake:
    words = CONSEQUENCES[abort].words
    assert words is not None, "a refused create is answered"
    return Mistake(
        words.status, words.type, words.code, words.message, words.param, create.stream_id
    )
