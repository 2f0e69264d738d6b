"""The few Realtime events that relayd reads, as typed partial decodes.

Shapes: the GA event reference as the OpenAI SDKs type it. Every field is optional here, because
compatible providers leave out what they like; unknown fields are skipped undecoded.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

HEAD: Final = re.compile(
    rb"[ \t\r\n]*\{[ \t\r\n]*"
    rb'("event_id"[ \t\r\n]*:[ \t\r\n]*"[^"\\]{0,128}"[ \t\r\n]*,[ \t\r\n]*)?'
    rb'"type"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z_.]{1,80})"'
)
"""A message whose first field is its type, or its second behind the event's id."""

EVENT_ID_MAX_CHARS: Final = 128
"""How much of a client's own id for an event is kept and answered with."""

_NOTHING: Final = msgspec.Raw(b"null")


class WireError(msgspec.Struct):
    """``error`` of an error event."""

    type: str | None = None
    code: str | int | None = None
    message: str | None = None
    event_id: str | None = None


class WireResponse(msgspec.Struct):
    """``response`` of ``response.created`` and ``response.done``.

    For ``id`` and ``status`` see :func:`word`: neither may hide the usage beside it.
    """

    id: msgspec.Raw = _NOTHING
    status: msgspec.Raw = _NOTHING
    usage: msgspec.Raw = _NOTHING
    output: msgspec.Raw = _NOTHING


class WireLimit(msgspec.Struct):
    """One entry of ``rate_limits.updated``."""

    name: str | None = None
    remaining: float | None = None
    reset_seconds: float | None = None


class ServerEvent(msgspec.Struct):
    """Any server event, as far as relayd looks at one."""

    type: str
    response: WireResponse | None = None
    response_id: msgspec.Raw = _NOTHING
    item_id: msgspec.Raw = _NOTHING
    content_index: Annotated[int, msgspec.Meta(ge=0, le=2**31)] | None = None
    usage: msgspec.Raw = _NOTHING
    transcript: msgspec.Raw = _NOTHING
    session: msgspec.Raw = _NOTHING
    error: WireError | None = None
    rate_limits: list[WireLimit] = []


class _Transcription(msgspec.Struct):
    model: str | None = None


class _Input(msgspec.Struct):
    transcription: _Transcription | None = None


class _Audio(msgspec.Struct):
    input: _Input | None = None


class WireSession(msgspec.Struct):
    """``session`` of a ``session.update``, as far as the models in it go."""

    model: str | None = None
    audio: _Audio | None = None

    @property
    def transcription_model(self) -> str | None:
        """``audio.input.transcription.model``."""
        if self.audio is None or self.audio.input is None:
            return None
        transcription = self.audio.input.transcription
        return None if transcription is None else transcription.model


class _Identified(msgspec.Struct):
    event_id: str | None = None


class SessionUpdate(msgspec.Struct):
    """A client's ``session.update``."""

    session: WireSession | None = None


decode_server_event: Final = msgspec.json.Decoder(ServerEvent).decode
decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
"""An object's fields, each value as it is spelled."""

decode_session_update: Final = msgspec.json.Decoder(SessionUpdate).decode
_decode_identified: Final = msgspec.json.Decoder(_Identified).decode
_decode_word: Final = msgspec.json.Decoder(str).decode
_NUMBER_BEGINS: Final = frozenset(b"-0123456789")


def word(raw: msgspec.Raw) -> str | None:
    """An id or a status: a string, or a number as it is spelled; anything else is none."""
    spelled = bytes(raw)
    if spelled[0] in _NUMBER_BEGINS:
        return spelled.decode()
    try:
        return _decode_word(spelled)
    except msgspec.DecodeError:
        return None


def event_id_of(payload: bytes) -> str | None:
    """The id that a client gave its event, cut; ``None`` for none that could be answered to."""
    try:
        return cut_event_id(_decode_identified(payload).event_id)
    except (msgspec.DecodeError, RecursionError):
        return None


def cut_event_id(event_id: str | None) -> str | None:
    """At most :data:`EVENT_ID_MAX_CHARS` of it, which is how ids are kept and compared."""
    return None if event_id is None else event_id[:EVENT_ID_MAX_CHARS]


def error_event(kind: str, code: str, message: str, event_id: str | None = None) -> bytes:
    """An ``error`` event of relayd's own, in the shape of the upstream's.

    Args:
        event_id: The client's own, of the event that went wrong.
    """
    error = {"type": kind, "code": code, "message": message, "param": None, "event_id": event_id}
    return msgspec.json.encode({"type": "error", "event_id": "event_relayd", "error": error})
