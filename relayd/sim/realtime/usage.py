"""What the simulated model charges, by rules simple enough to add up by hand.

A word of text is one token; user audio is 10 tokens a second and model audio 20, as the real
service is said to count; an image is 100. What an earlier response of the same conversation has
read already is cached for the next one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from relayd.sim.realtime.client_events import JsonObject

USER_AUDIO_TOKENS_PER_S: Final = 10
MODEL_AUDIO_TOKENS_PER_S: Final = 20
IMAGE_TOKENS: Final = 100


def words(text: str) -> int:
    """The text tokens of ``text``."""
    return len(text.split())


def user_audio_tokens(length_ms: int) -> int:
    """The audio tokens of ``length_ms`` of what the user said."""
    return math.ceil(length_ms * USER_AUDIO_TOKENS_PER_S / 1000)


def model_audio_tokens(length_ms: int) -> int:
    """The audio tokens of ``length_ms`` of what the model said."""
    return math.ceil(length_ms * MODEL_AUDIO_TOKENS_PER_S / 1000)


@attrs.frozen
class Tokens:
    """Tokens of one direction, by kind."""

    text: int = 0
    audio: int = 0
    image: int = 0

    @property
    def total(self) -> int:
        """All kinds together."""
        return self.text + self.audio + self.image

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.text + other.text, self.audio + other.audio, self.image + other.image)

    def at_most(self, other: Tokens) -> Tokens:
        """The smaller of the two, kind by kind."""
        return Tokens(
            min(self.text, other.text), min(self.audio, other.audio), min(self.image, other.image)
        )


NO_TOKENS: Final = Tokens()


@attrs.frozen
class Usage:
    """The usage of one response.

    Attributes:
        read: All input tokens, the cached ones among them.
        cached: Those of ``read`` that an earlier response has read already.
        written: Output tokens.
    """

    read: Tokens = NO_TOKENS
    cached: Tokens = NO_TOKENS
    written: Tokens = NO_TOKENS

    def on_the_wire(self) -> JsonObject:
        """``response.done``'s ``response.usage``."""
        return {
            "total_tokens": self.read.total + self.written.total,
            "input_tokens": self.read.total,
            "output_tokens": self.written.total,
            "input_token_details": {
                "text_tokens": self.read.text,
                "audio_tokens": self.read.audio,
                "image_tokens": self.read.image,
                "cached_tokens": self.cached.total,
                "cached_tokens_details": {
                    "text_tokens": self.cached.text,
                    "audio_tokens": self.cached.audio,
                    "image_tokens": self.cached.image,
                },
            },
            "output_token_details": {
                "text_tokens": self.written.text,
                "audio_tokens": self.written.audio,
            },
        }


NO_USAGE: Final = Usage()


@attrs.frozen
class Tally:
    """What one session, or all of them, has used.

    Attributes:
        responses: Responses that have ended.
        usage: Their sum.
        transcriptions: Input transcriptions completed.
        transcription_tokens: Tokens of those that are counted in tokens.
        transcription_ms: Milliseconds of those that are counted in seconds.
    """

    responses: int = 0
    usage: Usage = NO_USAGE
    transcriptions: int = 0
    transcription_tokens: int = 0
    transcription_ms: int = 0

    def plus_response(self, usage: Usage) -> Tally:
        """This tally and one response more."""
        return self + Tally(responses=1, usage=usage)

    def plus_transcription(self, *, tokens: int = 0, length_ms: int = 0) -> Tally:
        """This tally and one transcription more."""
        return self + Tally(
            transcriptions=1, transcription_tokens=tokens, transcription_ms=length_ms
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.responses + other.responses,
            Usage(
                self.usage.read + other.usage.read,
                self.usage.cached + other.usage.cached,
                self.usage.written + other.usage.written,
            ),
            self.transcriptions + other.transcriptions,
            self.transcription_tokens + other.transcription_tokens,
            self.transcription_ms + other.transcription_ms,
        )
