"""What relayd knows of how one account is doing: breaker, cool-down, disablement, averages.

Health belongs to a set of credentials at an address. When the configuration changes either, the
account gets a new health, and the verdicts of sessions under way go to the old one, unseen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs

from relayd.routing.breaker import Breaker, BreakerState
from relayd.routing.classify import FailureKind

if TYPE_CHECKING:
    from relayd.routing.classify import Failure

PROBE_EVERY_S: Final = 300.0
"""A disabled account is dialled this often, to see whether somebody has mended it."""

COOL_DOWN_S_MIN: Final = 10.0
"""The rest after a rate limit that names no time; doubled each further time."""

COOL_DOWN_S_MAX: Final = 60.0
"""The doubling ends here. A longer ``Retry-After`` is obeyed."""

REST_S_MIN: Final = 1.0
"""A ``Retry-After`` of nothing is no rest; this is the least."""

EWMA_SHARE: Final = 0.2
"""The newest outcome's share in an average: some ten outcomes are remembered."""


@attrs.frozen
class AccountDisabled:
    """A fatal answer: the account is not used until a probe succeeds."""

    account: str
    code: str
    message: str


@attrs.frozen
class AccountEnabled:
    """A probe succeeded; the account is used again."""

    account: str


@attrs.frozen
class AccountCooled:
    """A rate limit: the account rests for ``cool_down_s``."""

    account: str
    code: str
    cool_down_s: float


@attrs.frozen
class BreakerOpened:
    """The upstream failed too often, or failed its trial; it is tried again in ``open_s``."""

    account: str
    code: str
    open_s: float


@attrs.frozen
class BreakerClosed:
    """The trial succeeded; the upstream is used as before."""

    account: str


Change = AccountDisabled | AccountEnabled | AccountCooled | BreakerOpened | BreakerClosed
"""Something that an operator wants to read in the log."""


@attrs.frozen
class Disablement:
    """Why an account is not used, and since when."""

    code: str
    message: str
    since: float


@attrs.define(eq=False)
class Health:
    """How one account is doing. All methods are synchronous; ``now`` is in seconds."""

    name: str
    breaker: Breaker = attrs.field(factory=Breaker)
    disabled: Disablement | None = None
    probe_at: float = math.inf
    cooled_until: float = -math.inf
    error_average: float = 0.0
    """0 to 1: the share of late outcomes that were the upstream's failure."""
    first_frame_ms: float | None = None
    """The average time from the 101 to the first message; ``None`` before there was one."""
    _cool_down_s_next: float = COOL_DOWN_S_MIN

    def succeed(
        self, generation: int, first_frame_ms: float | None, now: float
    ) -> tuple[Change, ...]:
        """The upstream's first frame was a good one."""
        self.error_average = _moved(self.error_average, 0.0)
        if first_frame_ms is not None:
            before = first_frame_ms if self.first_frame_ms is None else self.first_frame_ms
            self.first_frame_ms = _moved(before, first_frame_ms)
        if now >= self.cooled_until:
            self._cool_down_s_next = COOL_DOWN_S_MIN
        closed = self.breaker.succeed(generation, now)
        return (BreakerClosed(self.name),) if closed else ()

    def fail(
        self, generation: int, failure: Failure, now: float, *, jitter: float
    ) -> tuple[Change, ...]:
        """An attempt or a session failed; what follows is told by the failure's kind."""
        match failure.kind:
            case FailureKind.FATAL:
                return self._disable(failure, now)
            case FailureKind.RATE_LIMITED:
                return self._cool_down(failure, now)
            case FailureKind.UNREACHABLE:
                return self._blame(generation, failure, now, jitter)
            case FailureKind.REFUSED | FailureKind.CLIENT_FAULT:
                return ()

    @property
    def retry_at(self) -> float | None:
        """When the account is tried again, by the clock of ``now``, or was last.

        ``None`` where nothing ever stood against it. When a trial ends, nobody knows.
        """
        if self.disabled is not None:
            return self.probe_at
        times = [self.cooled_until] if self.cooled_until > -math.inf else []
        if self.breaker.state is BreakerState.OPEN:
            times.append(self.breaker.retry_at)
        return max(times, default=None)

    def claim_probe(self, now: float) -> bool:
        """Whether a probe is due; if so the next one is due ``PROBE_EVERY_S`` from now.

        A probe is a session like any other, so it waits for a breaker that would not admit it.
        """
        if self.disabled is None or now < self.probe_at or not self.breaker.admits(now):
            return False
        self.probe_at = now + PROBE_EVERY_S
        return True

    def enable(self) -> tuple[Change, ...]:
        """Somebody has mended the account."""
        if self.disabled is None:
            return ()
        self.disabled = None
        self.probe_at = math.inf
        return (AccountEnabled(self.name),)

    def _disable(self, failure: Failure, now: float) -> tuple[Change, ...]:
        if self.disabled is not None:
            return ()
        self.disabled = Disablement(failure.code, failure.message, now)
        self.probe_at = now + PROBE_EVERY_S
        return (AccountDisabled(self.name, failure.code, failure.message),)

    def _cool_down(self, failure: Failure, now: float) -> tuple[Change, ...]:
        """Rest. Sessions under way that are limited too may prolong a rest, not double it."""
        asked_s = failure.retry_after_s
        if now < self.cooled_until:
            self.cooled_until = max(self.cooled_until, now + (asked_s or 0.0))
            return ()
        cool_down_s = self._cool_down_s_next if asked_s is None else max(asked_s, REST_S_MIN)
        self._cool_down_s_next = min(self._cool_down_s_next * 2, COOL_DOWN_S_MAX)
        self.cooled_until = now + cool_down_s
        return (AccountCooled(self.name, failure.code, cool_down_s),)

    def _blame(
        self, generation: int, failure: Failure, now: float, jitter: float
    ) -> tuple[Change, ...]:
        self.error_average = _moved(self.error_average, 1.0)
        if not self.breaker.fail(generation, now, jitter=jitter):
            return ()
        return (BreakerOpened(self.name, failure.code, self.breaker.retry_at - now),)


def _moved(average: float, outcome: float) -> float:
    return average + EWMA_SHARE * (outcome - average)
