"""The few Realtime events that relayd reads, as typed partial decodes.

Shapes: the GA event reference as the OpenAI SDKs type it. Every field is optional here, because
compatible providers leave out what they like; unknown fields are skipped undecoded.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

from relayd.dialect.meter import Usage

HEAD: Final = re.compile(
    rb"[ \t\r\n]*\{[ \t\r\n]*"
    rb'("event_id"[ \t\r\n]*:[ \t\r\n]*"[^"\\]{0,128}"[ \t\r\n]*,[ \t\r\n]*)?'
    rb'"type"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z_.]{1,80})"'
)
"""A message whose first field is its type, or its second behind the event's id."""


_NOTHING: Final = msgspec.Raw(b"null")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Details(msgspec.Struct):
    text_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _InputDetails(_Details):
    cached_tokens: Count | None = None
    cached_tokens_details: _Details | None = None


class WireUsage(msgspec.Struct):
    """``usage`` of a response or of a transcription."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None
    input_token_details: _InputDetails | None = None
    output_token_details: _Details | None = None


class WireError(msgspec.Struct):
    """``error`` of an error event."""

    type: str | None = None
    code: str | int | None = None
    message: str | None = None
    event_id: str | None = None


class WireResponse(msgspec.Struct):
    """``response`` of ``response.created`` and ``response.done``."""

    id: str | None = None
    status: str | None = None
    usage: msgspec.Raw = _NOTHING


class WireLimit(msgspec.Struct):
    """One entry of ``rate_limits.updated``."""

    name: str | None = None
    remaining: float | None = None
    reset_seconds: float | None = None


class ServerEvent(msgspec.Struct):
    """Any server event, as far as relayd looks at one."""

    type: str
    response: WireResponse | None = None
    response_id: str | None = None
    item_id: str | None = None
    usage: msgspec.Raw = _NOTHING
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
_decode_usage: Final = msgspec.json.Decoder(WireUsage | None).decode
_decode_identified: Final = msgspec.json.Decoder(_Identified).decode


def event_id_of(payload: bytes) -> str | None:
    """The id that a client gave its event; ``None`` for none that could be answered to."""
    try:
        return _decode_identified(payload).event_id
    except (msgspec.DecodeError, RecursionError):
        return None


def read_usage(raw: msgspec.Raw, source: str, upstream_id: str | None) -> Usage | None:
    """The usage as numbers; ``None`` where the upstream gave none (null, ``{}``) or nonsense.

    Where cached tokens are not told apart by kind they count as text first, capped by the text
    tokens there are, the rest as audio.
    """
    try:
        wire = _decode_usage(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    if wire is None or (wire.input_tokens is None and wire.seconds is None):
        return None
    given = wire.input_token_details or _InputDetails()
    out = wire.output_token_details or _Details()
    text, audio = given.text_tokens or 0, given.audio_tokens or 0
    cached = given.cached_tokens_details
    if cached is None:
        cached_text = min(given.cached_tokens or 0, text)
        cached = _Details(cached_text, (given.cached_tokens or 0) - cached_text)
    return Usage(
        source=source,
        upstream_id=upstream_id,
        input_text=text,
        input_audio=audio,
        input_image=given.image_tokens or 0,
        cached_text=cached.text_tokens or 0,
        cached_audio=cached.audio_tokens or 0,
        cached_image=cached.image_tokens or 0,
        output_text=out.text_tokens or 0,
        output_audio=out.audio_tokens or 0,
        input_total=wire.input_tokens or 0,
        output_total=wire.output_tokens or 0,
        seconds=wire.seconds,
    )


def error_event(kind: str, code: str, message: str) -> bytes:
    """An ``error`` event of relayd's own, in the shape of the upstream's."""
    error = {"type": kind, "code": code, "message": message, "param": None, "event_id": None}
    return msgspec.json.encode({"type": "error", "event_id": "event_relayd", "error": error})
