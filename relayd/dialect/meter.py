"""The seam between what a dialect reads and what is counted, limited, priced and logged.

A :class:`Meter` belongs to one session and is asked synchronously, inside the pass. It may allow
a turn, refuse it, or ask for time, in which case the message is held and the session's task waits
for the decision. What it allows is a :class:`Ticket`, which ends with the turn. A
:class:`Listener` hears of turns and of what an upstream says about itself.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

import attrs


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens of one response or transcription. Cached ones are part of the input ones.

    Attributes:
        source: ``response`` or ``transcription``.
        upstream_id: The response's id, or ``<item id>:<content index>``; ``None`` where the
            upstream gave none.
        seconds: Duration of audio, where the upstream bills by time.
        estimated: Whether the numbers, or some of them, are relayd's own estimate.
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
        number: Which turn of the session, from 1.
        turn_id: The upstream's response id; ``None`` where it ended before there was one.
        reason: The response's status (``completed``, ``cancelled``, ``failed``, ``incomplete``),
            or the session's ending that cut it short.
        asked_at: When the client asked for it, else when the upstream began it.
        first_output_at: When its first output passed, if any did.
        usage: What it used, estimated where the upstream did not say; ``None`` where it was cut
            short, so that nothing is known to have been billed.
    """

    number: int
    turn_id: str | None
    reason: str
    asked_at: float
    first_output_at: float | None
    ended_at: float
    usage: Usage | None


@attrs.frozen(kw_only=True)
class TurnAsk:
    """A turn is asked for, or has been begun by the upstream.

    Attributes:
        now: When.
        expected: The input that is due, as an estimate; its output is zero.
        output_max_tokens: The most that the response may have, where the client said so.
        audio: Whether the output may be audio.
    """

    now: float
    expected: Usage
    output_max_tokens: int | None = None
    audio: bool = True


@attrs.frozen
class Refuse:
    """The turn is not allowed; its message is answered with an error event.

    Attributes:
        kind: ``error.type`` of the event.
        code: ``error.code``.
        message: Cause and remedy, for a person.
        retry_after_s: When trying again makes sense, where that can be said.
    """

    kind: str
    code: str
    message: str
    retry_after_s: float | None = None


class Receipt(Protocol):
    """What has been charged is on its way into the ledger."""

    def then(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` once the row is in the ledger, or is known to be late. At most one."""


@attrs.frozen(kw_only=True)
class Charge:
    """What a turn or a transcription cost.

    Attributes:
        usage: What was priced.
        cost_usd: Dollars, rounded to a thousand-millionth; ``None`` without a price.
        receipt: ``None`` where no ledger is kept.
    """

    usage: Usage | None
    cost_usd: Decimal | None = None
    receipt: Receipt | None = None


class Ticket(Protocol):
    """The right to one turn, and what is set aside for it. Ends with exactly one call."""

    def settle(self, turn: Turn) -> Charge:
        """The turn is over. What was set aside and not used is free again."""

    def void(self) -> None:
        """There will be no turn: what was set aside is free again."""


class TurnDecision(Protocol):
    """An answer that takes time."""

    async def wait(self) -> Ticket | Refuse:
        """The answer. Cancelled when the session ends first; then nothing stays set aside."""


@attrs.frozen
class Wait:
    """The answer takes time; the message is held until ``decision`` is made."""

    decision: TurnDecision


class Meter(Protocol):
    """Counts, prices and limits one session. Nothing here waits."""

    @property
    def tokens_in(self) -> int:
        """Input tokens of the session so far."""

    @property
    def tokens_out(self) -> int:
        """Output tokens of the session so far."""

    @property
    def cost_usd(self) -> Decimal | None:
        """Its cost so far; ``None`` once something in it had no price."""

    def opened(self, now: float) -> None:
        """The session begins: the 101 was written."""

    def told(self, model: str | None, transcription_model: str | None) -> None:
        """What the upstream says the session's models are, whenever it does."""

    def turn_asked(self, ask: TurnAsk) -> Ticket | Refuse | Wait:
        """Whether the client may have another turn."""

    def turn_begun(self, ask: TurnAsk) -> Ticket:
        """The upstream has begun a turn that nobody asked for (it heard the user stop)."""

    def transcribed(self, usage: Usage, now: float) -> Charge:
        """A transcription of the client's audio used this much, outside any turn."""

    def look(self, now: float) -> float:
        """Do what time brings (slices of time to bill); returns when to be called again."""

    def ended(self, reason: str, now: float) -> Receipt | None:
        """The session is over; called exactly once, after the last charge.

        The receipt is of a last row that the session as a whole has, if it has one.
        """


@attrs.frozen(kw_only=True)
class UpstreamError:
    """An error event of the upstream's, in the middle of a session."""

    kind: str | None
    code: str | None
    message: str


@attrs.frozen
class ToolCalled:
    """A call of a tool that the client has. Both texts are the upstream's, and cut."""

    name: str | None
    call_id: str | None


class Listener(Protocol):
    """Hears what a dialect reads. Called inside the pass: nothing here may wait or raise."""

    def turn_asked(self, now: float) -> None:
        """A create was sent on; its response is due."""

    def turn_started(self, turn_id: str | None, now: float) -> None:
        """A response began."""

    def turn_first_output(self, turn_id: str | None, asked_at: float, now: float) -> None:
        """The first output of a response passed, which was asked for at ``asked_at``."""

    def tool_called(self, turn_id: str | None, call: ToolCalled) -> None:
        """A response that is about to end calls a tool of the client's."""

    def turn_ended(self, turn: Turn, charge: Charge) -> None:
        """A response is over."""

    def upstream_error(self, error: UpstreamError, now: float) -> None:
        """The upstream reported an error."""

    def upstream_limited(self, retry_after_s: float, now: float) -> None:
        """The upstream's own limits leave nothing for so many seconds."""


@attrs.define
class CountingMeter:
    """Allows every turn, prices nothing and keeps the session's totals."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: Decimal | None = None

    def opened(self, now: float) -> None:
        """See :class:`Meter`."""

    def told(self, model: str | None, transcription_model: str | None) -> None:
        """See :class:`Meter`."""

    def turn_asked(self, ask: TurnAsk) -> Ticket | Refuse | Wait:
        """See :class:`Meter`."""
        return _Free(self)

    def turn_begun(self, ask: TurnAsk) -> Ticket:
        """See :class:`Meter`."""
        return _Free(self)

    def transcribed(self, usage: Usage, now: float) -> Charge:
        """See :class:`Meter`."""
        return self.count(usage)

    def look(self, now: float) -> float:
        """See :class:`Meter`."""
        return float("inf")

    def ended(self, reason: str, now: float) -> Receipt | None:
        """See :class:`Meter`."""
        return None

    def count(self, usage: Usage | None) -> Charge:
        """Add to the totals."""
        if usage is not None:
            self.tokens_in += usage.input_total
            self.tokens_out += usage.output_total
        return Charge(usage=usage)


@attrs.frozen
class _Free:
    """A ticket with nothing set aside."""

    meter: CountingMeter

    def settle(self, turn: Turn) -> Charge:
        """See :class:`Ticket`."""
        return self.meter.count(turn.usage)

    def void(self) -> None:
        """See :class:`Ticket`."""
