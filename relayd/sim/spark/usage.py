"""What the simulated model charges, in the service's own terms."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.sim.spark.errors import JsonObject
from relayd.sim.spark.question import Question
from relayd.sim.spark.words import tokens

FUNCTION_TOKENS: Final = 10
SEARCH_TOKENS: Final = 50
"""What a search of the web adds to the prompt, needed or not."""
ARGUMENT_CHARS: Final = 12
"""Characters of a call's arguments that count as one token."""


@attrs.frozen
class Usage:
    """The tokens of one answer, or of several.

    Attributes:
        question_tokens: Those of the last message; the documents call it reserved.
        prompt_tokens: All that were read.
        completion_tokens: All that were written, thoughts too.
    """

    question_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """What is billed."""
        return self.prompt_tokens + self.completion_tokens

    def wire(self) -> JsonObject:
        """As ``payload.usage.text``."""
        return {
            "question_tokens": self.question_tokens,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.question_tokens + other.question_tokens,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


NO_USAGE: Final = Usage()


def usage_of(question: Question, completion_tokens: int) -> Usage:
    """What ``question`` costs with an answer of so many tokens."""
    messages = question.messages
    prompt_tokens = (
        sum(tokens(message.content) for message in messages)
        + FUNCTION_TOKENS * len(question.functions)
        + SEARCH_TOKENS * question.is_searching
    )
    return Usage(tokens(messages[-1].content), prompt_tokens, completion_tokens)


def call_tokens(arguments: str) -> int:
    """The tokens of a call with these arguments."""
    return -(-len(arguments) // ARGUMENT_CHARS)
