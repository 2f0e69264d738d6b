"""What the simulated model charges, by rules simple enough to add up by hand.

A word of text is one token; user audio is 10 tokens a second and model audio 20, as the real
service is said to count; an image is 100. What an earlier response of the same conversation has
read already is cached for the next one.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

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
    """Tokens of one direction, by kind.

    Attributes:
        text: Of text.
        audio: Of audio.
        image: Of images.
        unsorted: Of a kind that was not told.
    """

    text: int = 0
    audio: int = 0
    image: int = 0
    unsorted: int = 0

    @property
    def total(self) -> int:
        """All kinds together."""
        return self.text + self.audio + self.image + self.unsorted

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.text + other.text,
            self.audio + other.audio,
            self.image + other.image,
            self.unsorted + other.unsorted,
        )

    def at_most(self, other: Tokens) -> Tokens:
        """The smaller of the two, kind by kind."""
        return Tokens(
            min(self.text, other.text),
            min(self.audio, other.audio),
            min(self.image, other.image),
            min(self.unsorted, other.unsorted),
        )


NO_TOKENS: Final = Tokens()


@attrs.frozen
class Usage:
    """The usage of one response or transcription, or the sum of several.

    Attributes:
        read: All input tokens, the cached ones among them.
        cached: Those of ``read`` that an earlier response has read already.
        written: Output tokens.
    """

    read: Tokens = NO_TOKENS
    cached: Tokens = NO_TOKENS
    written: Tokens = NO_TOKENS

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.read + other.read, self.cached + other.cached, self.written + other.written
        )

    def sorted_cached(self) -> Tokens:
        """``cached`` of one response, as whoever bills has to take it.

        Those without a kind count as text first, then as audio, then as images, of each at most
        what was read and is not known to be cached.
        """
        left = self.cached.unsorted
        text = min(left, self.read.text - self.cached.text)
        audio = min(left - text, self.read.audio - self.cached.audio)
        image = min(left - text - audio, self.read.image - self.cached.image)
        by_kind = Tokens(text, audio, image, unsorted=-text - audio - image)
        return self.cached + by_kind


NO_USAGE: Final = Usage()
