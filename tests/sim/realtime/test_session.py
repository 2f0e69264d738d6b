"""The session object: how it starts, what changes it, and what does not."""

from __future__ import annotations

import pytest

from relayd.sim.realtime.client_events import (
    Audio,
    AudioInput,
    Rejected,
    SessionChange,
    Transcription,
)
from relayd.sim.realtime.session import Kind, changed_session, opening_session, settings_of

REALTIME = opening_session("sess_1", Kind.REALTIME, "gpt-realtime", 3600)
TRANSCRIPTION = opening_session("sess_2", Kind.TRANSCRIPTION, None, 3600)


def test_a_session_starts_with_the_documented_defaults() -> None:
    settings = settings_of(REALTIME)

    assert REALTIME["model"] == "gpt-realtime"
    assert settings.output_modalities == ("audio",)
    assert settings.audio.input.turn_detection is not None
    assert settings.audio.input.transcription is None


def test_a_transcription_session_has_neither_model_nor_output() -> None:
    assert not {"model", "output_modalities", "instructions"} & TRANSCRIPTION.keys()


def test_an_update_keeps_what_it_does_not_name() -> None:
    change = SessionChange(
        type="realtime",
        instructions="Be brief.",
        audio=Audio(
            input=AudioInput(turn_detection=None, transcription=Transcription(model="whisper-1"))
        ),
    )

    settings = settings_of(changed_session(REALTIME, change))

    assert settings.instructions == "Be brief."
    assert settings.audio.input.turn_detection is None
    assert settings.audio.input.transcription is not None
    assert settings.audio.input.transcription.model == "whisper-1"
    assert settings.audio.input.format.type == "audio/pcm"
    assert settings.audio.output.voice == "marin"


def test_an_update_leaves_the_old_session_as_it_was() -> None:
    before = opening_session("sess_1", Kind.REALTIME, "gpt-realtime", 3600)

    changed_session(
        REALTIME, SessionChange(type="realtime", audio=Audio(input=AudioInput(turn_detection=None)))
    )

    assert before == REALTIME


@pytest.mark.parametrize(
    ("change", "param"),
    [
        (SessionChange(type="transcription"), "session.type"),
        (SessionChange(type="realtime", model="another"), "session.model"),
    ],
)
def test_kind_and_model_cannot_be_changed(change: SessionChange, param: str) -> None:
    with pytest.raises(Rejected) as caught:
        changed_session(REALTIME, change)

    assert caught.value.param == param


def test_naming_the_same_model_again_is_no_change() -> None:
    change = SessionChange(type="realtime", model="gpt-realtime")

    assert changed_session(REALTIME, change) == REALTIME
