"""What the simulated model charges, by rules simple enough to add up by hand.

A word of text is one token, of a call's arguments each piece of ``response.PIECE_LENGTH``
characters; an image or a file is 100, a tool 10. What is read again on the connection that has
read it before is cached; what was loaded from storage is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from relayd.sim.responses.errors import JsonObject

MEDIA_TOKENS: Final = 100
TOOL_TOKENS: Final = 10
REASONING_TOKENS: Final[Mapping[str, int]] = {
    "minimal": 4,
    "low": 8,
    "medium": 16,
    "high": 32,
    "xhigh": 64,
}
"""By ``reasoning.effort``; without one the model does not reason."""


@attrs.frozen
class Usage:
    """The tokens of one response, or of several.

    Attributes:
        input_tokens: All that were read.
        cached_tokens: Those of them that were in the cache.
        cache_write_tokens: Those of them that were put there.
        output_tokens: All that were written.
        reasoning_tokens: Those of them that nobody sees.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Read and written."""
        return self.input_tokens + self.output_tokens

    def wire(self) -> JsonObject:
        """As ``response.usage``."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {
                "cached_tokens": self.cached_tokens,
                "cache_write_tokens": self.cache_write_tokens,
            },
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.total_tokens,
        }

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


NO_USAGE: Final = Usage()


def words(text: str) -> int:
    """The tokens of ``text``."""
    return len(text.split())


def tokens_of(items: Iterable[JsonObject]) -> int:
    """The tokens of ``items``."""
    return sum(words(text_of(item)) + MEDIA_TOKENS * _media(item) for item in items)


def reasoning_tokens(reasoning: JsonObject | None) -> int:
    """What the model thinks before it speaks, with these ``reasoning`` settings."""
    match reasoning:
        case {"effort": str(effort)}:
            return REASONING_TOKENS.get(effort, 0)
    return 0


def text_of(item: JsonObject) -> str:
    """All text in ``item``: what was said, what a tool is asked or what it answered."""
    for name in ("content", "output", "arguments", "input"):
        if name in item:
            return _text(item[name])
    return ""


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case list():
            return "\n".join(filter(None, (_text(part) for part in value)))
        case {"text": str(text)}:
            return text
    return ""


def _media(item: JsonObject) -> int:
    parts = item.get("content", item.get("output"))
    if not isinstance(parts, list):
        return 0
    return sum(
        isinstance(part, dict) and part.get("type") in ("input_image", "input_file")
        for part in parts
    )
