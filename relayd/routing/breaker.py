"""The breaker of one account: stop sending to an upstream that fails, try it again carefully.

``CLOSED`` flows, as in the circuit-breaker literature. The machine is pure: it is told ``now``
and a jitter, reads no clock and draws no random number, so the same calls give the same states.

A verdict on a session may come long after the session was admitted, when the breaker has
already opened, or closed again. So every admission hands out the breaker's *generation*, which
grows with each change of state, and a verdict of an older generation is void.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import Final

import attrs


class BreakerState(enum.StrEnum):
    """What the breaker permits. The value is the word used in logs and metrics."""

    CLOSED = "closed"  # every session
    OPEN = "open"  # none until ``retry_at``, then one, as a trial
    PROBATION = "probation"  # none: the trial is under way


class BreakerEvent(enum.StrEnum):
    """What can happen to a breaker."""

    ADMITTED = enum.auto()  # a session was let through
    SUCCEEDED = enum.auto()  # the upstream did what it should
    FAILED = enum.auto()  # it did not, within what is tolerated
    TRIPPED = enum.auto()  # it did not, once too often
    VOIDED = enum.auto()  # the session ended without telling anything about the upstream


TRANSITIONS: Final[dict[tuple[BreakerState, BreakerEvent], BreakerState]] = {
    (BreakerState.CLOSED, BreakerEvent.ADMITTED): BreakerState.CLOSED,
    (BreakerState.CLOSED, BreakerEvent.SUCCEEDED): BreakerState.CLOSED,
    (BreakerState.CLOSED, BreakerEvent.FAILED): BreakerState.CLOSED,
    (BreakerState.CLOSED, BreakerEvent.TRIPPED): BreakerState.OPEN,
    (BreakerState.CLOSED, BreakerEvent.VOIDED): BreakerState.CLOSED,
    (BreakerState.OPEN, BreakerEvent.ADMITTED): BreakerState.PROBATION,
    (BreakerState.PROBATION, BreakerEvent.SUCCEEDED): BreakerState.CLOSED,
    (BreakerState.PROBATION, BreakerEvent.TRIPPED): BreakerState.OPEN,
    # The trial told nothing: ``retry_at`` has passed, so the next session is the trial.
    (BreakerState.PROBATION, BreakerEvent.VOIDED): BreakerState.OPEN,
}
"""Every legal step. Verdicts are missing under ``OPEN`` because nothing it admitted is left."""


class IllegalEventError(Exception):
    """An event that the breaker's state does not allow; the breaker is as it was before."""


def advance(state: BreakerState, event: BreakerEvent) -> BreakerState:
    """The state after ``event``.

    Raises:
        IllegalEventError: The table has no such step.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalEventError(f"{event.name} while {state.name}") from None


@attrs.frozen(kw_only=True)
class BreakerPolicy:
    """When a breaker opens, and for how long."""

    failures_in_a_row_max: int = 5
    """This many failures without a success between them open it."""

    window_s: float = 60.0
    """The error rate is taken over about this long."""

    window_outcomes_min: int = 20
    """Below this many outcomes in the window the error rate says nothing."""

    window_failed_max: float = 0.5
    """This share of failures in the window, 0 to 1, opens it."""

    open_s_min: float = 1.0
    """How long it stays open the first time; doubled each further time."""

    open_s_max: float = 60.0
    """It never stays open for longer; closed for this long, the first time comes again."""

    jitter_share: float = 0.25
    """The share of the open time that a jitter of 1 takes off."""


DEFAULT_POLICY: Final = BreakerPolicy()

WINDOW_SLICES: Final = 6
"""The window forgets in steps of a sixth, so that it costs the same at any rate."""


@attrs.define
class _Slice:
    number: int
    failed: int = 0
    total: int = 0


@attrs.define
class _Window:
    """Outcomes of the last ``length_s`` seconds, counted in slices."""

    length_s: float
    slices: deque[_Slice] = attrs.field(factory=lambda: deque(maxlen=WINDOW_SLICES))

    def add(self, now: float, *, failed: bool) -> None:
        number = int(now * WINDOW_SLICES / self.length_s)
        while self.slices and self.slices[0].number <= number - WINDOW_SLICES:
            self.slices.popleft()
        if not self.slices or self.slices[-1].number != number:
            self.slices.append(_Slice(number))
        self.slices[-1].total += 1
        self.slices[-1].failed += failed

    def exceeds(self, failed_max: float, outcomes_min: int) -> bool:
        total = sum(part.total for part in self.slices)
        failed = sum(part.failed for part in self.slices)
        return total >= outcomes_min and failed >= failed_max * total


class Breaker:
    """One account's breaker. All methods are synchronous; times are seconds of one clock."""

    def __init__(self, policy: BreakerPolicy = DEFAULT_POLICY) -> None:
        self._policy = policy
        self._state = BreakerState.CLOSED
        self._generation = 0
        self._retry_at = -math.inf
        self._closed_at = -math.inf
        self._open_s_next = policy.open_s_min
        self._failed_in_a_row = 0
        self._window = _Window(policy.window_s)

    def __repr__(self) -> str:
        return f"<Breaker {self._state} generation={self._generation}>"

    @property
    def state(self) -> BreakerState:
        """What it permits. It stays ``OPEN`` past ``retry_at``, until a trial is admitted."""
        return self._state

    @property
    def retry_at(self) -> float:
        """When an open breaker admits a trial; meaningless in the other states."""
        return self._retry_at

    def admits(self, now: float) -> bool:
        """Whether a session may go through at ``now``. Asking changes nothing."""
        match self._state:
            case BreakerState.CLOSED:
                return True
            case BreakerState.OPEN:
                return now >= self._retry_at
            case BreakerState.PROBATION:
                return False

    def admit(self, now: float) -> int:
        """Let a session through; an open breaker goes on probation with it.

        Returns:
            The generation that the session's verdicts have to carry.

        Raises:
            IllegalEventError: :meth:`admits` would have said no.
        """
        if not self.admits(now):
            raise IllegalEventError(f"{BreakerEvent.ADMITTED.name} while {self._state.name}")
        self._step(BreakerEvent.ADMITTED)
        return self._generation

    def succeed(self, generation: int, now: float) -> bool:
        """The upstream served the session. Returns whether that closed the breaker."""
        if generation != self._generation:
            return False
        closed = self._step(BreakerEvent.SUCCEEDED)
        self._failed_in_a_row = 0
        if closed:
            # What made it open is behind it: a new failure must earn its place again.
            self._closed_at = now
            self._window = _Window(self._policy.window_s)
        self._window.add(now, failed=False)
        return closed

    def fail(self, generation: int, now: float, *, jitter: float = 0.0) -> bool:
        """The upstream failed the session, by its own fault.

        Args:
            generation: From :meth:`admit`; a verdict of an older one changes nothing.
            now: Seconds.
            jitter: 0 to 1; shortens the open time, so that many relays do not return at once.

        Returns:
            Whether that opened the breaker.
        """
        if generation != self._generation:
            return False
        if self._state is BreakerState.CLOSED and not self._exhausts_patience(now):
            return self._step(BreakerEvent.FAILED)
        opened_from = self._state
        self._step(BreakerEvent.TRIPPED)
        if opened_from is BreakerState.CLOSED and self._recovered_for_good(now):
            self._open_s_next = self._policy.open_s_min
        self._retry_at = now + self._open_s_next * (1 - self._policy.jitter_share * jitter)
        self._open_s_next = min(self._open_s_next * 2, self._policy.open_s_max)
        return True

    def void(self, generation: int) -> None:
        """The session is over and told nothing more about the upstream."""
        if generation == self._generation:
            self._step(BreakerEvent.VOIDED)

    def _exhausts_patience(self, now: float) -> bool:
        """Count a failure while closed."""
        self._failed_in_a_row += 1
        self._window.add(now, failed=True)
        policy = self._policy
        return self._failed_in_a_row >= policy.failures_in_a_row_max or self._window.exceeds(
            policy.window_failed_max, policy.window_outcomes_min
        )

    def _recovered_for_good(self, now: float) -> bool:
        """Whether it was closed for long enough that what was before no longer counts."""
        return now - self._closed_at >= self._policy.open_s_max

    def _step(self, event: BreakerEvent) -> bool:
        """Move along the table. Returns whether the state changed; then older verdicts are void."""
        after = advance(self._state, event)
        if after is self._state:
            return False
        self._state = after
        self._generation += 1
        return True
