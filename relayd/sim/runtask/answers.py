"""What the simulated model answers, and what that costs: a word is a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from relayd.sim.runtask.actions import Message, Parameters
from relayd.sim.spark.directions import Directions, directions, undirected
from relayd.sim.spark.words import pieces, tokens

ANSWER_MAX_TOKENS: Final = 64


@attrs.frozen
class Usage:
    """The tokens of one task, or of several."""

    input_tokens: int = 0
    output_tokens: int = 0

    def wire(self) -> dict[str, object]:
        """As ``payload.usage``."""
        total = self.input_tokens + self.output_tokens
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": total,
        }

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        )


NO_USAGE: Final = Usage()


@attrs.frozen(kw_only=True)
class Answer:
    """An answer, cut into what its results carry.

    Attributes:
        thoughts: Pieces of ``reasoning_content``, one token each.
        pieces: Pieces of the text, one token each; at least one.
        input_tokens: What was read.
        is_cut: Whether ``max_tokens`` ended it.
    """

    thoughts: tuple[str, ...]
    pieces: tuple[str, ...]
    input_tokens: int
    is_cut: bool

    def usage_after(self, results: int) -> Usage:
        """What is used when so many results were sent."""
        return Usage(self.input_tokens, min(results, len(self.thoughts) + len(self.pieces)))


def answer(messages: Sequence[Message], parameters: Parameters) -> Answer:
    """The answer to a conversation: the same words for the same question, every time."""
    heard = last_words(messages)
    depth = 1 + sum(message.role == "assistant" for message in messages)
    said = undirected(heard)
    spoken = pieces(f"Answer {depth}. You said: {said}" if said else f"Answer {depth}. Hello.")
    wanted = directed(messages).words
    if wanted is None:
        spoken = spoken[:ANSWER_MAX_TOKENS]
    else:
        spoken = spoken[:wanted] + (" word",) * (wanted - len(spoken))
    thoughts = pieces("Let me think.") if parameters.enable_thinking else ()
    allowed = parameters.max_tokens or len(thoughts) + len(spoken)
    kept = spoken[: max(allowed - len(thoughts), 1)]
    return Answer(
        thoughts=thoughts[: allowed - len(kept)],
        pieces=kept,
        input_tokens=sum(tokens(message.content) for message in messages),
        is_cut=len(kept) < len(spoken),
    )


def directed(messages: Sequence[Message]) -> Directions:
    """What the user's last words direct the answer to be."""
    return directions(last_words(messages))


def last_words(messages: Sequence[Message]) -> str:
    """What the user has said last."""
    said = (message.content for message in reversed(messages) if message.role == "user")
    return next(said, "")
