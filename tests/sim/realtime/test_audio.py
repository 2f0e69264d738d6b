"""How long audio is, whether somebody speaks, and what the ear makes of it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.realtime import audio
from relayd.sim.realtime.audio import (
    BUFFER_MAX_BYTES,
    BYTES_PER_MS,
    InputBuffer,
    SpeechStarted,
    SpeechStopped,
    decoded,
    duration_ms,
    is_speech,
    silence,
    tone,
)
from relayd.sim.realtime.client_events import Rejected

FORMATS = sorted(BYTES_PER_MS)


def heard(buffer: InputBuffer) -> list[SpeechStarted | SpeechStopped]:
    return list(buffer.listen(prefix_padding_ms=300, silence_duration_ms=500))


@pytest.mark.parametrize("name", FORMATS)
def test_a_tone_is_speech_and_silence_is_not(name: str) -> None:
    assert is_speech(tone(name, 20), name)
    assert not is_speech(silence(name, 20), name)


@pytest.mark.parametrize("name", FORMATS)
def test_length_is_counted_in_milliseconds(name: str) -> None:
    assert duration_ms(tone(name, 100), name) == 100
    assert duration_ms(silence(name, 1234), name) == 1234


@pytest.mark.parametrize("name", FORMATS)
def test_speech_begins_with_the_tone_and_ends_after_enough_silence(name: str) -> None:
    buffer = InputBuffer(name)
    buffer.append(silence(name, 1000) + tone(name, 400) + silence(name, 600))

    started, stopped = heard(buffer)

    assert started == SpeechStarted(1000)
    assert isinstance(stopped, SpeechStopped)
    assert stopped.at_ms == 1900
    assert duration_ms(stopped.audio, name) == 300 + 400 + 500


@given(st.integers(1, 5000))
def test_the_ear_hears_the_same_however_the_bytes_arrive(chunk_bytes: int) -> None:
    name = "audio/pcmu"
    sound = silence(name, 500) + tone(name, 200) + silence(name, 700) + tone(name, 100)
    whole, pieces = InputBuffer(name), InputBuffer(name)
    whole.append(sound)

    edges = []
    for start in range(0, len(sound), chunk_bytes):
        pieces.append(sound[start : start + chunk_bytes])
        edges += heard(pieces)

    assert edges == heard(whole)


def test_silence_before_speech_does_not_pile_up() -> None:
    buffer = InputBuffer()
    for _ in range(10):
        buffer.append(silence("audio/pcm", 1000))
        assert heard(buffer) == []

    assert duration_ms(buffer.commit(), "audio/pcm") == 300


def test_a_commit_needs_a_tenth_of_a_second() -> None:
    buffer = InputBuffer()
    buffer.append(tone("audio/pcm", 99))

    with pytest.raises(Rejected) as caught:
        buffer.commit()

    assert caught.value.code == "input_audio_buffer_commit_empty"


def test_a_cleared_buffer_is_empty() -> None:
    buffer = InputBuffer()
    buffer.append(tone("audio/pcm", 500))
    buffer.clear()

    with pytest.raises(Rejected):
        buffer.commit()


def test_the_buffer_is_bounded() -> None:
    buffer = InputBuffer()
    buffer.append(bytes(BUFFER_MAX_BYTES))

    with pytest.raises(Rejected) as caught:
        buffer.append(b"\x00")

    assert caught.value.code == "input_audio_buffer_full"


def test_what_is_no_base64_is_rejected() -> None:
    with pytest.raises(Rejected):
        decoded("not base64!")


def test_an_append_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "APPEND_MAX_BYTES", 3)

    assert decoded(base64.b64encode(b"abc").decode()) == b"abc"
    with pytest.raises(Rejected):
        decoded(base64.b64encode(b"abcd").decode())
