"""The seam between what a dialect reads and what is counted, limited and logged.

A :class:`Meter` belongs to one session and is asked synchronously, inside the pass. It may allow
a turn, refuse it, or ask for time, in which case the message is held and the session's task waits
for the decision. A :class:`Listener` hears of turns and of what an upstream says about itself.
"""

from __future__ import annotations

from typing import Protocol

import attrs


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens of one response or transcription. Cached ones are part of the input ones.

    Attributes:
        source: ``response`` or ``transcription``.
        upstream_id: The response's or item's id; ``None`` where the upstream gave none.
        seconds: Duration of audio, where the upstream bills by time.
        estimated: Whether the numbers are relayd's own estimate.
    """

    source: str
    upstream_id: str | None = None
    input_text: int = 0
    input_audio: int = 0
    input_image: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    output_text: int = 0
    output_audio: int = 0
    input_total: int = 0
    output_total: int = 0
    seconds: float | None = None
    estimated: bool = False

    @property
    def cached_total(self) -> int:
        """Cached input tokens of every kind."""
        return self.cached_text + self.cached_audio + self.cached_image


@attrs.frozen(kw_only=True)
class Turn:
    """One response, as it ended.

    Attributes:
        turn_id: The upstream's response id; ``None`` where it ended before there was one.
        reason: The response's status (``completed``, ``cancelled``, ``failed``, ``incomplete``),
            or the session's ending that cut it short.
        asked_at: When the client asked for it, else when the upstream began it.
        first_output_at: When its first output passed, if any did.
        usage: What it used; ``None`` where the upstream did not say.
    """

    turn_id: str | None
    reason: str
    asked_at: float
    first_output_at: float | None
    ended_at: float
    usage: Usage | None


@attrs.frozen(kw_only=True)
class TurnAsk:
    """A client asks for a turn.

    Attributes:
        now: When.
        payload: The message that asks, for estimates.
    """

    now: float
    payload: bytes


@attrs.frozen
class Refuse:
    """The turn is not allowed; its message is answered with an error event.

    Attributes:
        kind: ``error.type`` of the event.
        code: ``error.code``.
        message: Cause and remedy, for a person.
    """

    kind: str
    code: str
    message: str


class TurnDecision(Protocol):
    """An answer that takes time."""

    async def wait(self) -> Refuse | None:
        """The answer; ``None`` allows the turn. Cancelled when the session ends first."""


@attrs.frozen
class Wait:
    """The answer takes time; the message is held until ``decision`` is made."""

    decision: TurnDecision


class Meter(Protocol):
    """Counts and limits one session. Nothing here waits."""

    def opened(self, now: float) -> None:
        """The session begins: the 101 was written."""

    def turn_asked(self, ask: TurnAsk) -> Refuse | Wait | None:
        """Whether the client may have another turn; ``None`` allows it."""

    def usage(self, usage: Usage, now: float) -> None:
        """A response or a transcription used this much."""

    def ended(self, now: float) -> None:
        """The session is over; called exactly once, after the last usage."""


@attrs.frozen(kw_only=True)
class UpstreamError:
    """An error event of the upstream's, in the middle of a session."""

    kind: str | None
    code: str | None
    message: str


class Listener(Protocol):
    """Hears what a dialect reads. Called inside the pass: nothing here may wait or raise."""

    def turn_asked(self, now: float) -> None:
        """A create was sent on; its response is due."""

    def turn_started(self, turn_id: str | None, now: float) -> None:
        """A response began."""

    def turn_ended(self, turn: Turn) -> None:
        """A response is over."""

    def upstream_error(self, error: UpstreamError, now: float) -> None:
        """The upstream reported an error."""

    def upstream_limited(self, retry_after_s: float, now: float) -> None:
        """The upstream's own limits leave nothing for so many seconds."""


@attrs.define
class CountingMeter:
    """Allows every turn and keeps the session's totals."""

    tokens_in: int = 0
    tokens_out: int = 0

    def opened(self, now: float) -> None:
        """See :class:`Meter`."""

    def turn_asked(self, ask: TurnAsk) -> Refuse | Wait | None:
        """See :class:`Meter`."""
        return None

    def usage(self, usage: Usage, now: float) -> None:
        """See :class:`Meter`."""
        self.tokens_in += usage.input_total
        self.tokens_out += usage.output_total

    def ended(self, now: float) -> None:
        """See :class:`Meter`."""
