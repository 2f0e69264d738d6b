"""What the transcription model writes down, and charges."""

from __future__ import annotations

from relayd.sim.realtime.audio import tone
from relayd.sim.realtime.items import user_audio
from relayd.sim.realtime.session import Transcriber
from relayd.sim.realtime.tally import Tally
from relayd.sim.realtime.transcription import transcription
from relayd.sim.realtime.usage import Tokens, Usage

ITEM = user_audio("item_1", tone("audio/pcm", 1500), "audio/pcm")


def test_some_models_charge_by_tokens() -> None:
    events, tally = transcription(ITEM, Transcriber("gpt-4o-transcribe", "two words"), 1500)

    assert events[-1]["transcript"] == "1500 milliseconds of audio"
    assert events[-1]["usage"] == {
        "type": "tokens",
        "total_tokens": 21,
        "input_tokens": 17,
        "output_tokens": 4,
        "input_token_details": {"text_tokens": 2, "audio_tokens": 15},
    }
    assert tally.transcription_usage == Usage(read=Tokens(2, 15), written=Tokens(4))


def test_others_charge_by_the_second() -> None:
    events, tally = transcription(ITEM, Transcriber("whisper-1"), 1500)

    assert events[-1]["usage"] == {"type": "duration", "seconds": 1.5}
    assert (tally.transcriptions, tally.transcription_ms) == (1, 1500)


def test_a_provider_may_say_nothing_of_what_it_used() -> None:
    events, tally = transcription(ITEM, Transcriber("whisper-1"), 1500, is_reported=False)

    assert events[-1]["usage"] == {}
    assert tally == Tally(transcriptions=1, transcriptions_untold=1)
