"""What an upstream says a session is set to, and what a create asks for."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from relayd.dialect.realtime_estimates import Formats
from relayd.dialect.realtime_settings import TEXT_MAX_CHARS, Output, Settings, bounded

PCM = {"type": "audio/pcm", "rate": 24_000}
SESSION = {
    "type": "realtime",
    "id": "sess_1",
    "model": "gpt-realtime-2",
    "output_modalities": ["audio"],
    "max_output_tokens": "inf",
    "tools": [{"name": "x", "parameters": {"model": 5}}],
    "audio": {
        "input": {"format": PCM, "transcription": {"model": "whisper-1"}, "turn_detection": None},
        "output": {"format": PCM, "voice": "marin"},
    },
}


def settings(*sessions: object) -> Settings:
    told = Settings()
    for session in sessions:
        told.tell(msgspec.Raw(json.dumps(session).encode()))
    return told


def test_a_sessions_settings_are_read() -> None:
    assert settings(SESSION) == Settings(
        model="gpt-realtime-2", transcription_model="whisper-1", formats=Formats(48_000, 48_000)
    )


def test_a_transcription_session_has_no_model_of_its_own() -> None:
    told = settings(
        {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "transcription": {"model": "gpt-4o-transcribe"},
                }
            },
        }
    )

    assert (told.model, told.transcription_model) == (None, "gpt-4o-transcribe")
    assert told.formats == Formats(8_000, 48_000)


@pytest.mark.parametrize(
    ("then", "transcription_model"),
    [
        ({}, "whisper-1"),
        ({"audio": None}, "whisper-1"),
        ({"audio": {"input": {}}}, "whisper-1"),
        ({"audio": {"input": {"transcription": None}}}, None),
        ({"audio": {"input": {"transcription": {}}}}, None),
        ({"audio": {"input": {"transcription": {"model": "b"}}}}, "b"),
        ({"audio": {"input": {"transcription": {"model": 5}}}}, "whisper-1"),
    ],
)
def test_what_is_left_out_stays_and_what_is_null_is_off(
    then: object, transcription_model: str | None
) -> None:
    told = settings(SESSION, then)

    assert (told.model, told.transcription_model) == ("gpt-realtime-2", transcription_model)


def test_the_last_word_counts() -> None:
    then: dict[str, Any] = {
        "model": "b",
        "output_modalities": ["text"],
        "max_output_tokens": 100,
        "audio": {"output": {"format": {"type": "audio/pcma"}}},
    }
    told = settings(SESSION, then, {"model": None})

    assert told.model == "b"
    assert told.output == Output(tokens_max=100, audio=False)
    assert told.formats == Formats(48_000, 8_000)
    assert settings(then, SESSION).output == Output(tokens_max=None, audio=True)


@pytest.mark.parametrize(
    "session",
    [
        None,
        5,
        [],
        {"model": 5, "audio": {"output": {"format": 5}}},
        {"audio": {"input": {"format": {"rate": -1}, "transcription": 5}}},
        {"audio": {"input": {"format": {"rate": 10**50}, "transcription": 5}}},
    ],
)
def test_what_cannot_be_read_changes_nothing(session: object) -> None:
    assert settings(SESSION, session) == settings(SESSION)


def test_nesting_without_end_changes_nothing() -> None:
    told = Settings()
    told.tell(msgspec.Raw(b'{"model":"a","tools":' + b"[" * 100_000))

    assert told == Settings()


def test_formats_that_cannot_be_read_do_not_hide_the_model() -> None:
    assert settings({"model": "a", "audio": {"output": {"format": 5}}}).model == "a"


def test_names_are_kept_up_to_a_bound() -> None:
    long = "m" * 5000
    told = settings({"model": long, "audio": {"input": {"transcription": {"model": long}}}})

    assert told.model == told.transcription_model == "m" * TEXT_MAX_CHARS
    assert bounded(None) is None


@pytest.mark.parametrize(
    ("response", "output"),
    [
        (None, Output(50, audio=True)),
        ({}, Output(50, audio=True)),
        (5, Output(50, audio=True)),
        ({"max_output_tokens": 7}, Output(7, audio=True)),
        ({"max_output_tokens": None}, Output(50, audio=True)),
        ({"max_output_tokens": "inf"}, Output(None, audio=True)),
        ({"max_output_tokens": 0}, Output(None, audio=True)),
        ({"max_output_tokens": -7}, Output(None, audio=True)),
        ({"max_output_tokens": 10**40}, Output(None, audio=True)),
        ({"output_modalities": ["text"]}, Output(50, audio=False)),
        ({"output_modalities": ["text", "audio"]}, Output(50, audio=True)),
        ({"output_modalities": []}, Output(50, audio=False)),
        ({"output_modalities": "text"}, Output(50, audio=True)),
        ({"output_modalities": ["text"] * 100}, Output(50, audio=True)),
        ({"output_modalities": None}, Output(50, audio=True)),
    ],
)
def test_a_create_may_ask_for_other_output_than_the_sessions(
    response: object, output: Output
) -> None:
    told = settings({"max_output_tokens": 50})
    payload = json.dumps({"type": "response.create", "response": response}).encode()

    assert told.of_create(payload) == output


def test_a_modality_is_read_however_it_is_spelled() -> None:
    payload = b'{"type":"response.create","response":{"output_modalities":["\\u0061udio"]}}'

    assert settings({"output_modalities": ["text"]}).of_create(payload).audio
