"""What a client sends: ``run-task``, ``continue-task`` and ``finish-task``.

A task whose ``streaming`` is ``out`` or ``none`` has all its input in ``run-task``; of one that
streams in, more comes with ``continue-task``, and ``finish-task`` says that it was all.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec
from msgspec import Struct, field

from relayd.sim.runtask.errors import Rejected, invalid

_TASK_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Header(Struct):
    """Which task, and what about it."""

    action: Literal["run-task", "continue-task", "finish-task"]
    task_id: str
    streaming: Literal["none", "in", "out", "duplex"] = "out"


class Message(Struct):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Input(Struct):
    """``payload.input``."""

    messages: list[Message] = field(default_factory=list)
    prompt: str | None = None


class Parameters(Struct):
    """``payload.parameters``, as far as an answer depends on them."""

    result_format: Literal["message", "text"] = "text"
    incremental_output: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    enable_thinking: bool = False


class Payload(Struct):
    """``payload``, of any of the actions."""

    model: str = ""
    task_group: str = ""
    task: str = ""
    function: str = ""
    input: Input = field(default_factory=Input)
    parameters: Parameters = field(default_factory=Parameters)


class Action(Struct):
    """One message of the client."""

    header: Header
    payload: Payload = field(default_factory=Payload)


class _Envelope(Struct):
    header: dict[str, object] = field(default_factory=dict)


_ACTIONS: Final = msgspec.json.Decoder(Action)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)


def read_action(message: str | bytes) -> Action:
    """The action in ``message``.

    Raises:
        Rejected: It is no JSON, of another shape, or names no task.
    """
    try:
        action = _ACTIONS.decode(message)
    except msgspec.ValidationError as mistake:
        raise Rejected(invalid(str(mistake)), _task_of(message)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Rejected(invalid("The message is no JSON.")) from None
    if not _TASK_ID.fullmatch(action.header.task_id):
        raise Rejected(invalid("task_id must be 1 to 64 letters, digits and dashes."))
    if action.header.action == "run-task":
        _check(action)
    return action


def _check(action: Action) -> None:
    """Demand what a text model can do; temperature and top_p in their documented ranges."""
    asked, task_id = action.payload, action.header.task_id
    if (asked.task_group, asked.task, asked.function) != ("aigc", "text-generation", "generation"):
        raise Rejected(invalid("task, task_group or function is unknown."), task_id)
    if not asked.model:
        raise Rejected(invalid("model must not be empty."), task_id)
    given = asked.parameters
    if given.max_tokens is not None and given.max_tokens < 1:
        raise Rejected(invalid("max_tokens must be at least 1."), task_id)
    if given.temperature is not None and not 0 <= given.temperature < 2:  # noqa: PLR2004  # its end
        raise Rejected(invalid("temperature must be from 0 to under 2."), task_id)
    if given.top_p is not None and not 0 < given.top_p <= 1:
        raise Rejected(invalid("top_p must be over 0 and at most 1."), task_id)


def _task_of(message: str | bytes) -> str:
    """The task that a refused action named, where that much can be read."""
    try:
        return str(_ENVELOPES.decode(message).header.get("task_id", ""))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
