"""What is asked, whichever of the two APIs it came by, and the rules that hold for both."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, Literal

import attrs
import msgspec

from relayd.sim.spark.directions import Directions, undirected
from relayd.sim.spark.errors import JsonObject, Rejected, error
from relayd.sim.spark.models import Model
from relayd.sim.spark.words import tokens

TOP_K_MAX: Final = 6
PRESENCE_PENALTY_MAX: Final = 3.0
FREQUENCY_PENALTY_MAX: Final = 1.0

Thinking = Literal["enabled", "disabled", "auto"]


class Sampling(msgspec.Struct, kw_only=True):
    """The parameters that both APIs have, by their names there."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class Message(msgspec.Struct, kw_only=True):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""


@attrs.frozen(kw_only=True)
class Question:
    """A request that keeps the rules.

    Attributes:
        model: Which model.
        domain: What it was called.
        user: The ``uid``, or ``user``; ``None`` without one.
        messages: The conversation, its last message the user's, or a tool's.
        functions: What may be called, each with ``name`` and ``parameters``.
        tool_choice: As OpenAI's, but with the name of a function at the top.
        max_tokens: Where the answer is cut.
        is_searching: Whether the web is searched.
        has_references: Whether what was found is told.
        is_thinking: Whether the answer begins with thoughts.
        directions: What the answer is directed to be.
    """

    model: Model
    domain: str
    user: str | None
    messages: tuple[Message, ...]
    functions: tuple[JsonObject, ...] = ()
    tool_choice: str | JsonObject | None = None
    max_tokens: int
    is_searching: bool = False
    has_references: bool = False
    is_thinking: bool = False
    directions: Directions = attrs.field(factory=Directions)

    @property
    def heard(self) -> str:
        """The user's last words, without what directs the answer."""
        return undirected(last_words(self.messages))


def last_words(messages: Sequence[Message]) -> str:
    """What the user has said last."""
    said = (message.content for message in reversed(messages) if message.role == "user")
    return next(said, "")


def check_roles(messages: Sequence[Message], model: Model) -> None:
    """Demand the order of roles that ``model`` keeps to.

    Raises:
        Rejected: 10004 without messages; 10163 for a role that it does not take, a ``system`` that
            is not the first, two of one role in a row, or a last message that wants no answer.
    """
    if not messages:
        raise Rejected(error(10004, "payload.message.text is empty"))
    roles = [message.role for message in messages]
    if "system" in roles and not model.has_system:
        raise Rejected(error(10163, "the model takes no role system"))
    if "system" in roles[1:]:
        raise Rejected(error(10163, "the role system is for the first message"))
    if "tool" in roles and not model.is_over_http:
        raise Rejected(error(10163, "there is no role tool"))
    talk = roles[1:] if roles[0] == "system" else roles
    answering = {"user", "tool"} if model.is_over_http else {"user"}
    if not talk or talk[-1] not in answering:
        raise Rejected(error(10163, "the last message must be the user's"))
    if model.is_over_http:  # calls and their results come in rows
        return
    if talk[0] != "user" or any(one == next_ for one, next_ in itertools.pairwise(talk)):
        raise Rejected(error(10163, "user and assistant must alternate, the user first"))


def check_sampling(given: Sampling, model: Model) -> None:
    """Demand what the documents give as ranges; what a model does not know, it does not judge.

    Raises:
        Rejected: 10005.
    """
    limits: list[tuple[str, float | None, float, float]] = [
        ("max_tokens", given.max_tokens, 1, model.answer_tokens_max),
        ("top_k", given.top_k, 1, TOP_K_MAX),
    ]
    if model.is_reasoning:
        limits += [
            ("presence_penalty", given.presence_penalty, 0, PRESENCE_PENALTY_MAX),
            ("frequency_penalty", given.frequency_penalty, 0, FREQUENCY_PENALTY_MAX),
        ]
    for name, value, least, most in limits:
        if value is not None and not least <= value <= most:
            raise Rejected(error(10005, f"{name} must be from {least:g} to {most:g}"))
    open_limits: list[tuple[str, float | None, float]] = [
        ("temperature", given.temperature, model.temperature_max)
    ]
    if model.is_reasoning:
        open_limits.append(("top_p", given.top_p, 1.0))
    for name, value, most in open_limits:
        if value is None or 0 < value <= most or (value == 0 and model.is_over_http):
            continue
        raise Rejected(error(10005, f"{name} must be over 0 and at most {most:g}"))


def check_context(messages: Sequence[Message], model: Model) -> None:
    """Demand that the conversation fits.

    Raises:
        Rejected: 10907.
    """
    asked = sum(tokens(message.content) for message in messages)
    if asked > model.context_tokens:
        raise Rejected(error(10907, f"{asked} of at most {model.context_tokens}"))
