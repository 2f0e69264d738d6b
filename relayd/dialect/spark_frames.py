"""What Spark's frames say, one after the other, of one request.

Shape: the vendor's pages Web.html and X1ws.html. ``choices.status`` is 0 in the first frame, 1
between and 2 in the last, which alone has usage; a search's results come in a frame without
``choices``; a function call comes whole, in one frame. Any member may be missing.
"""

from __future__ import annotations

import re
from typing import Final

import attrs
import msgspec

from relayd.dialect.behind import (
    Began,
    Fault,
    Faulted,
    Finished,
    FinishReason,
    Piece,
    Reasoning,
    Text,
    ToolCall,
    Used,
)
from relayd.dialect.chat_faults import broken_protocol, truncated
from relayd.dialect.chat_usage import read_count, told_usage
from relayd.dialect.meter import Usage
from relayd.dialect.spark_errors import OUTPUT_AUDIT, fault_of
from relayd.dialect.spark_request import Prepared

_LAST: Final = 2
_NOTHING: Final = msgspec.Raw(b"null")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SID: Final = re.compile(r"[A-Za-z0-9@._:-]{1,128}")


class _Header(msgspec.Struct):
    code: int
    message: str | None = None
    sid: str | None = None
    status: int | None = None


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = _NOTHING


class _Text(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    function_call: _Call | None = None


class _Choices(msgspec.Struct):
    status: int | None = None
    text: list[_Text] | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: msgspec.Raw = _NOTHING
    completion_tokens: msgspec.Raw = _NOTHING
    total_tokens: msgspec.Raw = _NOTHING


class _Usage(msgspec.Struct):
    text: _Counts | None = None


class _Payload(msgspec.Struct):
    choices: _Choices | None = None
    usage: msgspec.Raw = _NOTHING


class _Frame(msgspec.Struct):
    header: _Header
    payload: _Payload | None = None


_decode_frame: Final = msgspec.json.Decoder(_Frame).decode
_decode_usage: Final = msgspec.json.Decoder(_Usage | None).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


@attrs.define(eq=False)
class SparkExchange:
    """One request; see :class:`relayd.dialect.behind.Exchange`.

    Attributes:
        hidden: The account's own texts, which error messages repeat.
        upstream_id: The ``sid``.
    """

    prepared: Prepared
    hidden: tuple[str, ...] = attrs.field(default=(), repr=False)
    upstream_id: str | None = attrs.field(default=None, init=False)
    _began: bool = attrs.field(default=False, init=False)
    _called: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    @property
    def ignored(self) -> tuple[str, ...]:
        """See :class:`relayd.dialect.behind.Exchange`."""
        return self.prepared.ignored

    def opening(self) -> tuple[bytes, ...]:
        """The request is one frame."""
        return (self.prepared.frame,)

    def feed(self, frame: bytes) -> tuple[Piece, ...]:
        """See :class:`relayd.dialect.behind.Exchange`."""
        if self._ended:
            return ()
        try:
            told: _Frame = _decode_frame(frame)
        except _UNREADABLE as error:
            return self._faulted(broken_protocol(f"unreadable frame: {error}", self.upstream_id))
        header, payload = told.header, told.payload or _Payload()
        if self.upstream_id is None and header.sid and _SID.fullmatch(header.sid):
            self.upstream_id = header.sid
        if header.code not in {0, OUTPUT_AUDIT}:
            fault = fault_of(header.code, header.message or "", self.upstream_id, self.hidden)
            return self._faulted(fault)
        pieces: list[Piece] = []
        if not self._began:
            self._began = True
            pieces.append(Began(self.upstream_id))
        if header.code == OUTPUT_AUDIT:
            # What this frame may still hold is what the audit objects to.
            self._finish(pieces, payload, FinishReason.CONTENT_FILTER)
            return tuple(pieces)
        choices = payload.choices or _Choices()
        for text in choices.text or ():
            self._say(pieces, text)
        if _LAST in {choices.status, header.status}:
            self._finish(pieces, payload, None)
        return tuple(pieces)

    def closed(self, code: int | None, reason: str) -> Fault:
        """See :class:`relayd.dialect.behind.Exchange`; 1000 before the last frame is none too."""
        return truncated(code, reason, heard=self._began, upstream_id=self.upstream_id)

    def cancelling(self) -> bytes | None:
        """Nothing: a Close ends the generation."""
        return None

    def _say(self, pieces: list[Piece], text: _Text) -> None:
        if text.reasoning_content:
            pieces.append(Reasoning(text.reasoning_content))
        if text.content:
            pieces.append(Text(text.content))
        if (call := text.function_call) is not None and call.name:
            self._called = True
            pieces.append(ToolCall(call.name, _arguments(call.arguments)))

    def _finish(self, pieces: list[Piece], payload: _Payload, reason: FinishReason | None) -> None:
        self._ended = True
        usage = _usage(payload.usage, self.upstream_id)
        if usage is not None:
            pieces.append(Used(usage))
        pieces.append(Finished(reason or self._reason(usage)))

    def _reason(self, usage: Usage | None) -> FinishReason:
        """The upstream gives no reason; an answer that is as long as it may be was cut."""
        if self._called:
            return FinishReason.TOOL_CALLS
        limit = self.prepared.limit
        if limit is not None and usage is not None and usage.output_total >= limit:
            return FinishReason.LENGTH
        return FinishReason.STOP

    def _faulted(self, fault: Fault) -> tuple[Piece, ...]:
        self._ended = True
        return (Faulted(fault),)


def _arguments(raw: msgspec.Raw) -> str:
    """A call's arguments: a text that should be JSON, passed on as it is; or the JSON itself."""
    if raw == _NOTHING:
        return ""
    try:
        return _decode_text(raw)
    except _UNREADABLE:
        return bytes(raw).decode(errors="replace")


def _usage(raw: msgspec.Raw, upstream_id: str | None) -> Usage | None:
    """What was used; the total is what is billed."""
    try:
        wire: _Usage | None = _decode_usage(raw)
    except _UNREADABLE:
        return None
    counts = None if wire is None else wire.text
    if counts is None:
        return None
    return told_usage(
        upstream_id,
        read_count(counts.prompt_tokens),
        read_count(counts.completion_tokens),
        read_count(counts.total_tokens),
    )
