"""Spark's own HTTP interface: near to OpenAI's chat completions, and brought to the same pieces.

Shape: the vendor's pages HTTP调用文档.html and X1http.html. What sets it apart: every object has
``code``, ``message`` and ``sid``; those of ``/v1`` have no ``finish_reason``; usage stands in the
last chunk that has content; ``data:`` has no blank behind it; ``tool_calls`` is one object unless a
list is asked for; what a search has found comes as a message of the role ``tool``.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import attrs
import msgspec

from relayd.config.spark_models import HOST
from relayd.config.url import Url
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
from relayd.dialect.chat_errors import INVALID_REQUEST, shown
from relayd.dialect.chat_faults import broken_protocol, handshake_fault, truncated
from relayd.dialect.chat_usage import read_count, told_usage
from relayd.dialect.meter import Usage
from relayd.dialect.spark_account import SparkAccount, hidden_texts, model_at
from relayd.dialect.spark_errors import MEANINGS, OUTPUT_AUDIT, fault_of

HTTP_HOST: Final = "spark-api-open.xf-yun.com"
"""Where the interface is, of accounts at the vendor's own address."""

EVENT_MAX_BYTES: Final = 1 << 20
CALLS_MAX: Final = 128
"""Functions that one answer may call."""

_PATH: Final = "/v1/chat/completions"
_PATHS: Final = {"/v1/x1": "/v2/chat/completions", "/x2": "/x2/chat/completions"}
"""By the path of the same model's WebSocket, where it is not the one above."""

_HTTPS_PORT: Final = 443
_NOTHING: Final = msgspec.Raw(b"null")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_CLIENT_ERRORS: Final = 400
_SERVER_ERRORS: Final = 500
_OF_THE_ACCOUNT: Final = frozenset({401, 404, 405, 408, 410, 429})
"""Statuses that say something of the account, or of its configuration."""

_SID: Final = re.compile(r"[A-Za-z0-9@._:-]{1,128}")
_REASONS: Final = {"length": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    function: _Function | None = None


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | _Call | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: msgspec.Raw = _NOTHING
    completion_tokens: msgspec.Raw = _NOTHING
    total_tokens: msgspec.Raw = _NOTHING


class _Error(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None


class _Chunk(msgspec.Struct):
    code: int | None = None
    message: str | None = None
    sid: str | None = None
    choices: list[_Choice] | None = None
    usage: _Counts | None = None
    error: _Error | None = None


_decode_chunk: Final = msgspec.json.Decoder(_Chunk).decode


def http_url(account: SparkAccount) -> Url:
    """Where the account's model is asked over HTTP."""
    path = _PATHS.get(model_at(account).endpoint or "", _PATH)
    base = account.base_url
    if base is None or base.host == HOST:
        return Url(tls=True, host=HTTP_HOST, port=_HTTPS_PORT, path=path, is_literal=False)
    return attrs.evolve(base, path=base.path + path)


class Events:
    """Splits a stream of server-sent events, as far as this interface uses them, into their data.

    Attributes:
        too_big: One is longer than :data:`EVENT_MAX_BYTES`; nothing behind it is read.
    """

    def __init__(self) -> None:
        self.too_big = False
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that is whole by now. Each has one line of it here."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.too_big = self.too_big or len(self._rest) > EVENT_MAX_BYTES
        return [
            line.removeprefix(b"data:").strip()
            for line in lines
            if line.startswith(b"data:") and len(line) <= EVENT_MAX_BYTES
        ]


@attrs.define(eq=False)
class HttpExchange:
    """One request, and what the interface says to it.

    Attributes:
        limit: The tokens that the answer may have, where that is known.
        ignored: What of the request is not acted on.
        hidden: The account's own texts, which error messages repeat.
        upstream_id: The ``sid``.
    """

    limit: int | None
    ignored: tuple[str, ...]
    hidden: tuple[str, ...] = attrs.field(default=(), repr=False)
    upstream_id: str | None = attrs.field(default=None, init=False)
    _began: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _usage: Usage | None = attrs.field(default=None, init=False)
    _reason: FinishReason | None = attrs.field(default=None, init=False)
    _calls: dict[int, tuple[str, str]] = attrs.field(factory=dict, init=False)

    @classmethod
    def of(cls, account: SparkAccount, limit: int | None, ignored: tuple[str, ...]) -> HttpExchange:
        """At an account, whose texts are kept out of what clients are told."""
        return cls(limit, ignored, hidden_texts(account))

    def refused(self, status: int, body: bytes) -> Fault:
        """What an answer other than a 200 means.

        Args:
            body: What there is of its body.
        """
        try:
            error = _decode_chunk(body).error or _Error()
        except _UNREADABLE:
            error = _Error(body.decode(errors="replace"))
        code, said = _number(error.code), error.message or ""
        words = shown(said, self.hidden)
        if code == OUTPUT_AUDIT:
            return _refused_for("content_filter", words)
        if code in MEANINGS and status != HTTPStatus.UNAUTHORIZED:
            return fault_of(code, said, self.upstream_id, self.hidden)
        of_itself = status < _CLIENT_ERRORS or status >= _SERVER_ERRORS
        if of_itself or status in _OF_THE_ACCOUNT:
            return handshake_fault(status, words)
        # It may be what this one client asked for: nothing of it stands against the account.
        return _refused_for("upstream_bad_request", words)

    def feed(self, event: bytes) -> tuple[Piece, ...]:
        """What the data of one event says. Behind the last piece it says nothing more."""
        if self._ended:
            return ()
        if event == b"[DONE]":
            return self._finish()
        try:
            chunk: _Chunk = _decode_chunk(event)
        except _UNREADABLE as error:
            return self._faulted(broken_protocol(f"unreadable event: {error}", self.upstream_id))
        if self.upstream_id is None and chunk.sid and _SID.fullmatch(chunk.sid):
            self.upstream_id = chunk.sid
        code = chunk.code or (0 if chunk.error is None else _number(chunk.error.code) or -1)
        if code and code != OUTPUT_AUDIT:
            said = chunk.message or (chunk.error.message if chunk.error else None) or ""
            return self._faulted(fault_of(code, said, self.upstream_id, self.hidden))
        pieces: list[Piece] = []
        if not self._began:
            self._began = True
            pieces.append(Began(self.upstream_id))
        if chunk.usage is not None:
            counts = chunk.usage
            self._usage = told_usage(
                self.upstream_id,
                read_count(counts.prompt_tokens),
                read_count(counts.completion_tokens),
                read_count(counts.total_tokens),
            )
        if code == OUTPUT_AUDIT:
            self._reason = FinishReason.CONTENT_FILTER
            return (*pieces, *self._finish())
        for choice in chunk.choices or ():
            if not self._say(pieces, choice):
                why = "more calls of functions, or longer ones, than any answer has"
                return (*pieces, *self._faulted(broken_protocol(why, self.upstream_id)))
        return tuple(pieces)

    def closed(self, why: str) -> Fault:
        """What it means that the answer ended before its end."""
        return truncated(None, why, heard=self._began, upstream_id=self.upstream_id)

    def _say(self, pieces: list[Piece], choice: _Choice) -> bool:
        """Whether all of it could be kept: a call is not handed on before it is whole."""
        self._reason = _REASONS.get(choice.finish_reason or "", self._reason)
        delta = choice.delta
        if delta is None or delta.role == "tool":
            return True  # what a search has found: the answer is made of it
        if delta.reasoning_content:
            pieces.append(Reasoning(delta.reasoning_content))
        if delta.content:
            pieces.append(Text(delta.content))
        calls = delta.tool_calls or []
        return all(map(self._keep, calls if isinstance(calls, list) else [calls]))

    def _keep(self, call: _Call) -> bool:
        """Whether there was room for a piece of a call. A part of one is no answer."""
        if call.index not in self._calls and len(self._calls) >= CALLS_MAX:
            return False
        function = call.function or _Function()
        name, arguments = self._calls.get(call.index, ("", ""))
        arguments += function.arguments or ""
        self._calls[call.index] = name or function.name or "", arguments
        return len(arguments) <= EVENT_MAX_BYTES

    def _finish(self) -> tuple[Piece, ...]:
        """The calls, which may have come in pieces, the usage, and why it ended."""
        self._ended = True
        if not self._began:
            return (Faulted(broken_protocol("an answer without anything in it")),)
        calls = [ToolCall(name, arguments) for name, arguments in self._calls.values() if name]
        used = () if self._usage is None else (Used(self._usage),)
        return (*calls, *used, Finished(self._reason or self._guessed(bool(calls))))

    def _guessed(self, called: bool) -> FinishReason:  # noqa: FBT001 - one fact of two
        """Where no reason is given: an answer that is as long as it may be was cut."""
        if called:
            return FinishReason.TOOL_CALLS
        usage, limit = self._usage, self.limit
        if limit is not None and usage is not None and usage.output_total >= limit:
            return FinishReason.LENGTH
        return FinishReason.STOP

    def _faulted(self, fault: Fault) -> tuple[Piece, ...]:
        self._ended = True
        return (Faulted(fault),)


def _refused_for(code: str, words: str) -> Fault:
    """A request that the upstream does not take, for what stands in it."""
    return Fault(
        status=400,
        type=INVALID_REQUEST,
        code=code,
        message=f"The upstream refused the request: {words}",
        detail=words,
    )


def _number(code: str | int | None) -> int:
    """The code of an error; one that is no number is an error all the same."""
    text = str(code)
    return int(text) if text.isdecimal() and len(text) < len("1000000") else -1
