"""What the simulated model answers: the same words for the same question, every time."""

from __future__ import annotations

import re
from typing import Final

import attrs

from relayd.sim.responses.tools import Call, call_for
from relayd.sim.spark.directions import undirected
from relayd.sim.spark.question import Message, Question
from relayd.sim.spark.usage import Usage, call_tokens, usage_of
from relayd.sim.spark.words import pieces

ANSWER_MAX_TOKENS: Final = 64
THOUGHTS_MAX: Final = 16

_RETURNED: Final = re.compile(
    r"\S{1,128}\s*(?:返回|returned|result)\s*[:：]\s*(?P<output>.*)", re.DOTALL
)
"""A tool's result where there is no role for one: "f 返回: …", written by the user."""
_CALLED: Final = re.compile(r"^(?:调用|[Cc]all(?:ed|ing)?) \S{1,128}\(", re.MULTILINE)
"""The call before it: "调用 f(…)", written by the assistant."""


@attrs.frozen
class Answer:
    """An answer, cut into what its frames carry.

    Attributes:
        thoughts: Pieces of ``reasoning_content``, one token each.
        pieces: Pieces of ``content``, one token each.
        call: The function that is called instead of speaking.
        references: What a search has found and is to be told.
        usage: What it costs.
    """

    thoughts: tuple[str, ...]
    pieces: tuple[str, ...]
    call: Call | None
    references: tuple[dict[str, object], ...]
    usage: Usage


def answer(question: Question) -> Answer:
    """The answer to ``question``."""
    heard = question.heard
    thoughts = pieces(f"The user says: {heard}")[:THOUGHTS_MAX] if question.is_thinking else ()
    call = _call(question)
    said: tuple[str, ...] = ()
    if call is None:
        # An answer has a word, however little it is allowed.
        thoughts = thoughts[: question.max_tokens - 1]
        said = _said(question, heard)[: question.max_tokens - len(thoughts)]
    completion_tokens = len(thoughts) + len(said) + (call_tokens(call.text) if call else 0)
    return Answer(
        thoughts=thoughts,
        pieces=said,
        call=call,
        references=_found(heard) if question.has_references else (),
        usage=usage_of(question, completion_tokens),
    )


def _call(question: Question) -> Call | None:
    """The call that is asked for; a tool's result is never answered with another call."""
    if _tool_said(question.messages) is not None:
        return None
    tools = [{"type": "function", **function} for function in question.functions]
    return call_for(question.heard, tools, question.tool_choice)


def _said(question: Question, heard: str) -> tuple[str, ...]:
    told = _tool_said(question.messages)
    depth = 1 + sum(message.role == "assistant" for message in question.messages)
    if told is not None:
        words = f"The tool said: {told}"
    else:
        words = f"You said: {heard}" if heard else "You said nothing."
    said = pieces(f"Answer {depth}. {words}")
    wanted = question.directions.words
    if wanted is None:
        return said[:ANSWER_MAX_TOKENS]
    return said[:wanted] + (" word",) * (wanted - len(said))


def _tool_said(messages: tuple[Message, ...]) -> str | None:
    """What the last message tells of a tool, in its role or folded into the user's."""
    said = undirected(messages[-1].content)
    if messages[-1].role == "tool":
        return said
    returned = _RETURNED.match(said)
    if returned is not None:
        return returned["output"]
    before = messages[-2].content if messages[:-1] and messages[-2].role == "assistant" else ""
    return said if _CALLED.search(before) else None


def _found(heard: str) -> tuple[dict[str, object], ...]:
    title = heard[:64]
    return tuple(
        {"index": index, "url": f"https://example.com/{index}", "title": f"{title} ({index})"}
        for index in (1, 2)
    )
