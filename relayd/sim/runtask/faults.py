"""How a task is played: what each scenario makes of its events.

Faults that belong in the middle strike after three results, or before the last of an answer that
has fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from relayd.sim.responses.steps import (
    CloseWith,
    Distorted,
    Exit,
    Leave,
    Pause,
    Step,
    as_binary,
    broken_utf8,
    in_fragments,
)
from relayd.sim.runtask.errors import ERRORS, JsonObject
from relayd.sim.runtask.events import RUNNING, Speech, event, failed, started
from relayd.sim.runtask.scenario import Scenario

FAULT_AFTER_RESULTS: Final = 3
SLOW_RESULT_S: Final = 0.05
SILENCE_S: Final = 20.0
FOREVER_S: Final = 86_400.0

_PING_EVERY: Final = 4  # a peer may take more than 100 control frames a second for a flood

Play = Callable[[Speech], Iterator[Step]]


def beginning(task_id: str, scenario: Scenario) -> Iterator[Step]:
    """What follows a ``run-task`` at once."""
    if scenario.error is not None:
        yield failed(task_id, scenario.error)
        return
    if (instead := _INSTEAD.get(scenario)) is not None:
        yield instead
        return
    yield started(task_id)
    if scenario is Scenario.UNKNOWN_EVENT:
        yield event("task-considered", task_id, {"mood": "good"})
    if scenario is Scenario.FAILED_AFTER_START:
        yield failed(task_id, ERRORS["InternalError"])


def play(speech: Speech, scenario: Scenario) -> Iterator[Step]:
    """What follows when the input is complete."""
    return _PLAYS.get(scenario, _whole)(speech)


def _whole(speech: Speech) -> Iterator[Step]:
    yield from speech.results()
    yield speech.finished()


def _begun(speech: Speech) -> Iterator[JsonObject]:
    """The results before a fault of the middle."""
    said = len(speech.answer.thoughts) + len(speech.answer.pieces)
    for _, result in zip(range(min(FAULT_AFTER_RESULTS, said - 1)), speech.results(), strict=False):
        yield result


def _slow(speech: Speech) -> Iterator[Step]:
    for step in _whole(speech):
        yield Pause(SLOW_RESULT_S)
        yield step


def _silence(speech: Speech) -> Pause:
    return Pause(SILENCE_S if speech.silence_s is None else speech.silence_s)


def _silent_start(speech: Speech) -> Iterator[Step]:
    yield _silence(speech)
    yield from _whole(speech)


def _stall(speech: Speech) -> Iterator[Step]:
    for number, step in enumerate(_whole(speech)):
        if number == FAULT_AFTER_RESULTS:
            yield _silence(speech)
        yield step


def _stalled(speech: Speech) -> Iterator[Step]:
    yield from _begun(speech)
    yield Pause(FOREVER_S)


def _changed(change: Callable[[JsonObject], JsonObject], speech: Speech) -> Iterator[Step]:
    for result in speech.results():
        yield change(result)
    yield change(speech.finished())


def _without_usage(said: JsonObject) -> JsonObject:
    match said:
        case {"payload": {"usage": _, **rest}}:
            return said | {"payload": rest}
    return said


def _with_unknown_keys(said: JsonObject) -> JsonObject:
    strange: JsonObject = {"new": [{"deep": None}], "编号": 1.5}
    match said:
        case {"header": dict(header), "payload": dict(payload)}:
            return strange | {"header": strange | header, "payload": strange | payload}
    return said


def _empty_results(speech: Speech) -> Iterator[Step]:
    for number, result in enumerate(speech.results()):
        yield speech.result("", "", speech.answer.usage_after(number), RUNNING)
        yield result
    yield speech.finished()


def _other_task(speech: Speech) -> Iterator[Step]:
    yield from _begun(speech)
    usage = speech.answer.usage_after(1)
    other = Speech("task-of-nobody", speech.answer, speech.parameters)
    yield other.result("not yours", "", usage, RUNNING)
    yield speech.finished()


def _fragmented(speech: Speech) -> Iterator[Step]:
    for number, said in enumerate([*speech.results(), speech.finished()], 1):
        yield Distorted(said, partial(in_fragments, has_ping=number % _PING_EVERY == 0))


def _failed_mid_stream(speech: Speech) -> Iterator[Step]:
    yield from _begun(speech)
    yield failed(speech.task_id, ERRORS["InternalError"])


def _ending_mid_stream(leaving: Exit, speech: Speech) -> Iterator[Step]:
    yield from _begun(speech)
    yield leaving


def _once_distorted(write: Callable[[bytes], bytes], speech: Speech) -> Iterator[Step]:
    """An event in the middle that a strict client fails on; nothing follows."""
    yield from _begun(speech)
    yield Distorted(speech.result("odd", "", speech.answer.usage_after(1), RUNNING), write)
    yield Pause(FOREVER_S)


_INSTEAD: Final[Mapping[Scenario, Step]] = {
    Scenario.SILENT: Pause(FOREVER_S),
    Scenario.CLOSE_BEFORE_START: CloseWith(1000),
    Scenario.RESET_BEFORE_START: Leave.RESET,
}
"""What some scenarios do in place of ``task-started``."""

_PLAYS: Final[Mapping[Scenario, Play]] = {
    Scenario.SLOW: _slow,
    Scenario.SILENT_START: _silent_start,
    Scenario.STALL: _stall,
    Scenario.STALLED: _stalled,
    Scenario.NO_USAGE: partial(_changed, _without_usage),
    Scenario.UNKNOWN_KEYS: partial(_changed, _with_unknown_keys),
    Scenario.OTHER_TASK: _other_task,
    Scenario.EMPTY_RESULTS: _empty_results,
    Scenario.FRAGMENTED: _fragmented,
    Scenario.FAILED_MID_STREAM: _failed_mid_stream,
    Scenario.CLOSE_MID_STREAM: partial(_ending_mid_stream, CloseWith(1000)),
    Scenario.CLOSE_1011: partial(_ending_mid_stream, CloseWith(1011, "internal error")),
    Scenario.EOF_MID_STREAM: partial(_ending_mid_stream, Leave.FINISH),
    Scenario.RESET_MID_STREAM: partial(_ending_mid_stream, Leave.RESET),
    Scenario.BAD_UTF8: partial(_once_distorted, broken_utf8),
    Scenario.BINARY_FRAME: partial(_once_distorted, as_binary),
}
"""The scenarios of tasks whose answer is not played as documented."""
