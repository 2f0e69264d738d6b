"""From a ``response.create`` to all that is settled when its response starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from relayd.sim.responses.answers import Answer, answer
from relayd.sim.responses.client_events import Create
from relayd.sim.responses.errors import (
    JsonObject,
    Rejected,
    invalid,
    previous_response_not_found,
)
from relayd.sim.responses.memory import Memory, Past, Storage
from relayd.sim.responses.usage import TOOL_TOKENS, reasoning_tokens, tokens_of, words

_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_OUTPUTS: Final = {f"{kind}_output": kind for kind in _CALLS}


@attrs.frozen(kw_only=True)
class Plan:
    """Everything that is settled when a response starts.

    Attributes:
        response_id: ``resp_…``.
        create: What was asked.
        lane: Where; ``None`` is the default lane.
        created_at: Unix seconds.
        answer: What it says; ``None`` for a warm-up, which says nothing.
        context_tokens: The tokens of the conversation, the new input included.
        input_tokens: What it reads: the conversation, its instructions and tools.
        cached_tokens: Those of ``input_tokens`` that this connection has read before.
        depth: How many answers the conversation has had with this one.
    """

    response_id: str
    create: Create
    lane: str | None
    created_at: int
    answer: Answer | None
    context_tokens: int
    input_tokens: int
    cached_tokens: int
    depth: int

    @property
    def cache_write_tokens(self) -> int:
        """What is put into the cache: all that is new, for a client that has asked for it."""
        if self.create.prompt_cache_options is None:
            return 0
        return self.input_tokens - self.cached_tokens

    @property
    def reasoning_tokens(self) -> int:
        """What it thinks before it speaks."""
        return 0 if self.answer is None else reasoning_tokens(self.create.reasoning)


def plan(
    create: Create,
    *,
    response_id: str,
    lane: str | None,
    key: str,
    memory: Memory,
    storage: Storage,
    created_at: int,
) -> Plan:
    """Settle what ``create`` starts.

    Raises:
        Rejected: What it goes on from is not known, or calls and outputs do not match.
    """
    past, is_near = _past(create, key, memory, storage)
    steered = () if past is None else past.steers
    items = [item for steer in steered for item in steer.items] + create.items()
    _match_calls(items, {} if past is None else past.calls)
    before = 0 if past is None else past.tokens
    depth = (0 if past is None else past.depth) + _answers_in(items)
    if not create.is_warm_up:
        depth += 1
    context_tokens = before + tokens_of(items)
    settings_tokens = words(create.instructions or "") + TOOL_TOKENS * len(create.tools or [])
    return Plan(
        response_id=response_id,
        create=create,
        lane=lane,
        created_at=created_at,
        answer=None if create.is_warm_up else answer(create, items, depth),
        context_tokens=context_tokens,
        input_tokens=context_tokens + settings_tokens,
        cached_tokens=before if is_near else 0,
        depth=depth,
    )


def _past(create: Create, key: str, memory: Memory, storage: Storage) -> tuple[Past | None, bool]:
    """What ``create`` goes on from, and whether the connection itself remembers it."""
    response_id = create.previous_response_id
    if response_id is None:
        return None, False
    near = memory.find(response_id)
    if near is not None:
        return near, True
    stored = storage.find(key, response_id)
    if stored is None:
        raise Rejected(previous_response_not_found(response_id))
    return stored, False


def _match_calls(items: Sequence[JsonObject], waiting: Mapping[str, str]) -> None:
    """Refuse an output without its call, and a call without its output."""
    calls = dict(waiting)
    for item in items:
        call_id, kind = str(item.get("call_id")), str(item.get("type"))
        if kind in _CALLS:
            calls[call_id] = kind
        elif kind in _OUTPUTS and call_id not in calls:
            said = _OUTPUTS[kind].replace("_", " ")
            message = f"No tool call found for {said} output with call_id {call_id}."
            raise Rejected(invalid(None, message, "input"))
    answered = {str(item.get("call_id")) for item in items if item.get("type") in _OUTPUTS}
    for call_id, kind in calls.items():
        if call_id not in answered:
            message = f"No tool output found for {kind.replace('_', ' ')} {call_id}."
            raise Rejected(invalid(None, message, "input"))


def _answers_in(items: Iterable[JsonObject]) -> int:
    """Earlier answers that the client tells again, having lost the connection they were on."""
    return sum(item.get("role") == "assistant" or item.get("type") in _CALLS for item in items)
