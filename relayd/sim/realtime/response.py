"""One answer of the simulated model: its events in order, at any moment stoppable.

The model speaks one word at a time: a word is one text token and, aloud, 100 ms of audio.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Iterator
from typing import Final, Literal

import attrs
from msgspec import UNSET

from relayd.sim.realtime import audio
from relayd.sim.realtime.billing import Report, Reporter, report
from relayd.sim.realtime.client_events import JsonObject
from relayd.sim.realtime.items import Item
from relayd.sim.realtime.usage import NO_TOKENS, NO_USAGE, Tokens, Usage, model_audio_tokens

WORD_MS: Final = 100
"""How long the model takes to say a word."""

REQUESTS_LIMIT: Final = 10_000
TOKENS_LIMIT: Final = 1_000_000
_RESERVED_TOKENS: Final = 4_096
_ERROR: Final[JsonObject] = {
    "type": "server_error",
    "code": None,
    "message": "The server had an error while processing your request.",
}


class Status(enum.StrEnum):
    """How a response ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INCOMPLETE = "incomplete"


@attrs.frozen
class Spoken:
    """An answer in words.

    Attributes:
        text: What is said.
        aloud: The audio format it is said in; ``None``: in writing.
    """

    text: str
    aloud: str | None


@attrs.frozen
class Call:
    """An answer that asks the client to run a tool."""

    name: str
    arguments: str


@attrs.frozen(kw_only=True)
class Plan:
    """Everything that is settled when a response starts.

    Attributes:
        response_id: ``resp_…``.
        item_id: The id of the item it will produce.
        answer: What it says.
        voice: What it says it with.
        output_tokens_max: It stops, incomplete, before its output is more.
        read: Its input tokens.
        number: Counts the session's responses, from 1.
        cached: Those of ``read`` that were read before.
        conversation_id: The conversation it belongs to, ``None`` out of band.
        previous_item_id: The item that its own follows, if it belongs to a conversation.
        metadata: The client's, returned as it came.
        fails: Whether it ends before it has said anything.
    """

    response_id: str
    item_id: str
    answer: Spoken | Call
    voice: str | JsonObject
    output_tokens_max: int | Literal["inf"]
    read: Tokens
    number: int
    cached: Tokens = NO_TOKENS
    conversation_id: str | None = None
    previous_item_id: str | None = None
    metadata: JsonObject | None = None
    fails: bool = False

    @property
    def aloud(self) -> str | None:
        """The audio format of the answer, ``None`` for one in writing and for a call."""
        return self.answer.aloud if isinstance(self.answer, Spoken) else None


@attrs.define
class Response:
    """A response that is being played.

    Attributes:
        plan: What it was started with.
        report: What its ``response.done`` says about its usage; ``None`` before that.
        has_item: Whether its item was announced.
    """

    plan: Plan
    _reporter: Reporter = report
    report: Report | None = attrs.field(default=None, init=False)
    has_item: bool = attrs.field(default=False, init=False)
    _is_ending: bool = attrs.field(default=False, init=False)
    _spoken: list[str] = attrs.field(factory=list, init=False)
    _events: Iterator[JsonObject] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._events = self._play()

    @property
    def usage(self) -> Usage:
        """What it has used so far. What fails is not billed."""
        if self.plan.fails:
            return NO_USAGE
        return Usage(self.plan.read, self.plan.cached, self._written(len(self._spoken)))

    def advance(self) -> JsonObject | None:
        """The next event, ``None`` once ``response.done`` was the last one."""
        return next(self._events, None)

    def cancel(self, reason: str) -> None:
        """Let the next events be those that end the response as cancelled, for ``reason``.

        A response that has begun to end goes on to end as it was going to.
        """
        if not self._is_ending:
            self._events = self._end(Status.CANCELLED, reason)

    def item(self) -> Item:
        """What has been said so far, as an item of the conversation."""
        count = len(self._spoken)
        aloud = self.plan.aloud
        sound = b"" if aloud is None else audio.tone(aloud, WORD_MS) * count
        return Item(self._item_on_the_wire("completed"), self._written(count), sound=sound)

    def _play(self) -> Iterator[JsonObject]:
        yield {"type": "response.created", "response": self._on_the_wire("in_progress")}
        yield self._rate_limits()
        if self.plan.fails:
            yield from self._end(Status.FAILED, None)
            return
        self.has_item = True
        yield self._about_output("response.output_item.added", item=self._item_started())
        if self.plan.conversation_id is not None:
            yield self._about_conversation("conversation.item.added", self._item_started())
        if isinstance(self.plan.answer, Spoken):
            yield self._about_part("response.content_part.added", part=self._part(""))
        for word in self._words():
            if not self._affords_a_word():
                yield from self._end(Status.INCOMPLETE, "max_output_tokens")
                return
            self._spoken.append(word)
            yield from self._say(word)
        yield from self._end(Status.COMPLETED, None)

    def _end(self, status: Status, reason: str | None) -> Iterator[JsonObject]:
        """Close what is open, innermost first, then the response itself."""
        self._is_ending = True
        if self.has_item:
            yield from self._said()
            item_status = "completed" if status is Status.COMPLETED else "incomplete"
            item = self._item_on_the_wire(item_status)
            yield self._about_output("response.output_item.done", item=item)
            if self.plan.conversation_id is not None:
                yield self._about_conversation("conversation.item.done", item)
        response = self._on_the_wire(status.value)
        if reason is not None:
            response["status_details"] = {"type": status.value, "reason": reason}
        elif status is Status.FAILED:
            response["status_details"] = {"type": status.value, "error": _ERROR}
        self.report = self._reporter(self.usage, self.plan.number)
        if self.report.wire is UNSET:
            del response["usage"]
        else:
            response["usage"] = self.report.wire
        yield {"type": "response.done", "response": response}

    def _say(self, word: str) -> Iterator[JsonObject]:
        match self.plan.answer:
            case Call():
                yield self._about_call("response.function_call_arguments.delta", delta=word)
            case Spoken(aloud=None):
                yield self._about_part("response.output_text.delta", delta=word)
            case Spoken(aloud=str(audio_format)):
                sound = base64.b64encode(audio.tone(audio_format, WORD_MS)).decode()
                yield self._about_part("response.output_audio_transcript.delta", delta=word)
                yield self._about_part("response.output_audio.delta", delta=sound)

    def _said(self) -> Iterator[JsonObject]:
        text = self._text()
        match self.plan.answer:
            case Call(name=name):
                done = "response.function_call_arguments.done"
                yield self._about_call(done, arguments=text, name=name)
            case Spoken(aloud=None):
                yield self._about_part("response.output_text.done", text=text)
                yield self._about_part("response.content_part.done", part=self._part(text))
            case Spoken():
                yield self._about_part("response.output_audio.done")
                yield self._about_part("response.output_audio_transcript.done", transcript=text)
                yield self._about_part("response.content_part.done", part=self._part(text))

    def _words(self) -> Iterator[str]:
        """The answer cut so that the pieces joined give it back."""
        answer = self.plan.answer
        whole = answer.arguments if isinstance(answer, Call) else answer.text
        for index, word in enumerate(whole.split(" ")):
            yield word if index == 0 else f" {word}"

    def _affords_a_word(self) -> bool:
        limit = self.plan.output_tokens_max
        return limit == "inf" or self._written(len(self._spoken) + 1).total <= limit

    def _written(self, word_count: int) -> Tokens:
        sound = 0 if self.plan.aloud is None else model_audio_tokens(WORD_MS) * word_count
        return Tokens(text=word_count, audio=sound)

    def _text(self) -> str:
        return "".join(self._spoken)

    def _part(self, text: str) -> JsonObject:
        if self.plan.aloud is None:
            return {"type": "text", "text": text}
        return {"type": "audio", "transcript": text}

    def _item_started(self) -> JsonObject:
        started = self._item_on_the_wire("in_progress")
        return started | {"content": []} if "content" in started else started | {"arguments": ""}

    def _item_on_the_wire(self, status: str) -> JsonObject:
        item: JsonObject = {"id": self.plan.item_id, "object": "realtime.item", "status": status}
        text = self._text()
        match self.plan.answer:
            case Call(name=name):
                call = {"name": name, "call_id": self._call_id(), "arguments": text}
                return item | {"type": "function_call"} | call
            case Spoken(aloud=None):
                content = {"type": "output_text", "text": text}
            case Spoken():
                content = {"type": "output_audio", "transcript": text}
        return item | {"type": "message", "role": "assistant", "content": [content]}

    def _on_the_wire(self, status: str) -> JsonObject:
        aloud = self.plan.aloud
        output = [self._item_on_the_wire("completed" if status == "completed" else "incomplete")]
        return {
            "object": "realtime.response",
            "id": self.plan.response_id,
            "status": status,
            "status_details": None,
            "output": output if self.has_item else [],
            "conversation_id": self.plan.conversation_id,
            "output_modalities": ["text" if aloud is None else "audio"],
            "max_output_tokens": self.plan.output_tokens_max,
            "audio": {"output": {"format": _format(aloud), "voice": self.plan.voice}},
            "usage": None,
            "metadata": self.plan.metadata,
        }

    def _rate_limits(self) -> JsonObject:
        """The counters go down by one request and a reservation each, and never run out."""
        requests = REQUESTS_LIMIT - self.plan.number % REQUESTS_LIMIT
        tokens = TOKENS_LIMIT - self.plan.read.total % TOKENS_LIMIT - _RESERVED_TOKENS
        return {
            "type": "rate_limits.updated",
            "rate_limits": [
                _rate_limit("requests", REQUESTS_LIMIT, requests),
                _rate_limit("tokens", TOKENS_LIMIT, max(tokens, 1)),
            ],
        }

    def _call_id(self) -> str:
        return self.plan.item_id.replace("item_", "call_", 1)

    def _about_output(self, kind: str, **more: object) -> JsonObject:
        return {
            "type": kind,
            "response_id": self.plan.response_id,
            "output_index": 0,
            **more,
        }

    def _about_part(self, kind: str, **more: object) -> JsonObject:
        return self._about_output(kind, item_id=self.plan.item_id, content_index=0, **more)

    def _about_call(self, kind: str, **more: object) -> JsonObject:
        return self._about_output(kind, item_id=self.plan.item_id, call_id=self._call_id(), **more)

    def _about_conversation(self, kind: str, item: JsonObject) -> JsonObject:
        return {"type": kind, "previous_item_id": self.plan.previous_item_id, "item": item}


def _format(aloud: str | None) -> JsonObject:
    name = aloud or "audio/pcm"
    return {"type": name, "rate": 24_000} if name == "audio/pcm" else {"type": name}


def _rate_limit(name: str, limit: int, remaining: int) -> JsonObject:
    return {"name": name, "limit": limit, "remaining": remaining, "reset_seconds": 60.0}
