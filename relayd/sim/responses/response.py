"""One answer of the simulated model: its events in order, at any moment stoppable.

The model speaks one word at a time, or one piece of a call's arguments.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

import attrs

from relayd.sim.responses import steering
from relayd.sim.responses.answers import Spoken
from relayd.sim.responses.errors import JsonObject
from relayd.sim.responses.memory import Past, Steered
from relayd.sim.responses.planning import Plan
from relayd.sim.responses.tools import Call
from relayd.sim.responses.usage import Usage

PIECE_LENGTH: Final = 12
"""Characters of a call's arguments in one delta, which count as one token."""

TERMINALS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})
"""The types of the events that end a response."""


class Status(enum.StrEnum):
    """How a response ends."""

    COMPLETED = "completed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"


@attrs.define
class Response:
    """A response that is being played: an iterator of its events, without lane and number.

    Attributes:
        plan: What it was started with.
        steers: What was said to it while it ran.
        status: How it has ended; ``None`` before its last event was made.
    """

    plan: Plan
    steers: list[Steered] = attrs.field(factory=list, init=False)
    status: Status | None = attrs.field(default=None, init=False)
    _is_ending: bool = attrs.field(default=False, init=False)
    _has_item: bool = attrs.field(default=False, init=False)
    _said: list[str] = attrs.field(factory=list, init=False)
    _error: JsonObject | None = attrs.field(default=None, init=False)
    _reason: str | None = attrs.field(default=None, init=False)
    _events: Iterator[JsonObject] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._events = self._play()

    def __iter__(self) -> Iterator[JsonObject]:
        return self

    def __next__(self) -> JsonObject:
        return next(self._events)

    @property
    def usage(self) -> Usage:
        """What it has used so far."""
        thought = self.plan.reasoning_tokens
        return Usage(
            self.plan.input_tokens,
            self.plan.cached_tokens,
            self.plan.cache_write_tokens,
            thought + len(self._said),
            thought,
        )

    @property
    def is_steerable(self) -> bool:
        """Whether there is still something that can be said to it."""
        return self.plan.answer is not None and not self._is_ending

    def steer(self, steered: Steered) -> None:
        """Take in what the user says; words stop at the next one, a call is finished first.

        For one that ``is_steerable``.
        """
        self.steers.append(steered)
        if isinstance(self.plan.answer, Spoken):
            self.interrupt("steered")

    def interrupt(self, reason: str) -> None:
        """Let the next events be those that end it as incomplete, for ``reason``.

        For one whose ending has begun, what of it was made is taken for not sent.
        """
        self._reason = reason
        self._events = self._end(Status.INCOMPLETE)

    def fail(self, code: str, message: str) -> None:
        """Let the next event be the one that ends it as failed; as :meth:`interrupt` otherwise."""
        self._error = {"code": code, "message": message}
        self._events = self._end(Status.FAILED)

    @property
    def has_successor(self) -> bool:
        """Whether what was said to it begins another response by itself, now that it has ended."""
        return bool(self.steers) and self.status is not Status.FAILED and not self._calls()

    def past(self) -> Past | None:
        """What can be gone on from; ``None`` while it runs, and of one that failed."""
        if self.status not in (Status.COMPLETED, Status.INCOMPLETE):
            return None
        calls = self._calls()
        return Past(
            id=self.plan.response_id,
            lane=self.plan.lane,
            tokens=self.plan.context_tokens + len(self._said),
            depth=self.plan.depth,
            calls=calls,
            steers=tuple(self.steers) if calls else (),
        )

    def _play(self) -> Iterator[JsonObject]:
        yield {"type": "response.created", "response": self._on_the_wire()}
        yield {"type": "response.in_progress", "response": self._on_the_wire()}
        if self.plan.answer is None:
            yield from self._end(Status.COMPLETED)
            return
        self._has_item = True
        yield self._about_output("response.output_item.added", item=self._item("in_progress"))
        if isinstance(self.plan.answer, Spoken):
            yield self._about_part("response.content_part.added", part=_part(""))
        for piece in self._pieces():
            if not self._affords_more():
                self._reason = "max_output_tokens"
                yield from self._end(Status.INCOMPLETE)
                return
            self._said.append(piece)
            yield self._say(piece)
        yield from self._end(Status.COMPLETED)

    def _end(self, status: Status) -> Iterator[JsonObject]:
        """Close what is open, innermost first, then the response itself."""
        self._is_ending = True
        if self._has_item and status is not Status.FAILED:
            yield from self._done_saying()
            item = self._item(status.value)
            yield self._about_output("response.output_item.done", item=item)
        self.status = status
        yield {"type": f"response.{status.value}", "response": self._on_the_wire()}
        yield from self._about_steers()

    def _pieces(self) -> Iterator[str]:
        """The answer, cut so that the pieces joined give it back."""
        match self.plan.answer:
            case Call(text=text):
                for start in range(0, len(text), PIECE_LENGTH):
                    yield text[start : start + PIECE_LENGTH]
            case Spoken(text=text):
                for index, word in enumerate(text.split(" ")):
                    yield word if index == 0 else f" {word}"

    def _affords_more(self) -> bool:
        limit = self.plan.create.max_output_tokens
        return limit is None or self.usage.output_tokens < limit

    def _say(self, piece: str) -> JsonObject:
        match self.plan.answer:
            case Call(is_custom=True):
                return self._about_item("response.custom_tool_call_input.delta", delta=piece)
            case Call():
                return self._about_item("response.function_call_arguments.delta", delta=piece)
        return self._about_part("response.output_text.delta", delta=piece, logprobs=[])

    def _done_saying(self) -> Iterator[JsonObject]:
        text = "".join(self._said)
        match self.plan.answer:
            case Call(is_custom=True):
                yield self._about_item("response.custom_tool_call_input.done", input=text)
            case Call(name=name):
                done = "response.function_call_arguments.done"
                yield self._about_item(done, arguments=text, name=name)
            case Spoken():
                yield self._about_part("response.output_text.done", text=text, logprobs=[])
                yield self._about_part("response.content_part.done", part=_part(text))

    def _about_steers(self) -> Iterator[JsonObject]:
        """What becomes of what was said, where no successor begins with it."""
        answer, response_id, calls = self.plan.answer, self.plan.response_id, self._calls()
        for steered in self.steers:
            if self.status is Status.FAILED:
                yield steering.lost(steered, response_id)
            elif calls and isinstance(answer, Call):
                yield steering.pending(steered, response_id, calls, answer.name)

    def _calls(self) -> dict[str, str]:
        """The calls made: ``call_id`` to the type of the call."""
        answer = self.plan.answer
        if isinstance(answer, Call) and self.status is Status.COMPLETED:
            return {self._id("call"): answer.kind}
        return {}

    def _item(self, status: str) -> JsonObject:
        text, answer = "".join(self._said), self.plan.answer
        item: JsonObject = {"id": self._item_id(), "type": "message", "status": status}
        if isinstance(answer, Call):
            given = "input" if answer.is_custom else "arguments"
            about = {"call_id": self._id("call"), "name": answer.name, given: text}
            return item | {"type": answer.kind} | about
        content = [] if status == "in_progress" else [_part(text)]
        return item | {"role": "assistant", "content": content}

    def _on_the_wire(self) -> JsonObject:
        """The response object, with every member that typed clients ask for."""
        create, status = self.plan.create, self.status
        item_status = "completed" if status is Status.COMPLETED else "incomplete"
        has_output = self._has_item and status is not None
        return {
            "id": self.plan.response_id,
            "object": "response",
            "created_at": self.plan.created_at,
            "status": "in_progress" if status is None else status.value,
            "background": False,
            "error": self._error,
            "incomplete_details": None if self._reason is None else {"reason": self._reason},
            "instructions": create.instructions,
            "max_output_tokens": create.max_output_tokens,
            "max_tool_calls": create.max_tool_calls,
            "model": create.model,
            "output": [self._item(item_status)] if has_output else [],
            "parallel_tool_calls": create.parallel_tool_calls is not False,
            "previous_response_id": create.previous_response_id,
            "prompt_cache_key": create.prompt_cache_key,
            "reasoning": {"effort": None, "summary": None} | (create.reasoning or {}),
            "safety_identifier": create.safety_identifier,
            "service_tier": create.service_tier or "default",
            "store": create.is_stored,
            "temperature": 1.0 if create.temperature is None else create.temperature,
            "text": create.text or {"format": {"type": "text"}},
            "tool_choice": create.tool_choice or "auto",
            "tools": create.tools or [],
            "top_p": 1.0 if create.top_p is None else create.top_p,
            "truncation": create.truncation or "disabled",
            "usage": None if status is None else self.usage.wire(),
            "user": create.user,
            "metadata": create.metadata or {},
        }

    def _id(self, prefix: str) -> str:
        return self.plan.response_id.replace("resp_", f"{prefix}_", 1)

    def _item_id(self) -> str:
        match self.plan.answer:
            case Call(is_custom=True):
                return self._id("ctc")
            case Call():
                return self._id("fc")
        return self._id("msg")

    def _about_output(self, kind: str, **more: object) -> JsonObject:
        return {"type": kind, "output_index": 0, **more}

    def _about_item(self, kind: str, **more: object) -> JsonObject:
        return self._about_output(kind, item_id=self._item_id(), **more)

    def _about_part(self, kind: str, **more: object) -> JsonObject:
        return self._about_item(kind, content_index=0, **more)


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
