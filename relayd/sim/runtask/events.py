"""What the server says of one task: started, a result per piece, finished."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from relayd.sim.runtask.actions import Parameters
from relayd.sim.runtask.answers import Answer, Usage
from relayd.sim.runtask.errors import JsonObject, TaskError

RUNNING = "null"
"""``finish_reason`` of a result that is not the last: the word, not the value."""


@attrs.frozen
class Speech:
    """A task whose answer is about to be played.

    Attributes:
        task_id: The client's id for it.
        answer: What is to be said.
        parameters: How.
        silence_s: How long a scenario is silent, where the request says so.
    """

    task_id: str
    answer: Answer
    parameters: Parameters
    silence_s: float | None = None

    def results(self) -> Iterator[JsonObject]:
        """The ``result-generated`` events; each has what is new, or all so far, and the usage."""
        thought, said = "", ""
        pairs = [(piece, "") for piece in self.answer.thoughts]
        pairs += [("", piece) for piece in self.answer.pieces]
        for number, (new_thought, new_word) in enumerate(pairs, 1):
            is_new_only = self.parameters.incremental_output
            thought = new_thought if is_new_only else thought + new_thought
            said = new_word if is_new_only else said + new_word
            usage = self.answer.usage_after(number)
            reason = self._reason() if number == len(pairs) else RUNNING
            yield self.result(said, thought, usage, reason)

    def result(self, said: str, thought: str, usage: Usage, reason: str) -> JsonObject:
        """One ``result-generated`` event, in the format that was asked for."""
        output: JsonObject = {"text": said, "finish_reason": reason}
        if self.parameters.result_format == "message":
            message: JsonObject = {"role": "assistant", "content": said}
            if thought:
                message["reasoning_content"] = thought
            output = {"choices": [{"finish_reason": reason, "message": message}]}
        payload: JsonObject = {"output": output, "usage": usage.wire()}
        return event("result-generated", self.task_id, payload)

    def finished(self) -> JsonObject:
        """The ``task-finished`` event; its output is empty, its usage that of the whole."""
        usage = self.answer.usage_after(len(self.answer.thoughts) + len(self.answer.pieces))
        return event("task-finished", self.task_id, {"output": {}, "usage": usage.wire()})

    def _reason(self) -> str:
        return "length" if self.answer.is_cut else "stop"


def started(task_id: str) -> JsonObject:
    """The ``task-started`` event."""
    return event("task-started", task_id, {})


def failed(task_id: str, error: TaskError) -> JsonObject:
    """The ``task-failed`` event, behind which the socket is closed."""
    about: JsonObject = {"error_code": error.code, "error_message": error.message}
    return event("task-failed", task_id, {}, about)


def event(
    kind: str, task_id: str, payload: JsonObject, about: JsonObject | None = None
) -> JsonObject:
    """One event of a task."""
    header: JsonObject = {"task_id": task_id, "event": kind, **(about or {}), "attributes": {}}
    return {"header": header, "payload": payload}


def kind_of(said: JsonObject) -> str:
    """What an event is called."""
    match said:
        case {"header": {"event": str(kind)}}:
            return kind
    return ""
