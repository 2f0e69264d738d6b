"""What happens in relayd, as values, for whoever subscribes: ledger, metrics, event hub.

Publishing is synchronous and happens inside the pass: a subscriber only takes note, in bounded
time and memory, and does its waiting elsewhere.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from decimal import Decimal

import attrs

from relayd.observe.device_events import (
    DeviceCommand,
    DeviceCommanded,
    DeviceContextLost,
    DeviceEnded,
    DeviceEvent,
    DeviceGreeted,
    DeviceRejoined,
    DeviceToolCalled,
    DeviceTurnEnded,
)
from relayd.observe.facts import SessionFacts

__all__ = [
    "AccountChanged",
    "AccountFailed",
    "AccountStanding",
    "Bus",
    "BusEvent",
    "DeviceCommand",
    "DeviceCommanded",
    "DeviceContextLost",
    "DeviceEnded",
    "DeviceEvent",
    "DeviceGreeted",
    "DeviceRejoined",
    "DeviceToolCalled",
    "DeviceTurnEnded",
    "SessionEnded",
    "SessionFacts",
    "SessionFailedOver",
    "SessionOpened",
    "Subscriber",
    "TurnEnded",
    "TurnFirstOutput",
    "TurnRefused",
    "TurnStarted",
    "TurnToolCalled",
    "UpstreamConnected",
    "UsageCharged",
]


@attrs.frozen(kw_only=True)
class SessionOpened:
    """The 101 was written."""

    session: SessionFacts
    admission_ms: float
    connect_ms: float
    first_frame_ms: float | None


@attrs.frozen(kw_only=True)
class UpstreamConnected:
    """A socket was opened to an upstream: for a session that has one, or for one of its turns.

    A turn that finds a socket open is none. Of a session it is told behind its opening, so never
    of one that does not open.

    Attributes:
        wait_ms: How long the session, or the turn, waited for it.
    """

    session: SessionFacts
    wait_ms: float


@attrs.frozen(kw_only=True)
class SessionFailedOver:
    """An account failed, unseen by the client, and another one is tried.

    Attributes:
        session: With the account that is tried now. Of a session that never opens this is all
            that is told.
        account_from: The one that failed.
        reason: Why; it may be the upstream's own word.
    """

    session: SessionFacts
    account_from: str
    reason: str


@attrs.frozen(kw_only=True)
class SessionEnded:
    """The session is over and both connections are closed."""

    session: SessionFacts
    reason: str
    fault: str
    duration_s: float
    turns: int
    messages_up: int
    messages_down: int
    bytes_up: int
    bytes_down: int
    tokens_in: int
    tokens_out: int
    cost_usd: Decimal | None


@attrs.frozen(kw_only=True)
class TurnStarted:
    """A response began upstream."""

    session: SessionFacts
    turn_id: str | None


@attrs.frozen(kw_only=True)
class TurnFirstOutput:
    """The first output of a response passed. ``ttft_ms`` counts from when it was asked for."""

    session: SessionFacts
    turn_id: str | None
    ttft_ms: float


@attrs.frozen(kw_only=True)
class TurnToolCalled:
    """A response calls a tool of its client's. What it is called with is not told.

    Attributes:
        name: The tool's, in the model's words, cut.
        call_id: What its output will name; ``None`` in a dialect without such ids.
    """

    session: SessionFacts
    turn_id: str | None
    name: str | None
    call_id: str | None


@attrs.frozen(kw_only=True)
class TurnEnded:
    """A response is over."""

    session: SessionFacts
    turn_id: str | None
    reason: str
    ttft_ms: float | None
    duration_ms: float
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: Decimal | None


@attrs.frozen(kw_only=True)
class TurnRefused:
    """A session asked for a response and did not get it. ``reason`` is the code it was told."""

    session: SessionFacts
    reason: str


@attrs.frozen(kw_only=True)
class UsageCharged:
    """Something was used and has its row: a response, a transcription or a slice of time.

    Attributes:
        source: Which of them, in the ledger's words.
        upstream_model: What was priced: the account's name for it, or the upstream's own word.
        tokens_in_text: Of the input, the cached ones among them; likewise the next two.
        cost_usd: ``None`` without a price.
    """

    session: SessionFacts
    source: str
    upstream_model: str | None
    tokens_in: int
    tokens_out: int
    tokens_in_text: int
    tokens_in_audio: int
    tokens_in_image: int
    tokens_in_cached_text: int
    tokens_in_cached_audio: int
    tokens_in_cached_image: int
    tokens_out_text: int
    tokens_out_audio: int
    cost_usd: Decimal | None


@attrs.frozen(kw_only=True)
class AccountFailed:
    """An account failed: an attempt before a session began, or an error within one that is about
    the account. ``reason`` may be the upstream's own word."""

    account: str
    dialect: str
    reason: str


class AccountStanding(enum.StrEnum):
    """How an account stands, as its breaker says it."""

    CLOSED = "closed"  # it takes sessions
    OPEN = "open"  # it is left alone for a while: it failed, or rests after a rate limit
    PROBATION = "probation"  # one session is let through, as a trial
    DISABLED = "disabled"  # it takes none until it is mended, or switched on


@attrs.frozen(kw_only=True)
class AccountChanged:
    """The standing of an account has changed.

    A rest that is over, and a trial that told nothing, are not told: the next session shows.

    Attributes:
        reason: Why it is not closed, where a word says it; it may be the upstream's own.
        retry_in_s: When it is tried again, from now, if time helps.
    """

    account: str
    state: AccountStanding
    reason: str | None = None
    retry_in_s: float | None = None


BusEvent = (
    SessionOpened
    | UpstreamConnected
    | SessionFailedOver
    | SessionEnded
    | TurnStarted
    | TurnFirstOutput
    | TurnToolCalled
    | TurnEnded
    | TurnRefused
    | UsageCharged
    | AccountFailed
    | AccountChanged
    | DeviceEvent
)
Subscriber = Callable[[BusEvent], None]


@attrs.define
class Bus:
    """Hands every event to every subscriber, in the order of subscription.

    Attributes:
        failures: Exceptions that subscribers raised. One that raises is unsubscribed: it is a
            bug, and must not cost the sessions of others.
    """

    failures: int = 0
    _subscribers: list[Subscriber] = attrs.field(factory=list)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Hear of every event from now on; returns what ends it."""
        self._subscribers.append(subscriber)
        return lambda: self._unsubscribe(subscriber)

    def publish(self, event: BusEvent) -> None:
        """Hand ``event`` round."""
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(event)
            except Exception:  # noqa: BLE001 - the bus's one boundary: a subscriber is not the session's business
                self.failures += 1
                self._unsubscribe(subscriber)

    def _unsubscribe(self, subscriber: Subscriber) -> None:
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
