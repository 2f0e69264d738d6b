"""Reading a Responses client's messages: each is known exactly before anything is done with it.

Shapes: the client events as the OpenAI SDKs type them. relayd reads the members that it acts on and
no others; what it does not read, it neither judges nor changes. Where something is wrong with a
message its sender is told what, and the session goes on, until it goes wrong again and again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

import attrs
import msgspec

from relayd.dialect.meter import Usage
from relayd.dialect.responses_errors import INVALID_REQUEST, INVALID_STREAM_ID, error_event
from relayd.dialect.responses_input import expected_usage, tool_outputs
from relayd.dialect.responses_members import (
    DoubledMember,
    Members,
    NotAnObject,
    edited,
    read_members,
)

CREATE: Final = "response.create"
STEER: Final = "response.steer"

CREATE_MAX_BYTES: Final = 15 << 20
"""What is sent upstream at most: at 16 MiB it closes with 1009 and says nothing, and some room is
needed for what relayd itself puts in."""

MODEL_MAX_CHARS: Final = 256
RESPONSE_ID_MAX_CHARS: Final = 1024
"""Of ``previous_response_id``; providers behind a gateway make ids of several hundred."""

KIND_MAX_CHARS: Final = 128
"""Of an event's type."""

MISTAKES_MAX: Final = 3
"""Messages in a row that are none of this protocol; with the last the session ends (1008)."""

_STREAM_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_NULL: Final = b"null"
_NOTHING: Final = msgspec.Raw(_NULL)
_SWITCHES: Final = ("stream", "store", "generate")
_ACTED_ON: Final = frozenset(
    {"type", "model", "stream_id", "previous_response_id", "max_output_tokens", "input", *_SWITCHES}
)

_Limit = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_decode_text: Final = msgspec.json.Decoder(str).decode
_decode_switch: Final = msgspec.json.Decoder(bool).decode
_decode_limit: Final = msgspec.json.Decoder(_Limit).decode


@attrs.frozen(kw_only=True, eq=False)
class Create:
    """A ``response.create``.

    Attributes:
        stream_id: Its lane; ``None`` for the default one.
        model: As the client names it.
        store: Whether the response may be continued on another connection.
        generate: ``False`` for a warm-up, which has no output.
        output_max_tokens: The most that the response may have, where the client said so.
        tool_outputs: ``call_id`` of each tool output among its input.
        expected: The input that is due, as an estimate.
        typed: Whether it has a ``type``; one without counts as a create.
        laned: Whether it has a ``stream_id``, which may be null.
        payload: The message.
    """

    stream_id: str | None
    model: str
    previous_response_id: str | None
    store: bool
    generate: bool
    output_max_tokens: int | None
    tool_outputs: tuple[str, ...]
    expected: Usage
    typed: bool = True
    laned: bool = True
    payload: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True, eq=False)
class Steer:
    """A ``response.steer``: more input for a response that runs. It is no turn."""

    previous_response_id: str
    payload: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True, eq=False)
class Other:
    """An event that relayd does not know: for its lane's running turn, as it is."""

    kind: str
    stream_id: str | None
    payload: bytes = attrs.field(repr=False)


@attrs.frozen
class Mistake:
    """What is wrong with a message, as its sender is told.

    Attributes:
        fatal: The session ends with it (1008).
    """

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    stream_id: str | None = None
    fatal: bool = False

    def event(self, response_id: str | None = None) -> bytes:
        """The error event that answers the message, or ends the response of this id."""
        return error_event(
            self.status,
            self.type,
            self.code,
            self.message,
            param=self.param,
            stream_id=self.stream_id,
            response_id=response_id,
        )


@attrs.define
class MistakeCount:
    """Counts a client's mistakes in a row."""

    in_a_row: int = 0

    def add(self, mistake: Mistake) -> bool:
        """One more; returns whether the session is to end."""
        self.in_a_row += 1
        return mistake.fatal or self.in_a_row >= MISTAKES_MAX

    def clear(self) -> None:
        """A message was in order."""
        self.in_a_row = 0


class _WrongError(Exception):
    """Carries a mistake out of the reading of one message."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.mistake = Mistake(400, INVALID_REQUEST, code, message, param)


def read_message(payload: bytes) -> Create | Steer | Other | Mistake:
    """What one whole text message of a client's is."""
    try:
        members = read_members(payload)
    except NotAnObject as wrong:
        return Mistake(400, INVALID_REQUEST, "invalid_json", str(wrong))
    except DoubledMember as doubled:
        if doubled.of_type:
            message = "The message has two top-level types."
            return Mistake(400, INVALID_REQUEST, "duplicate_type", message, "type", fatal=True)
        return Mistake(400, INVALID_REQUEST, "invalid_json", f"Send it once: {doubled}.")
    stream_id = None
    try:
        _refuse_variants(members.values)
        stream_id = _stream_id(members)
        return _read(members.values, stream_id, payload)
    except _WrongError as wrong:
        return attrs.evolve(wrong.mistake, stream_id=stream_id)


def over_limit(payload: bytes) -> Mistake | None:
    """Why a message cannot be sent upstream for its length, if so; without its lane."""
    if len(payload) <= CREATE_MAX_BYTES:
        return None
    message = (
        f"The message has {len(payload)} bytes; at most {CREATE_MAX_BYTES} can be sent over a"
        " WebSocket. Send the request by HTTP POST, or shorten its input."
    )
    return Mistake(400, INVALID_REQUEST, "message_too_big", message, "input")


def rewritten(
    create: Create,
    *,
    model: str | None = None,
    strip_stream_id: bool = False,
    previous_response_id: str | None = None,
) -> bytes:
    """The create as it goes upstream; every member that is not changed stays byte for byte.

    A create without ``type`` gets one, whatever else is asked for.

    Args:
        model: The account's name for the model.
        strip_stream_id: For an upstream without lanes.
        previous_response_id: The chain to continue, in the place of any other.

    Returns:
        ``create.payload`` itself where nothing changes.
    """
    changes: dict[str, bytes | None] = {}
    if not create.typed:
        changes["type"] = msgspec.json.encode(CREATE)
    if model is not None and model != create.model:
        changes["model"] = msgspec.json.encode(model)
    if previous_response_id not in {None, create.previous_response_id}:
        changes["previous_response_id"] = msgspec.json.encode(previous_response_id)
    if strip_stream_id and create.laned:
        changes["stream_id"] = None
    if not changes:
        return create.payload
    return edited(create.payload, read_members(create.payload).spans, changes)


# -- one message


def _refuse_variants(values: Mapping[str, msgspec.Raw]) -> None:
    """Refuse what a parser that does not mind case would take for a member that relayd acts on."""
    for name in values:
        if name not in _ACTED_ON and name.lower() in _ACTED_ON:
            raise _WrongError("invalid_value", f"Write {name.lower()} in lower case.", name.lower())


def _read(
    values: Mapping[str, msgspec.Raw], stream_id: str | None, payload: bytes
) -> Create | Steer | Other:
    if (mistake := over_limit(payload)) is not None:
        raise _WrongError(mistake.code, mistake.message, mistake.param)
    kind = _kind(values)
    if kind == CREATE:
        return _create(values, stream_id, payload)
    if kind == STEER:
        previous_id = _previous_id(values)
        if previous_id is None:
            message = "response.steer needs the previous_response_id of the response to steer."
            raise _WrongError("missing_required_parameter", message, "previous_response_id")
        return Steer(previous_response_id=previous_id, payload=payload)
    if kind == "response.append":
        message = (
            "response.append is not supported. Send response.create with previous_response_id and"
            " the new input alone."
        )
        raise _WrongError("unsupported_event", message, "type")
    return Other(kind=kind, stream_id=stream_id, payload=payload)


def _create(values: Mapping[str, msgspec.Raw], stream_id: str | None, payload: bytes) -> Create:
    model = _model(values)
    switches = {name: _switch(values, name) for name in _SWITCHES}
    return Create(
        stream_id=stream_id,
        model=model,
        previous_response_id=_previous_id(values),
        store=switches["store"],
        generate=switches["generate"],
        output_max_tokens=_limit(values.get("max_output_tokens")),
        tool_outputs=tool_outputs(values.get("input")),
        expected=expected_usage(values),
        typed="type" in values,
        laned="stream_id" in values,
        payload=payload,
    )


def _kind(values: Mapping[str, msgspec.Raw]) -> str:
    if "type" not in values:
        return CREATE
    kind = _text(values["type"])
    if not kind or len(kind) > KIND_MAX_CHARS or not kind.isprintable():
        message = f"type must be a string of 1 to {KIND_MAX_CHARS} characters."
        raise _WrongError("invalid_value", message, "type")
    return kind


def _stream_id(members: Members) -> str | None:
    raw = members.values.get("stream_id", _NOTHING)
    if raw == _NOTHING:
        return None
    stream_id = _text(raw)
    if stream_id is None or _STREAM_ID.fullmatch(stream_id) is None:
        raise _WrongError("invalid_stream_id", INVALID_STREAM_ID, "stream_id")
    return stream_id


def _model(values: Mapping[str, msgspec.Raw]) -> str:
    raw = values.get("model", _NOTHING)
    if raw == _NOTHING:
        message = "response.create needs a model."
        raise _WrongError("missing_required_parameter", message, "model")
    model = _text(raw)
    if not model or len(model) > MODEL_MAX_CHARS or not model.isprintable():
        message = f"model must be a string of 1 to {MODEL_MAX_CHARS} printable characters."
        raise _WrongError("invalid_value", message, "model")
    return model


def _previous_id(values: Mapping[str, msgspec.Raw]) -> str | None:
    raw, param = values.get("previous_response_id", _NOTHING), "previous_response_id"
    if raw == _NOTHING:
        return None
    previous_id = _text(raw)
    if not previous_id or len(previous_id) > RESPONSE_ID_MAX_CHARS or not previous_id.isprintable():
        message = f"{param} must be a string of 1 to {RESPONSE_ID_MAX_CHARS} printable characters."
        raise _WrongError("invalid_value", message, param)
    if previous_id.startswith("msg_"):
        message = (
            f"{param} names a message. Send the id of its response, which begins with 'resp_' and"
            " stands in response.created and response.completed as response.id."
        )
        raise _WrongError("invalid_value", message, param)
    return previous_id


def _switch(values: Mapping[str, msgspec.Raw], name: str) -> bool:
    """A boolean that is on where the client does not say; ``null`` says nothing."""
    raw = values.get(name)
    if raw is None or raw == _NOTHING:
        return True
    try:
        return bool(_decode_switch(raw))
    except msgspec.DecodeError:
        raise _WrongError("invalid_type", f"{name} must be a boolean.", name) from None


def _limit(raw: msgspec.Raw | None) -> int | None:
    if raw is None:
        return None
    try:
        return int(_decode_limit(raw))
    except msgspec.DecodeError:
        return None  # none, or what the upstream will refuse


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return _decode_text(raw)
    except msgspec.DecodeError:
        return None
