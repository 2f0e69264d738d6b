"""Which responses of a Realtime session are asked for, running and over."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from relayd.core.endings import Reason
from relayd.dialect.meter import Listener, Meter, Refuse, Turn, Usage
from relayd.protocol.outcomes import Notice

ASKED_MAX: Final = 64
"""Creates without a response that are remembered; an upstream refuses a second active one."""

TURNS_MAX: Final = 64
"""Responses in progress that are remembered (out-of-band ones run side by side)."""

IDLE: Final = Notice("idle")
"""Handed to the session's task, on request, when the last running response has ended."""


@attrs.frozen
class _Asked:
    at: float
    event_id: str | None  # the client's own, which an error may name


@attrs.define
class _Running:
    asked_at: float
    first_output_at: float | None = None


class Turns:
    """The state that the readers of a session's two directions share.

    Attributes:
        meter: Asked for every turn, told of every usage.
        listener: Told of every turn's beginning and end.
        waits_for_output: How many running responses have had no output yet.
        tell_idle: Ask for :data:`IDLE` when the last running response has ended.
        closed_to_turns: While set, a new response is refused with it.
    """

    def __init__(self, meter: Meter, listener: Listener) -> None:
        self.meter = meter
        self.listener = listener
        self.tell_idle = False
        self.closed_to_turns: Refuse | None = None
        self.asked: deque[_Asked] = deque(maxlen=ASKED_MAX)
        self.running: dict[str | None, _Running] = {}
        self.waits_for_output = 0

    @property
    def busy(self) -> bool:
        """Whether a response is asked for or running."""
        return bool(self.running or self.asked)

    @property
    def busy_since(self) -> float | None:
        """When the oldest response asked for or running was asked for."""
        times = [
            *(asked.at for asked in self.asked),
            *(turn.asked_at for turn in self.running.values()),
        ]
        return min(times, default=None)

    def cut_short(self, reason: Reason, now: float) -> None:
        """The session is over: every response that still runs ends with it, unpaid."""
        for turn_id, running in self.running.items():
            self._report(turn_id, running, reason.value, None, now)
        for asked in self.asked:
            self._report(None, _Running(asked.at), reason.value, None, now)
        self.running.clear()
        self.asked.clear()
        self.waits_for_output = 0

    def ask(self, now: float, event_id: str | None = None) -> None:
        """A create is sent on."""
        self.asked.append(_Asked(now, event_id))
        self.listener.turn_asked(now)

    def started(self, turn_id: str | None, now: float) -> None:
        """``response.created`` passed."""
        if turn_id in self.running:
            return
        asked_at = self._next_asked_at(now)
        if len(self.running) < TURNS_MAX:
            self.running[turn_id] = _Running(asked_at)
            self._count_waiting()
        self.listener.turn_started(turn_id, now)

    def output(self, turn_id: str | None, now: float) -> None:
        """A delta passed while some response had none yet."""
        running = self.running.get(self._known(turn_id))
        if running is not None and running.first_output_at is None:
            running.first_output_at = now
            self._count_waiting()

    def finished(
        self, turn_id: str | None, status: str | None, usage: Usage | None, now: float
    ) -> None:
        """``response.done`` passed."""
        running = self.running.pop(self._known(turn_id), None)
        if running is None:  # an upstream that does not say when a response begins
            running = _Running(self._next_asked_at(now))
        self._count_waiting()
        if usage is not None:
            self.meter.usage(usage, now)
        self._report(turn_id, running, status or "completed", usage, now)

    def unasked(self, event_id: str | None) -> None:
        """An error arrived: the create that it names, else most likely the oldest, has failed."""
        if event_id is None:
            if self.asked:
                self.asked.popleft()
            return
        for asked in self.asked:
            if asked.event_id == event_id:
                self.asked.remove(asked)
                return

    def _next_asked_at(self, now: float) -> float:
        return self.asked.popleft().at if self.asked else now

    def _known(self, turn_id: str | None) -> str | None:
        """The response meant by an event that names none: the only one, if it is one."""
        if turn_id is None and len(self.running) == 1:
            return next(iter(self.running))
        return turn_id

    def _count_waiting(self) -> None:
        turns = self.running.values()
        self.waits_for_output = sum(turn.first_output_at is None for turn in turns)

    def _report(
        self, turn_id: str | None, running: _Running, reason: str, usage: Usage | None, now: float
    ) -> None:
        self.listener.turn_ended(
            Turn(
                turn_id=turn_id,
                reason=reason,
                asked_at=running.asked_at,
                first_output_at=running.first_output_at,
                ended_at=now,
                usage=usage,
            )
        )
