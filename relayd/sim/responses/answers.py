"""What the simulated model answers: the same words for the same question, every time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from relayd.sim.responses.client_events import Create
from relayd.sim.responses.errors import JsonObject, Rejected, invalid
from relayd.sim.responses.tools import Call, call_for
from relayd.sim.responses.usage import text_of

ANSWER_MAX_WORDS: Final = 64
WORDS_KEY: Final = "sim_words"
"""In ``metadata``: how many words the answer shall have, for those who measure."""
WORDS_MAX: Final = 100_000

_COUNT: Final = re.compile(r"[0-9]{1,6}")


@attrs.frozen
class Spoken:
    """An answer in words."""

    text: str


Answer = Spoken | Call


def answer(create: Create, items: Sequence[JsonObject], depth: int) -> Answer:
    """The answer to ``items``.

    Args:
        create: What was asked, for its tools and its metadata.
        items: The new input, in order.
        depth: The how-manieth answer of its conversation it is, from 1. It tells a conversation
            that was gone on with from one that was begun anew.

    Raises:
        Rejected: ``metadata`` asks for a number of words that is none.
    """
    last = next((item for item in reversed(items) if _is_heard(item)), None)
    heard = "" if last is None else text_of(last)
    if last is not None and "output" in last:
        return Spoken(_sized(f"Answer {depth}. The tool said: {heard}", create))
    call = call_for(heard, create.tools or [], create.tool_choice)
    if call is not None:
        return call
    said = f"You said: {heard}" if heard else "You said nothing."
    return Spoken(_sized(f"Answer {depth}. {said}", create))


def _is_heard(item: JsonObject) -> bool:
    return item.get("role") == "user" or str(item.get("type", "")).endswith("_output")


def _sized(text: str, create: Create) -> str:
    wanted = (create.metadata or {}).get(WORDS_KEY)
    if wanted is None:
        return " ".join(text.split()[:ANSWER_MAX_WORDS])
    if _COUNT.fullmatch(wanted) is None or not 1 <= (count := int(wanted)) <= WORDS_MAX:
        path = f"metadata.{WORDS_KEY}"
        raise Rejected(invalid("invalid_value", f"Invalid value: '{wanted}'.", path))
    told = text.split()[:count]
    return " ".join([*told, *["word"] * (count - len(told))])
