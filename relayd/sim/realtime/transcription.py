"""What the session's second model writes down, and what it charges for that."""

from __future__ import annotations

from relayd.sim.realtime.client_events import JsonObject
from relayd.sim.realtime.items import Item
from relayd.sim.realtime.session import Transcriber
from relayd.sim.realtime.tally import Tally
from relayd.sim.realtime.usage import Tokens, Usage, words


def transcription(
    item: Item, transcriber: Transcriber, length_ms: int, *, is_reported: bool = True
) -> tuple[list[JsonObject], Tally]:
    """The events that transcribe ``item``, and what they report.

    Models of the Whisper kind and live transcription are billed by duration, others by tokens:
    of the audio and the prompt read, and of the text written.

    Args:
        item: A user message of committed audio.
        transcriber: The session's transcription settings.
        length_ms: How long it sounds.
        is_reported: Whether its usage is told.
    """
    usage, tally = _usage(item, transcriber, length_ms)
    if not is_reported:
        usage, tally = {}, Tally(transcriptions=1, transcriptions_untold=1)
    about: JsonObject = {"item_id": item.id, "content_index": 0}
    prefix = "conversation.item.input_audio_transcription"
    return [
        {"type": f"{prefix}.delta", **about, "delta": item.said},
        {"type": f"{prefix}.completed", **about, "transcript": item.said, "usage": usage},
    ], tally


def _usage(item: Item, transcriber: Transcriber, length_ms: int) -> tuple[JsonObject, Tally]:
    if "whisper" in transcriber.model or "live" in transcriber.model:
        duration: JsonObject = {"type": "duration", "seconds": length_ms / 1000}
        return duration, Tally(transcriptions=1, transcription_ms=length_ms)
    read = Tokens(text=words(transcriber.prompt), audio=item.tokens.audio)
    written = Tokens(text=words(item.said))
    tokens: JsonObject = {
        "type": "tokens",
        "total_tokens": read.total + written.total,
        "input_tokens": read.total,
        "output_tokens": written.total,
        "input_token_details": {"text_tokens": read.text, "audio_tokens": read.audio},
    }
    return tokens, Tally(transcriptions=1, transcription_usage=Usage(read=read, written=written))
