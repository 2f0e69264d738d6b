"""Reading a Realtime upstream's events: all go on as they are, a few are decoded in passing.

Most are told by their first bytes and never read (``proof``). What they carried is still known:
between two messages that are read, all were of the type that the proof names, and the flow has
counted them and their bytes.
"""

from __future__ import annotations

import re
from typing import Final

import attrs
import msgspec

from relayd.core.redact import redact
from relayd.dialect.meter import UpstreamError
from relayd.dialect.realtime_calls import calls_in
from relayd.dialect.realtime_estimates import (
    Medium,
    delta_envelope,
    delta_size,
    medium_of,
    text_size,
)
from relayd.dialect.realtime_events import (
    HEAD,
    ServerEvent,
    WireError,
    WireResponse,
    cut_event_id,
    decode_server_event,
    word,
)
from relayd.dialect.realtime_settings import bounded
from relayd.dialect.realtime_turns import IDLE, Turns
from relayd.protocol.directions import PROOF_MAX_BYTES
from relayd.protocol.outcomes import Counts, Notice

_NO_PROOF: Final = b"\x00"
_NOTHING: Final = msgspec.Raw(b"null")
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"
_MATTERS: Final = frozenset(
    {
        "session.created",
        "session.updated",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        "response.created",
        "response.done",
        _TRANSCRIBED,
        "error",
        "rate_limits.updated",
    }
)
_RESPONSE_ID: Final = re.compile(rb'"response_id"[ \t\r\n]*:[ \t\r\n]*"([^"\\]{1,256})"')
_ID_MAX_BYTES: Final = 1024  # how far behind its type a delta's response id is looked for


@attrs.frozen
class _Run:
    """What the messages are that pass unread.

    Attributes:
        proof: How they begin.
        medium: ``None`` where they are no output.
        envelope: Bytes of one around its delta, as they were of the first.
        turn_id: ``None`` for that of the only response.
    """

    proof: bytes = _NO_PROOF
    medium: Medium | None = None
    envelope: int = 0
    turn_id: str | None = None


_NOTHING_PASSES: Final = _Run()


class RealtimeUpstreamReader:
    """See :class:`~relayd.protocol.outcomes.CountingReader`."""

    __slots__ = ("_other", "_read_bytes", "_read_messages", "_run", "_turns", "counts", "proof")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.proof = _NO_PROOF
        self.counts: Counts | None = None
        self._run = self._other = _NOTHING_PASSES  # the present one and the one before it
        self._read_messages = 0  # of the counts, dealt with
        self._read_bytes = 0

    def message(self, payload: bytes | bytearray, now: float) -> Notice | None:
        """Read one server event, if it matters."""
        self._catch_up(1, len(payload))
        if payload.startswith(self._other.proof):
            self._turn_back(len(payload))
            return None
        head = HEAD.match(payload)
        if head is not None and not self._concerns(head[2].decode()):
            self._pass_by(payload, head)
            return None
        try:
            event = decode_server_event(payload)
        except (msgspec.DecodeError, RecursionError):
            return None  # not for relayd to judge; the client gets what its upstream said
        if (medium := medium_of(event.type)) is not None:
            turn_id = bounded(word(event.response_id))
            self._turns.output(turn_id, now)
            self._turns.passed(turn_id, medium, delta_size(payload))
            return None
        return self._read(event, now)

    def harmless(self, head: bytes | bytearray) -> bool:
        """Whether the type stands in ``head`` and does not matter; of a delta, also its size."""
        found = HEAD.match(head)
        if found is None or self._concerns(found[2].decode()):
            return False
        if head.startswith(self.proof):
            return True
        medium, envelope = medium_of(found[2].decode()), delta_envelope(head, found.end())
        if medium is not None and not envelope and len(head) < PROOF_MAX_BYTES:
            return False  # its delta has yet to begin
        self._let_go(_Run(_NO_PROOF, medium, envelope, _turn_id_in(head, found)))
        return True

    def oversize(self, head: bytes | bytearray, now: float) -> Notice | None:
        """A huge event that may matter: of a response's end only its usage is lost."""
        self._let_go(_NOTHING_PASSES)
        found = HEAD.match(head)
        if found is None or found[2] != b"response.done" or len(self._turns.running) != 1:
            return None
        self._turns.finished(next(iter(self._turns.running)), None, _NOTHING, now)
        return self._idle()

    # -- what is not read

    def _concerns(self, kind: str) -> bool:
        if kind in _MATTERS:
            return True
        return self._turns.waits_for_output > 0 and medium_of(kind) is not None

    def _pass_by(self, payload: bytes | bytearray, head: re.Match[bytes]) -> None:
        """One event that does not matter: count it, and let its like pass unread from now on.

        While responses run side by side each delta is looked at, for whose it is.
        """
        turns, medium = self._turns, medium_of(head[2].decode())
        alone, size = len(turns.running) <= 1, 0
        if medium is not None:
            size = delta_size(payload, head.end())
            turns.passed(None if alone else _turn_id_in(payload, head), medium, size)
        if head[1] is None and alone and not turns.waits_for_output:
            self.proof = bytes(payload[: head.end()])
            self._other, self._run = self._run, _Run(self.proof, medium, len(payload) - size)

    def _turn_back(self, size: int) -> None:
        """The type that passed unread before the present one is back: the two take turns."""
        self._other, self._run = self._run, self._other
        run, self.proof = self._run, self._run.proof
        if run.medium is not None:
            self._turns.passed(run.turn_id, run.medium, max(0, size - run.envelope))

    def _forget(self) -> None:
        """Every message is read again."""
        self.proof = _NO_PROOF
        self._run = self._other = _NOTHING_PASSES

    def _let_go(self, run: _Run) -> None:
        """A long message passes unread that the proof does not name: a run of one."""
        self._catch_up(0, 0)
        self._forget()
        self._run = run

    def _catch_up(self, messages: int, size: int) -> None:
        """Count what passed unread; the message being read, if any, is dealt with apart."""
        counts = self.counts
        if counts is None:
            return
        run = counts.messages - self._read_messages
        if run > 0 and self._run.medium is not None:
            passed = counts.bytes - self._read_bytes - run * self._run.envelope
            self._turns.passed(self._run.turn_id, self._run.medium, max(0, passed))
        self._read_messages = counts.messages + messages
        self._read_bytes = counts.bytes + size

    # -- what is read

    def _read(self, event: ServerEvent, now: float) -> Notice | None:
        turns = self._turns
        match event.type:
            case "response.created":
                turns.started(bounded(word((event.response or WireResponse()).id)), now)
                self._forget()  # until its first output has been seen
            case "response.done":
                return self._done(event, now)
            case "session.created" | "session.updated":
                turns.told(event.session)
            case "input_audio_buffer.committed":
                turns.transcriptions.committed(bounded(word(event.item_id)))
            case "input_audio_buffer.cleared":
                turns.heard.clear()
            case "rate_limits.updated":
                for limit in event.rate_limits:
                    if limit.remaining == 0 and limit.reset_seconds is not None:
                        turns.listener.upstream_limited(limit.reset_seconds, now)
            case "error":
                return self._error(event, now)
            case kind if kind == _TRANSCRIBED:
                turns.transcriptions.completed(
                    bounded(word(event.item_id)),
                    event.content_index or 0,
                    event.usage,
                    now,
                    text_bytes=text_size(event.transcript),
                )
        return None

    def _done(self, event: ServerEvent, now: float) -> Notice | None:
        turns, response = self._turns, event.response or WireResponse()
        turn_id = bounded(word(response.id) or word(event.response_id))
        status, calls = bounded(word(response.status)), calls_in(response.output)
        turns.finished(turn_id, status, response.usage, now, calls)
        return self._idle()

    def _error(self, event: ServerEvent, now: float) -> Notice | None:
        turns = self._turns
        error = event.error or WireError()
        code = None if error.code is None else bounded(str(error.code))
        turns.unasked(cut_event_id(error.event_id), code)
        if event.error is not None:
            kind = bounded(error.type)
            message = redact(error.message or "")
            turns.listener.upstream_error(UpstreamError(kind=kind, code=code, message=message), now)
        return self._idle()

    def _idle(self) -> Notice | None:
        return IDLE if self._turns.tell_idle and not self._turns.busy else None


def _turn_id_in(head: bytes | bytearray, found: re.Match[bytes]) -> str | None:
    """The response that a delta names."""
    named = _RESPONSE_ID.search(head, found.end(), found.end() + _ID_MAX_BYTES)
    return None if named is None else named[1].decode(errors="replace")
