"""What the tests of the simulated Responses API share: creates, and one connection without I/O."""

from __future__ import annotations

import json
from typing import Any

import attrs

from relayd.sim.responses.client_events import Create, parse
from relayd.sim.responses.connection import Connection, Service
from relayd.sim.responses.memory import Memory, Storage
from relayd.sim.responses.planning import plan
from relayd.sim.responses.quota import Quota
from relayd.sim.responses.response import TERMINALS, Response
from relayd.sim.responses.scenario import Scenario
from relayd.sim.responses.steps import CloseWith, Leave
from relayd.sim.responses.tally import Book

Event = dict[str, Any]

PATH = "/v1/responses"
MAX_AGE_S = 3600.0
SHELL: Event = {
    "type": "function",
    "name": "shell",
    "parameters": {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    },
}


def asked(given: str | list[Event] = "hello", **fields: object) -> Event:
    """A ``response.create``."""
    return {"type": "response.create", "model": "gpt-test", "input": given, **fields}


def played(scenario: Scenario, **metadata: str) -> Event:
    """The fields of a create whose turn plays ``scenario``."""
    return {"metadata": {"sim": scenario.value, **metadata}}


def output(call: Event, text: str) -> Event:
    """What a tool answers to ``call``, an item of an answer."""
    kind = call["type"] + "_output"
    return {"type": kind, "call_id": call["call_id"], "output": text}


def create(text: str = "hello", **fields: object) -> Create:
    """A create, parsed."""
    event = parse(json.dumps(asked(text, **fields)))
    assert isinstance(event, Create)
    return event


def response(text: str = "hello", **fields: object) -> Response:
    """A response that is about to be played."""
    return Response(
        plan(
            create(text, **fields),
            response_id="resp_1",
            lane=None,
            key="key",
            memory=Memory(),
            storage=Storage(),
            created_at=1_700_000_000,
        )
    )


def spoken(terminal: Event) -> str:
    """The words of a response, from the event that ended it."""
    (item,) = terminal["response"]["output"]
    return str(item["content"][0]["text"])


@attrs.define
class Line:
    """A connection that is fed and read by hand, at a time that stands still unless it is set."""

    storage: Storage = attrs.field(factory=Storage)
    quota: Quota | None = None
    has_lanes: bool = True
    now: float = 0.0
    book: Book = attrs.field(factory=lambda: Book(1_000))
    name: str = "sim"
    key: str = "key"
    machine: Connection = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        service = Service(choose=_choose, book=self.book, storage=self.storage, quota=self.quota)
        self.machine = Connection(
            self.name,
            self.key,
            service,
            expires_at=MAX_AGE_S,
            epoch=1_700_000_000.0,
            has_lanes=self.has_lanes,
        )

    def send(self, event: Event | str | bytes) -> list[Event]:
        """Hand in a message; what is answered at once."""
        message = json.dumps(event) if isinstance(event, dict) else event
        return [decoded(frame) for frame in self.machine.receive(message)]

    def next(self) -> Event:
        """The next event."""
        frame = self.machine.advance(self.now)
        assert isinstance(frame, bytes), frame
        self.machine.delivered()
        return decoded(frame)

    def rest(self) -> list[Event]:
        """All events that come before something has to be waited for."""
        events: list[Event] = []
        while isinstance(frame := self.machine.advance(self.now), bytes):
            self.machine.delivered()
            events.append(decoded(frame))
        assert frame is None, frame
        return events

    def turn(self, given: str | list[Event] = "hello", **fields: object) -> Event:
        """Take one turn to its end; the event that ends it."""
        assert self.send(asked(given, **fields)) == []
        return self.until_end()

    def until_end(self) -> Event:
        """The next event that ends a turn."""
        while True:
            event = self.next()
            if event["type"] == "error" or event["type"] in TERMINALS:
                return event

    def exit(self) -> CloseWith | Leave:
        """How the connection ends; what comes before is dropped."""
        while isinstance(frame := self.machine.advance(self.now), bytes):
            self.machine.delivered()
        assert frame is not None
        return frame


def decoded(frame: bytes) -> Event:
    """The event in one unfragmented text frame of a server."""
    start = {126: 4, 127: 10}.get(frame[1], 2)
    assert frame[0] == 0x81
    event: Event = json.loads(frame[start:])
    return event


def _choose(wanted: Create) -> Scenario:
    return Scenario((wanted.metadata or {}).get("sim", "normal"))
