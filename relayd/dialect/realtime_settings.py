"""What a Realtime session is set to, as far as it matters for what its responses cost.

``session.created`` and ``session.updated`` tell it: the upstream's word counts, not what a client
asked for. What one of them leaves out stays as it was.
"""

from __future__ import annotations

from typing import Annotated, Final

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from relayd.dialect.realtime_estimates import Formats, bytes_per_second

TEXT_MAX_CHARS: Final = 256
"""How much of a name or an id that an upstream gives is kept."""

_NOTHING: Final = msgspec.Raw(b"null")
_MODALITIES_MAX_BYTES: Final = 256  # there are two words to say


_Limit = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class _Transcription(msgspec.Struct):
    model: str | None = None


class _Format(msgspec.Struct):
    type: str | None = None
    rate: Annotated[int, msgspec.Meta(ge=0, le=2**31)] | None = None

    @property
    def bytes_per_s(self) -> int:
        return bytes_per_second(self.type, self.rate)


class _NamingInput(msgspec.Struct):
    transcription: _Transcription | UnsetType | None = UNSET


class _NamingAudio(msgspec.Struct):
    input: _NamingInput | None = None


class _Naming(msgspec.Struct):
    """The models of a session."""

    model: str | None = None
    audio: _NamingAudio | None = None


class _Direction(msgspec.Struct):
    format: _Format | None = None


class _Audio(msgspec.Struct):
    input: _Direction | None = None
    output: _Direction | None = None


class _Setting(msgspec.Struct):
    """What a session's responses are like."""

    audio: _Audio | None = None
    output_modalities: msgspec.Raw = _NOTHING
    max_output_tokens: msgspec.Raw = _NOTHING


class _Wishes(msgspec.Struct):
    """``response`` of a ``response.create``."""

    output_modalities: msgspec.Raw = _NOTHING
    max_output_tokens: msgspec.Raw = _NOTHING


class _Create(msgspec.Struct):
    response: _Wishes | None = None


_decode_naming: Final = msgspec.json.Decoder(_Naming | None).decode
_decode_setting: Final = msgspec.json.Decoder(_Setting | None).decode
_decode_create: Final = msgspec.json.Decoder(_Create).decode
_decode_modalities: Final = msgspec.json.Decoder(list[str]).decode
_decode_limit: Final = msgspec.json.Decoder(_Limit).decode


def bounded(text: str | None) -> str | None:
    """An upstream's word, as much of it as is kept."""
    return None if text is None else text[:TEXT_MAX_CHARS]


@attrs.frozen
class Output:
    """What a response may put out.

    Attributes:
        tokens_max: The most that was asked for; ``None`` for as much as the model can.
        audio: Whether it may speak.
    """

    tokens_max: int | None = None
    audio: bool = True

    def but(self, tokens_max: msgspec.Raw, modalities: msgspec.Raw) -> Output:
        """This, where the fields say nothing else."""
        return Output(
            self.tokens_max if tokens_max == _NOTHING else _limit(tokens_max),
            self.audio if modalities == _NOTHING else _may_speak(modalities),
        )


@attrs.define
class Settings:
    """What a session is set to, from what the upstream has said so far.

    Attributes:
        model: At most :data:`TEXT_MAX_CHARS` characters, like ``transcription_model``.
        transcription_model: ``None`` too where transcription is off.
    """

    model: str | None = None
    transcription_model: str | None = None
    formats: Formats = attrs.field(factory=Formats)
    output: Output = attrs.field(factory=Output)

    def tell(self, session: msgspec.Raw) -> None:
        """The ``session`` of an event; what of it cannot be read changes nothing."""
        try:
            self._name(_decode_naming(session) or _Naming())
        except (msgspec.DecodeError, RecursionError):
            pass  # the client gets what its upstream said, whatever relayd makes of it
        try:
            self._set(_decode_setting(session) or _Setting())
        except (msgspec.DecodeError, RecursionError):
            pass  # as above

    def of_create(self, payload: bytes) -> Output:
        """What the response may put out that a ``response.create`` asks for."""
        try:
            wishes = _decode_create(payload).response
        except (msgspec.DecodeError, RecursionError):
            wishes = None  # the upstream will refuse it
        if wishes is None:
            return self.output
        return self.output.but(wishes.max_output_tokens, wishes.output_modalities)

    def _name(self, session: _Naming) -> None:
        self.model = bounded(session.model) or self.model
        source = (session.audio or _NamingAudio()).input or _NamingInput()
        if source.transcription is not UNSET:
            transcription = source.transcription or _Transcription()
            self.transcription_model = bounded(transcription.model)

    def _set(self, session: _Setting) -> None:
        self.output = self.output.but(session.max_output_tokens, session.output_modalities)
        audio = session.audio or _Audio()
        source, sink = audio.input or _Direction(), audio.output or _Direction()
        self.formats = Formats(
            source.format.bytes_per_s if source.format else self.formats.input_bytes_per_s,
            sink.format.bytes_per_s if sink.format else self.formats.output_bytes_per_s,
        )


def _limit(raw: msgspec.Raw) -> int | None:
    try:
        return int(_decode_limit(raw))
    except msgspec.DecodeError:
        return None  # "inf", or what the upstream will refuse


def _may_speak(raw: msgspec.Raw) -> bool:
    """Whether audio is among the modalities; it costs more, so in doubt it is."""
    if len(memoryview(raw)) > _MODALITIES_MAX_BYTES:
        return True
    try:
        return "audio" in _decode_modalities(raw)
    except (msgspec.DecodeError, RecursionError):
        return True
