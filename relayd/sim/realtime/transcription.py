"""What the session's second model writes down, and what it charges for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relayd.sim.realtime.usage import Tally, words

if TYPE_CHECKING:
    from relayd.sim.realtime.client_events import JsonObject
    from relayd.sim.realtime.items import Item


def transcription(item: Item, model: str, length_ms: int) -> tuple[list[JsonObject], Tally]:
    """The events that transcribe ``item``, and what they report.

    Models of the Whisper kind and live transcription are charged by duration, others by tokens.

    Args:
        item: A user message of committed audio.
        model: The transcription model of the session.
        length_ms: How long it sounds.
    """
    if "whisper" in model or "live" in model:
        usage: JsonObject = {"type": "duration", "seconds": length_ms / 1000}
        tally = Tally().plus_transcription(length_ms=length_ms)
    else:
        written = words(item.said)
        total = item.tokens.audio + written
        usage = {
            "type": "tokens",
            "total_tokens": total,
            "input_tokens": item.tokens.audio,
            "output_tokens": written,
            "input_token_details": {"text_tokens": 0, "audio_tokens": item.tokens.audio},
        }
        tally = Tally().plus_transcription(tokens=total)
    about: JsonObject = {"item_id": item.id, "content_index": 0}
    prefix = "conversation.item.input_audio_transcription"
    return [
        {"type": f"{prefix}.delta", **about, "delta": item.said},
        {"type": f"{prefix}.completed", **about, "transcript": item.said, "usage": usage},
    ], tally
