"""The session object of the GA Realtime API: as it starts, as it is changed, as it is read."""

from __future__ import annotations

import enum
from typing import Final

import msgspec
from msgspec import Struct

from relayd.sim.realtime.client_events import (
    JsonObject,
    Modality,
    OutputTokensMax,
    Rejected,
    SessionChange,
)

INSTRUCTIONS: Final = "Say back what you hear."
"""A session's instructions until it is given others; their words are input tokens."""

_BRANCHES: Final = frozenset({"audio", "input", "output"})
"""The objects of a session that are merged field by field; all others are replaced whole."""


class Kind(enum.StrEnum):
    """The two kinds of session."""

    REALTIME = "realtime"
    TRANSCRIPTION = "transcription"


def opening_session(
    session_id: str,
    kind: Kind,
    model: str | None,
    expires_at: int,
    transcription: JsonObject | None = None,
) -> JsonObject:
    """``session.created``'s session.

    Args:
        session_id: ``sess_…``.
        kind: What the handshake asked for.
        model: The model of the handshake; a transcription session has none.
        expires_at: Unix seconds.
        transcription: The settings of a transcription that nobody has asked for yet.
    """
    pcm: JsonObject = {"type": "audio/pcm", "rate": 24_000}
    turn_detection: JsonObject = {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
    }
    audio_input: JsonObject = {
        "format": pcm,
        "transcription": transcription,
        "noise_reduction": None,
        "turn_detection": turn_detection,
    }
    session: JsonObject = {
        "type": kind.value,
        "object": f"realtime.{'session' if kind is Kind.REALTIME else 'transcription_session'}",
        "id": session_id,
        "expires_at": expires_at,
        "include": None,
        "audio": {"input": audio_input},
    }
    if kind is Kind.TRANSCRIPTION:
        return session
    turn_detection |= {"create_response": True, "interrupt_response": True}
    return session | {
        "model": model,
        "output_modalities": ["audio"],
        "instructions": INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": None,
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "audio": {
            "input": audio_input,
            "output": {"format": dict(pcm), "voice": "marin", "speed": 1.0},
        },
    }


def changed_session(session: JsonObject, change: SessionChange) -> JsonObject:
    """``session`` after ``change``.

    Raises:
        Rejected: It would change the session's kind or model, which are settled at the handshake.
    """
    if change.type != session["type"]:
        message = f"Cannot change the session's type from '{session['type']}'."
        raise Rejected("invalid_value", message, "session.type")
    asked: JsonObject = msgspec.to_builtins(change)
    if "model" in asked and asked["model"] != session.get("model"):
        message = f"Cannot change the session's model from '{session.get('model')}'."
        raise Rejected("invalid_value", message, "session.model")
    return overlaid(session, asked)


def overlaid(old: JsonObject, new: JsonObject) -> JsonObject:
    """``old`` with the fields of ``new``, those of ``audio`` one by one."""
    merged = dict(old)
    for name, value in new.items():
        before = merged.get(name)
        if name in _BRANCHES and isinstance(before, dict) and isinstance(value, dict):
            merged[name] = overlaid(before, value)
        else:
            merged[name] = value
    return merged


class Format(Struct, frozen=True):
    """An audio format, by its MIME type."""

    type: str = "audio/pcm"


class Transcriber(Struct, frozen=True):
    """``audio.input.transcription`` as the simulator reads it."""

    model: str = "gpt-4o-mini-transcribe"
    prompt: str = ""


class Ear(Struct, frozen=True):
    """Turn detection, with the service's defaults."""

    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    create_response: bool = True
    interrupt_response: bool = True


class Input(Struct, frozen=True):
    """``audio.input`` as the simulator reads it."""

    format: Format = Format()
    transcription: Transcriber | None = None
    turn_detection: Ear | None = None


class Output(Struct, frozen=True):
    """``audio.output`` as the simulator reads it."""

    format: Format = Format()
    voice: str | JsonObject = "marin"


class AudioSettings(Struct, frozen=True):
    """``audio`` as the simulator reads it."""

    input: Input = Input()
    output: Output = Output()


class Settings(Struct, frozen=True):
    """A session as the simulator reads it: only what changes its behaviour."""

    type: Kind
    instructions: str = ""
    output_modalities: tuple[Modality, ...] = ("audio",)
    audio: AudioSettings = AudioSettings()
    tools: tuple[JsonObject, ...] = ()
    tool_choice: str | JsonObject = "auto"
    max_output_tokens: OutputTokensMax = "inf"


def settings_of(session: JsonObject) -> Settings:
    """What ``session`` says, read. Every session made here can be read."""
    return msgspec.convert(session, Settings)
