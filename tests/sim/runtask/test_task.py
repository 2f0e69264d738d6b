"""One task of a connection."""

from __future__ import annotations

import json

import pytest

from relayd.sim.runtask.actions import Action, read_action
from relayd.sim.runtask.answers import Usage
from relayd.sim.runtask.errors import ERRORS, JsonObject, Rejected
from relayd.sim.runtask.events import failed
from relayd.sim.runtask.scenario import Scenario
from relayd.sim.runtask.tally import Ending
from relayd.sim.runtask.task import Task, input_of
from tests.sim.runtask.stage import TASK, Event, run, say


def action(event: Event) -> Action:
    return read_action(json.dumps(event))


def begun(**given: object) -> Task:
    return Task(action(run(**given)), Scenario.NORMAL)  # type: ignore[arg-type]  # its own fields


def events(task: Task) -> list[JsonObject]:
    return [step for step in task.steps() if isinstance(step, dict)]


def test_input_is_complete_at_once_unless_it_streams_in() -> None:
    assert begun().is_complete
    assert begun(streaming="none").is_complete
    assert not begun(streaming="in").is_complete
    assert not begun(streaming="duplex").is_complete


def test_input_adds_up_until_it_is_complete() -> None:
    task = begun(streaming="duplex")
    task.told(action(say("continue-task", "two")))
    task.told(action(say("finish-task")))

    assert [message.content for message in task.messages] == ["hello there", "two"]
    assert task.is_complete
    assert not task.is_stopped


def test_a_prompt_is_a_message_of_the_user() -> None:
    event = say("continue-task")
    event["payload"]["input"] = {"prompt": "hi"}

    (message,) = input_of(action(event))
    assert (message.role, message.content) == ("user", "hi")


@pytest.mark.parametrize("event", [run(), say("continue-task", "x"), say("finish-task", task="b")])
def test_what_does_not_belong_to_it_is_a_mistake(event: Event) -> None:
    with pytest.raises(Rejected):
        begun().told(action(event))


def test_a_whole_task_is_counted() -> None:
    task = begun()
    for event in events(task):
        task.sent(event)

    record = task.record(is_client_gone=True)
    assert (record.task_id, record.ending, record.results) == (TASK, Ending.COMPLETED, 6)
    assert record.told == Usage(2, 6)


def test_a_task_that_is_stopped_is_paid_for_as_far_as_it_went() -> None:
    task = begun()
    for event in events(task)[:2]:
        task.sent(event)
    task.told(action(say("finish-task")))
    task.sent(task.stopped())

    record = task.record(is_client_gone=False)
    assert (record.ending, record.told) == (Ending.CANCELLED, Usage(2, 2))


def test_how_else_a_task_ends() -> None:
    assert begun().record(is_client_gone=True).ending is Ending.CANCELLED
    assert begun().record(is_client_gone=False).ending is Ending.CUT
    task = begun()
    task.sent(failed(TASK, ERRORS["Arrearage"]))
    record = task.record(is_client_gone=False)
    assert task.is_failed
    assert (record.ending, record.code, record.told) == (Ending.FAILED, "Arrearage", None)


def test_a_task_without_a_question_has_no_answer() -> None:
    with pytest.raises(Rejected):
        begun(messages=[]).steps()
