"""One task of a connection, from ``run-task`` to what is counted of it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from relayd.sim.responses.steps import Step
from relayd.sim.runtask.actions import Action, Message
from relayd.sim.runtask.answers import NO_USAGE, Answer, answer, directed
from relayd.sim.runtask.errors import JsonObject, Rejected, invalid
from relayd.sim.runtask.events import Speech, event, kind_of
from relayd.sim.runtask.faults import play
from relayd.sim.runtask.scenario import Scenario
from relayd.sim.runtask.tally import Ending, Record


@attrs.define(eq=False)
class Task:
    """A task that is running.

    Attributes:
        action: The ``run-task``.
        scenario: What is played.
        messages: Its input so far.
        is_complete: Whether its input is complete.
        is_stopped: Whether the client wants no more of it.
    """

    action: Action
    scenario: Scenario
    messages: list[Message] = attrs.field(init=False)
    is_complete: bool = attrs.field(init=False)
    is_stopped: bool = attrs.field(default=False, init=False)
    _answer: Answer | None = attrs.field(default=None, init=False)
    _results: int = attrs.field(default=0, init=False)
    _ending: Ending | None = attrs.field(default=None, init=False)
    _code: str | None = attrs.field(default=None, init=False)
    _has_told: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.messages = input_of(self.action)
        self.is_complete = self.action.header.streaming in ("none", "out")

    @property
    def task_id(self) -> str:
        """The client's id for it."""
        return self.action.header.task_id

    @property
    def is_ended(self) -> bool:
        """Whether its last event was sent."""
        return self._ending is not None

    @property
    def is_failed(self) -> bool:
        """Whether its last event was ``task-failed``."""
        return self._ending is Ending.FAILED

    def stopped(self) -> JsonObject:
        """The last event of a task that the client has stopped, with the usage so far."""
        usage = NO_USAGE if self._answer is None else self._answer.usage_after(self._results)
        return event("task-finished", self.task_id, {"output": {}, "usage": usage.wire()})

    def told(self, action: Action) -> None:
        """Take in what the client says about it.

        Raises:
            Rejected: It is about another task, begins one, or adds to an input that is complete.
        """
        kind = action.header.action
        if kind == "run-task" or action.header.task_id != self.task_id:
            raise Rejected(invalid("Another task is running."), action.header.task_id)
        if kind == "continue-task":
            if self.is_complete:
                raise Rejected(invalid("The task's input is complete."), self.task_id)
            self.messages += input_of(action)
        elif self.is_complete:
            self.is_stopped = True
        else:
            self.is_complete = True

    def steps(self) -> Iterator[Step]:
        """What follows when its input is complete.

        Raises:
            Rejected: There is nothing to answer.
        """
        if not any(message.role == "user" for message in self.messages):
            raise Rejected(invalid("input.messages has no message of the user."), self.task_id)
        said = self._answer = answer(self.messages, self.action.payload.parameters)
        silence_s = directed(self.messages).seconds
        speech = Speech(self.task_id, said, self.action.payload.parameters, silence_s)
        return play(speech, self.scenario)

    def sent(self, said: JsonObject) -> None:
        """An event was taken by the transport."""
        kind = kind_of(said)
        if kind == "result-generated":
            self._results += 1
        elif kind == "task-finished":
            self._ending = Ending.CANCELLED if self.is_stopped else Ending.COMPLETED
            match said:
                case {"payload": {"usage": _}}:
                    self._has_told = True
        elif kind == "task-failed":
            self._ending = Ending.FAILED
            match said:
                case {"header": {"error_code": str(code)}}:
                    self._code = code

    def record(self, *, is_client_gone: bool) -> Record:
        """What is to be counted of it, now that it is over."""
        gone = Ending.CANCELLED if is_client_gone else Ending.CUT
        has_told = self._has_told and self._answer is not None
        return Record(
            task_id=self.task_id,
            model=self.action.payload.model,
            scenario=self.scenario,
            ending=self._ending or gone,
            code=self._code,
            results=self._results,
            told=self._answer.usage_after(self._results) if has_told and self._answer else None,
        )


def input_of(action: Action) -> list[Message]:
    """The messages that an action brings; a prompt is one of the user's."""
    given = action.payload.input
    prompt = [] if given.prompt is None else [Message(role="user", content=given.prompt)]
    return [*given.messages, *prompt]
