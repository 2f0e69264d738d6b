"""Messages of the responses dialect for tests: a client's creates, an upstream's events."""

from __future__ import annotations

import json
from typing import Any

import attrs

from relayd.dialect.responses_client import Create, read_message
from relayd.dialect.responses_reader import LeaseReader
from relayd.dialect.responses_turns import Running, Terminal
from relayd.protocol.outcomes import Instead, Notice, Violation

USAGE = {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}


def message(**members: object) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def create(stream_id: str | None = None, **members: object) -> Create:
    named = {} if stream_id is None else {"stream_id": stream_id}
    read = read_message(message(**{"type": "response.create", "model": "m"} | named | members))
    assert isinstance(read, Create)
    return read


def event(kind: str, stream_id: str | None = None, **members: object) -> bytes:
    named = {} if stream_id is None else {"stream_id": stream_id}
    return message(type=kind, sequence_number=7, **named, **members)


def response(response_id: str, **members: object) -> dict[str, object]:
    return {"id": response_id, "object": "response", **members}


@attrs.define
class Listen:
    """An upstream talks to a lease; what its client is sent is remembered as (event, lane)."""

    lanes: bool = True
    reader: LeaseReader = attrs.field(init=False)
    sent: list[dict[str, Any]] = attrs.field(factory=list)
    unread: int = 0
    now: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.reader = LeaseReader(lanes=self.lanes)

    def begin(self, lane: str | None = None, *, retryable: bool = False) -> Running:
        turn = Running(retryable=retryable)
        self.reader.begin(lane, turn)
        return turn

    def says(self, payload: bytes) -> Notice | Violation | Instead | None:
        """As the flow does it: what the proof fits is sent on unseen."""
        self.now += 1
        if payload.startswith(self.reader.proof):
            self.unread += 1
            self.sent.append(json.loads(payload))
            return None
        answer = self.reader.message(payload, self.now)
        if isinstance(answer, Instead):
            if answer.payload is not None:
                self.sent.append(json.loads(answer.payload))
        elif not isinstance(answer, Violation):
            self.sent.append(json.loads(payload))
        return answer

    def hears(self, kind: str, lane: str | None = None, **members: object) -> object:
        return self.says(event(kind, lane, **members))

    def created(self, response_id: str, lane: str | None = None) -> object:
        return self.hears("response.created", lane, response=response(response_id))

    def delta(self, lane: str | None = None) -> object:
        return self.hears("response.output_text.delta", lane, delta="x")

    def completed(self, response_id: str, lane: str | None = None, **members: object) -> object:
        told = response(response_id, status="completed", usage=USAGE, **members)
        return self.hears("response.completed", lane, response=told)

    def ended(self) -> list[Terminal]:
        """Taken, as the lease's task does."""
        ended, self.reader.ended = self.reader.ended, []
        return ended

    def end(self) -> Terminal:
        [end] = self.ended()
        return end
