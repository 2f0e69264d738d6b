"""A second provider behind the chat dialect, of another shape: a task on a socket, with a Bearer.

Shape: Alibaba Cloud Model Studio's WebSocket API. A client sends ``run-task``; the upstream says
``task-started``, any number of ``result-generated``, then ``task-finished`` or ``task-failed``.
Each header names the task. Input and output of text generation are those of its HTTP face: here
every result has what is new (``incremental_output``), and usage up to there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final

import attrs
import msgspec

from relayd.dialect.behind import (
    Began,
    Effect,
    Fault,
    Faulted,
    Finished,
    FinishReason,
    Handshake,
    Piece,
    Reasoning,
    Retry,
    Text,
    Used,
)
from relayd.dialect.chat_account import ChatAccount
from relayd.dialect.chat_errors import (
    INSUFFICIENT_QUOTA,
    INVALID_REQUEST,
    RATE_LIMIT,
    SERVER_ERROR,
    shown,
)
from relayd.dialect.chat_faults import (
    auth_failed,
    broken_protocol,
    handshake_fault,
    misconfigured,
    truncated,
    unacceptable,
)
from relayd.dialect.chat_history import told
from relayd.dialect.chat_usage import read_count, told_usage
from relayd.dialect.chat_values import ChatRequest, Thinking, ToolMode
from relayd.dialect.meter import Usage

PATH: Final = "/api-ws/v1/inference"
"""Where an account's ``base_url`` has no path."""

COOL_S: Final = 5.0
"""Of an account that is throttled: the upstream does not say for how long."""

_NOTHING: Final = msgspec.Raw(b"null")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Header(msgspec.Struct):
    event: str
    task_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said | None = None
    finish_reason: str | None = None


class _Output(msgspec.Struct):
    text: str | None = None
    finish_reason: str | None = None
    choices: list[_Choice] | None = None


class _Counts(msgspec.Struct):
    input_tokens: msgspec.Raw = _NOTHING
    output_tokens: msgspec.Raw = _NOTHING
    total_tokens: msgspec.Raw = _NOTHING


class _Payload(msgspec.Struct):
    output: _Output | None = None
    usage: _Counts | None = None


class _Frame(msgspec.Struct):
    header: _Header
    payload: _Payload | None = None


class _Refusal(msgspec.Struct):
    message: str


_decode_frame: Final = msgspec.json.Decoder(_Frame).decode
_decode_refusal: Final = msgspec.json.Decoder(_Refusal).decode

_QUOTA: Final = Fault(
    status=429,
    type=INSUFFICIENT_QUOTA,
    code="insufficient_quota",
    message="",
    retry=Retry.ELSEWHERE,
    effect=Effect.DISABLE,
    should_retry=False,
)
_INVALID: Final = Fault(status=400, type=INVALID_REQUEST, code="invalid_value", message="")
_BROKEN: Final = Fault(
    status=502,
    type=SERVER_ERROR,
    code="upstream_error",
    message="",
    retry=Retry.SAME_ONCE,
    effect=Effect.UNREACHABLE,
)
_UNKNOWN: Final = Fault(status=502, type=SERVER_ERROR, code="upstream_error", message="")

_FAULTS: Final = {
    "allocationquota": _QUOTA,
    "arrearage": _QUOTA,
    "datainspectionfailed": attrs.evolve(_INVALID, code="content_filter"),
    "internalerror": _BROKEN,
    "invalidparameter": _INVALID,
    "requesttimeout": _BROKEN,
    "serviceunavailable": attrs.evolve(
        _BROKEN, status=503, code="overloaded", retry=Retry.ELSEWHERE
    ),
    "throttling": Fault(
        status=429,
        type=RATE_LIMIT,
        code="rate_limit_exceeded",
        message="",
        retry=Retry.ELSEWHERE,
        effect=Effect.COOL,
        cool_s=COOL_S,
        retry_after_s=COOL_S,
    ),
}
"""By ``error_code``, in lower case, without underscores and without what follows a dot."""

_AUTH_CODES: Final = frozenset({"invalidapikey"})
_MODEL_CODES: Final = frozenset({"accessdenied", "modelnotfound", "model"})  # Model.AccessDenied
_REASONS: Final = {
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}


@attrs.define(eq=False)
class TaskExchange:
    """One task; see :class:`relayd.dialect.behind.Exchange`.

    Attributes:
        upstream_id: The task's id, which relayd chose.
    """

    upstream_id: str
    run: bytes = attrs.field(repr=False)
    ignored: tuple[str, ...] = ()
    _heard: bool = attrs.field(default=False, init=False)
    _began: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _usage: Usage | None = attrs.field(default=None, init=False)
    _reason: FinishReason = attrs.field(default=FinishReason.STOP, init=False)

    def opening(self) -> tuple[bytes, ...]:
        """See :class:`relayd.dialect.behind.Exchange`."""
        return (self.run,)

    def feed(self, frame: bytes) -> tuple[Piece, ...]:
        """See :class:`relayd.dialect.behind.Exchange`.

        A task that has started may fail for its parameters yet, so it has not begun before it has
        a result.
        """
        if self._ended:
            return ()
        try:
            said: _Frame = _decode_frame(frame)
        except _UNREADABLE as error:
            return self._faulted(broken_protocol(f"unreadable frame: {error}", self.upstream_id))
        self._heard = True
        if said.header.task_id not in {None, self.upstream_id}:
            return self._faulted(broken_protocol("a frame of another task", self.upstream_id))
        match said.header.event:
            case "task-failed":
                return self._faulted(_failed(said.header, self.upstream_id))
            case "result-generated":
                return tuple(self._result(said.payload or _Payload()))
            case "task-finished":
                pieces = self._result(said.payload or _Payload())
                self._ended = True
                if self._usage is not None:
                    pieces.append(Used(self._usage))
                return (*pieces, Finished(self._reason))
            case _:
                return ()

    def closed(self, code: int | None, reason: str) -> Fault:
        """See :class:`relayd.dialect.behind.Exchange`."""
        return truncated(code, reason, heard=self._heard, upstream_id=self.upstream_id)

    def cancelling(self) -> bytes | None:
        """The task is ended by name: a lost socket alone is noticed later."""
        header = {"action": "finish-task", "task_id": self.upstream_id, "streaming": "out"}
        return msgspec.json.encode({"header": header, "payload": {"input": {}}})

    def _result(self, payload: _Payload) -> list[Piece]:
        pieces: list[Piece] = []
        if not self._began:
            self._began = True
            pieces.append(Began(self.upstream_id))
        if (counts := payload.usage) is not None:
            numbers = (counts.input_tokens, counts.output_tokens, counts.total_tokens)
            self._usage = told_usage(self.upstream_id, *map(read_count, numbers)) or self._usage
        output = payload.output or _Output()
        for choice in output.choices or (_Choice(_Said(output.text), output.finish_reason),):
            message = choice.message or _Said()
            if message.reasoning_content:
                pieces.append(Reasoning(message.reasoning_content))
            if message.content:
                pieces.append(Text(message.content))
            self._reason = _REASONS.get(choice.finish_reason or "", self._reason)
        return pieces

    def _faulted(self, fault: Fault) -> tuple[Piece, ...]:
        self._ended = True
        return (Faulted(fault),)


def _new_task_id() -> str:
    return str(uuid.uuid4())


@attrs.frozen
class RunTask:
    """See :class:`relayd.dialect.behind.Provider`.

    Attributes:
        new_task_id: Makes the id of a task, which no other has.
    """

    new_task_id: Callable[[], str] = _new_task_id

    def takes(self, request: ChatRequest, account: ChatAccount) -> Fault | None:
        """Functions are not asked of this upstream, so none can be made to be called."""
        if request.tool_choice.mode is not ToolMode.REQUIRED:
            return None
        message = "This model cannot be made to call a function. Send tool_choice auto."
        return unacceptable("unsupported_value", message, "tool_choice")

    def target(self, account: ChatAccount, model: str, wall: float) -> Handshake:
        """See :class:`relayd.dialect.behind.Provider`; nothing is signed."""
        path = "" if account.base_url is None else account.base_url.path
        key = account.api_key
        headers = () if key is None else (("Authorization", f"Bearer {key.reveal()}"),)
        return Handshake(path or PATH, headers)

    def begin(
        self, request: ChatRequest, account: ChatAccount, model: str, *, attempt: int = 0
    ) -> TaskExchange:
        """See :class:`relayd.dialect.behind.Provider`."""
        task_id = self.new_task_id()
        history = told(request.messages, system=True)
        ignored = [*request.unsupported, *history.dropped]
        parameters = _parameters(request, account, ignored)
        messages = [{"role": turn.role.value, "content": turn.text} for turn in history.turns]
        run = {
            "header": {"action": "run-task", "task_id": task_id, "streaming": "out"},
            "payload": {
                "model": model,
                "task_group": "aigc",
                "task": "text-generation",
                "function": "generation",
                "parameters": parameters,
                "input": {"messages": messages},
            },
        }
        return TaskExchange(task_id, msgspec.json.encode(run), tuple(dict.fromkeys(ignored)))

    def classify_handshake(self, status: int, body: bytes, date: str | None, wall: float) -> Fault:
        """See :class:`relayd.dialect.behind.Provider`; no date is checked here."""
        try:
            said = _decode_refusal(body).message
        except _UNREADABLE:
            said = body.decode(errors="replace")
        return handshake_fault(status, said)


RUNTASK: Final = RunTask()


def _parameters(
    request: ChatRequest, account: ChatAccount, ignored: list[str]
) -> dict[str, object]:
    sent: dict[str, object] = {"result_format": "message", "incremental_output": True}
    for name in ("temperature", "top_p", "top_k", "presence_penalty", "max_tokens"):
        asked: float | None = getattr(request, name)
        value = getattr(account.defaults, name) if asked is None else asked
        if value is not None:
            sent[name] = value
    if request.stop:
        sent["stop"] = request.stop
    if request.web_search:
        sent["enable_search"] = True
    if request.thinking in {Thinking.ENABLED, Thinking.DISABLED}:
        sent["enable_thinking"] = request.thinking is Thinking.ENABLED
    if request.frequency_penalty is not None:
        ignored.append("frequency_penalty")
    if request.response_format is not None:
        ignored.append("response_format")
    if request.tools and request.tool_choice.mode is not ToolMode.NONE:
        ignored.append("tools")
    return sent


def _failed(header: _Header, task_id: str) -> Fault:
    """What ``task-failed`` means."""
    code = shown(header.error_code or "unknown")
    message = f"{code}: {shown(header.error_message or '')} (task_id={task_id})"
    family = code.partition(".")[0].lower().replace("_", "")
    if family in _AUTH_CODES:
        return attrs.evolve(auth_failed(message), upstream_id=task_id)
    if family in _MODEL_CODES:
        return attrs.evolve(misconfigured(message), upstream_id=task_id)
    fault = _FAULTS.get(family, _UNKNOWN)
    return attrs.evolve(fault, message=message, detail=message, upstream_id=task_id)
