"""Reading a Realtime upstream's events: all go on as they are, a few are decoded in passing."""

from __future__ import annotations

from typing import Final

import msgspec

from relayd.core.redact import redact
from relayd.dialect.meter import UpstreamError
from relayd.dialect.realtime_events import (
    HEAD,
    ServerEvent,
    WireError,
    decode_server_event,
    read_usage,
)
from relayd.dialect.realtime_turns import IDLE, Turns
from relayd.protocol.outcomes import Notice

_NO_PROOF: Final = b"\x00"
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"
_MATTERS: Final = frozenset(
    {"response.created", "response.done", _TRANSCRIBED, "error", "rate_limits.updated"}
)


class RealtimeUpstreamReader:
    """See :class:`~relayd.protocol.outcomes.UpstreamReader`."""

    __slots__ = ("_turns", "proof")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.proof = _NO_PROOF

    def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
        """Read one server event, if it matters."""
        head = HEAD.match(payload)
        turns = self._turns
        if head is not None and not self._concerns(head[2].decode()):
            if head[1] is None and not turns.waits_for_output:
                self.proof = bytes(payload[: head.end()])
            return None
        try:
            event = decode_server_event(payload)
        except (msgspec.DecodeError, RecursionError):
            return None  # not for relayd to judge; the client gets what its upstream said
        return self._read(event, now)

    def harmless(self, head: bytes | bytearray) -> bool:
        """Whether the type stands in ``head`` and does not matter."""
        found = HEAD.match(head)
        return found is not None and not self._concerns(found[2].decode())

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | None:
        """A huge event that may matter: of a response's end only its usage is lost."""
        found = HEAD.match(head)
        if found is None or found[2] != b"response.done" or len(self._turns.running) != 1:
            return None
        return self._read(
            ServerEvent(type="response.done", response_id=next(iter(self._turns.running))),
            now,
        )

    def _concerns(self, kind: str) -> bool:
        if kind in _MATTERS:
            return True
        return self._turns.waits_for_output > 0 and kind.endswith(".delta")

    def _read(self, event: ServerEvent, now: float) -> Notice | None:
        turns = self._turns
        response = event.response
        match event.type:
            case "response.created":
                turns.started(response.id if response else None, now)
                self.proof = _NO_PROOF  # until its first output has been seen
            case "response.done":
                turn_id = response.id if response else event.response_id
                usage = read_usage(response.usage, "response", turn_id) if response else None
                turns.finished(turn_id, response.status if response else None, usage, now)
                if turns.tell_idle and not turns.busy:
                    return IDLE
            case "rate_limits.updated":
                for limit in event.rate_limits:
                    if limit.remaining == 0 and limit.reset_seconds is not None:
                        turns.listener.upstream_limited(limit.reset_seconds, now)
            case "error":
                return self._error(event, now)
            case kind if kind == _TRANSCRIBED:
                usage = read_usage(event.usage, "transcription", event.item_id)
                if usage is not None:
                    turns.meter.usage(usage, now)
            case kind if kind.endswith(".delta"):
                turns.output(event.response_id, now)
        return None

    def _error(self, event: ServerEvent, now: float) -> Notice | None:
        turns = self._turns
        error = event.error or WireError()
        turns.unasked(error.event_id)
        if event.error is not None:
            code = None if error.code is None else str(error.code)
            message = redact(error.message or "")
            turns.listener.upstream_error(
                UpstreamError(kind=error.type, code=code, message=message), now
            )
        return IDLE if turns.tell_idle and not turns.busy else None
