"""A Realtime conversation for tests: a meter that answers as told, a listener that remembers."""

from __future__ import annotations

import json
from collections import deque

import attrs

from relayd.dialect.meter import (
    Charge,
    CountingMeter,
    Refuse,
    Ticket,
    ToolCalled,
    Turn,
    TurnAsk,
    UpstreamError,
    Usage,
    Wait,
)
from relayd.dialect.realtime import RealtimeConversation
from relayd.dialect.realtime_client import ModelRule, RealtimeClientReader
from relayd.dialect.realtime_upstream import RealtimeUpstreamReader
from relayd.protocol.outcomes import Action, Notice


@attrs.define(eq=False)
class Slip:
    """A ticket that remembers how it ended: settled with a turn, or void."""

    meter: TellingMeter
    endings: list[Turn | None] = attrs.field(factory=list)

    def settle(self, turn: Turn) -> Charge:
        self.endings.append(turn)
        if turn.usage is not None:
            self.meter.usages.append(turn.usage)
        return Charge(usage=turn.usage)

    def void(self) -> None:
        self.endings.append(None)


@attrs.define
class TellingMeter(CountingMeter):
    """Answers from a queue, else allows."""

    answers: deque[Refuse | Wait] = attrs.field(factory=deque)
    asks: list[TurnAsk] = attrs.field(factory=list)
    begun: list[TurnAsk] = attrs.field(factory=list)
    slips: list[Slip] = attrs.field(factory=list)
    usages: list[Usage] = attrs.field(factory=list)
    models: list[tuple[str | None, str | None]] = attrs.field(factory=list)

    def slip(self) -> Slip:
        self.slips.append(Slip(self))
        return self.slips[-1]

    def told(self, model: str | None, transcription_model: str | None) -> None:
        self.models.append((model, transcription_model))

    def turn_asked(self, ask: TurnAsk) -> Ticket | Refuse | Wait:
        self.asks.append(ask)
        return self.answers.popleft() if self.answers else self.slip()

    def turn_begun(self, ask: TurnAsk) -> Ticket:
        self.begun.append(ask)
        return self.slip()

    def transcribed(self, usage: Usage, now: float) -> Charge:
        self.usages.append(usage)
        return Charge(usage=usage)


@attrs.define
class Listening:
    asked: list[float] = attrs.field(factory=list)
    started: list[str | None] = attrs.field(factory=list)
    outputs: list[tuple[str | None, float, float]] = attrs.field(factory=list)
    calls: list[tuple[str | None, ToolCalled]] = attrs.field(factory=list)
    ended: list[Turn] = attrs.field(factory=list)
    charges: list[Charge] = attrs.field(factory=list)
    errors: list[UpstreamError] = attrs.field(factory=list)
    limits: list[float] = attrs.field(factory=list)

    def turn_asked(self, now: float) -> None:
        self.asked.append(now)

    def turn_started(self, turn_id: str | None, now: float) -> None:
        self.started.append(turn_id)

    def turn_first_output(self, turn_id: str | None, asked_at: float, now: float) -> None:
        self.outputs.append((turn_id, asked_at, now))

    def tool_called(self, turn_id: str | None, call: ToolCalled) -> None:
        self.calls.append((turn_id, call))

    def turn_ended(self, turn: Turn, charge: Charge) -> None:
        self.ended.append(turn)
        self.charges.append(charge)

    def upstream_error(self, error: UpstreamError, now: float) -> None:
        self.errors.append(error)

    def upstream_limited(self, retry_after_s: float, now: float) -> None:
        self.limits.append(retry_after_s)


@attrs.define
class Talk:
    """One conversation, spoken to in events."""

    meter: TellingMeter = attrs.field(factory=TellingMeter)
    heard: Listening = attrs.field(factory=Listening)
    rule: ModelRule = attrs.field(factory=lambda: ModelRule(permits=lambda model: model == "good"))
    conversation: RealtimeConversation = attrs.field(init=False)
    _client_reader: RealtimeClientReader = attrs.field(init=False)
    _upstream_reader: RealtimeUpstreamReader = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.conversation = RealtimeConversation(self.meter, self.heard, self.rule)
        # Kept here, as a session does: at its end the conversation lets go of them.
        self._client_reader = self.conversation.client_reader
        self._upstream_reader = self.conversation.upstream_reader

    def client(self, kind: str, now: float = 1.0, **fields: object) -> Action | None:
        payload = json.dumps({"type": kind, **fields}).encode()
        return self._client_reader.message(payload, now, text=True)

    def append(self, audio_bytes: int) -> Action | None:
        """So much audio, spelled as SDKs do."""
        payload = b'{"type":"input_audio_buffer.append","audio":"%s"}' % base64_of(audio_bytes)
        return self._client_reader.message(payload, 1.0, text=True)

    def upstream(self, kind: str, now: float = 1.0, **fields: object) -> Notice | None:
        payload = json.dumps({"type": kind, **fields}).encode()
        return self._upstream_reader.message(payload, now)

    def oversize(self, head: bytes, now: float = 1.0) -> Notice | None:
        """A message begins so that is too long to be read."""
        return self._upstream_reader.oversize(head, now)

    def created(self, turn_id: str | None, now: float = 1.0) -> Notice | None:
        return self.upstream("response.created", now, response={"id": turn_id})

    def delta(self, turn_id: str | None, now: float = 1.0, delta: str = "AA") -> Notice | None:
        return self.upstream("response.output_audio.delta", now, response_id=turn_id, delta=delta)

    def done(
        self, turn_id: str | None, now: float = 1.0, status: str = "completed", usage: object = None
    ) -> Notice | None:
        response = {"id": turn_id, "status": status, "usage": usage}
        return self.upstream("response.done", now, response=response)


def base64_of(size: int) -> bytes:
    """Base64 that decodes to ``size`` bytes, which three divides."""
    assert size % 3 == 0
    return b"QUJD" * (size // 3)
