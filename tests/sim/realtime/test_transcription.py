"""What the transcription model writes down, and charges."""

from __future__ import annotations

from relayd.sim.realtime.audio import tone
from relayd.sim.realtime.items import user_audio
from relayd.sim.realtime.transcription import transcription

ITEM = user_audio("item_1", tone("audio/pcm", 1500), "audio/pcm")


def test_some_models_charge_by_tokens() -> None:
    events, tally = transcription(ITEM, "gpt-4o-transcribe", 1500)

    assert events[-1]["transcript"] == "1500 milliseconds of audio"
    assert events[-1]["usage"] == {
        "type": "tokens",
        "total_tokens": 19,
        "input_tokens": 15,
        "output_tokens": 4,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 15},
    }
    assert tally.transcription_tokens == 19


def test_others_charge_by_the_second() -> None:
    events, tally = transcription(ITEM, "whisper-1", 1500)

    assert events[-1]["usage"] == {"type": "duration", "seconds": 1.5}
    assert tally.transcription_ms == 1500
