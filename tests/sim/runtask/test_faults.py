"""What each scenario makes of the events of a task."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from relayd.sim.responses.steps import CloseWith, Distorted, Leave, Pause, Step
from relayd.sim.runtask.actions import Message, Parameters
from relayd.sim.runtask.answers import answer
from relayd.sim.runtask.events import Speech
from relayd.sim.runtask.faults import FAULT_AFTER_RESULTS, FOREVER_S, beginning, play
from relayd.sim.runtask.scenario import Scenario
from tests.sim.runtask.stage import kinds, said

PARAMETERS = Parameters(result_format="message", incremental_output=True)


def played(scenario: Scenario) -> list[Step]:
    told = answer([Message(role="user", content="hello there")], PARAMETERS)
    return list(play(Speech("t", told, PARAMETERS), scenario))


def events(steps: list[Step]) -> list[dict[str, Any]]:
    taken = [step.event if isinstance(step, Distorted) else step for step in steps]
    return [step for step in taken if isinstance(step, dict)]


GENTLE = [
    Scenario.NORMAL,
    Scenario.SLOW,
    Scenario.SILENT_START,
    Scenario.STALL,
    Scenario.NO_USAGE,
    Scenario.UNKNOWN_KEYS,
    Scenario.EMPTY_RESULTS,
    Scenario.FRAGMENTED,
]


@pytest.mark.parametrize("scenario", GENTLE)
def test_a_gentle_scenario_tells_the_whole_answer(scenario: Scenario) -> None:
    told = events(played(scenario))

    assert said(told) == "Answer 1. You said: hello there"
    assert kinds(told)[-1] == "task-finished"


@pytest.mark.parametrize("scenario", [s for s in Scenario if s.is_of_tasks])
def test_every_scenario_differs_from_the_normal_one_somewhere(scenario: Scenario) -> None:
    whole = [*beginning("t", scenario), *played(scenario)]
    normal = [*beginning("t", Scenario.NORMAL), *played(Scenario.NORMAL)]

    assert (whole == normal) == (scenario is Scenario.NORMAL)
    for event in events(whole):
        assert msgspec.json.decode(msgspec.json.encode(event)) == event


@pytest.mark.parametrize(
    ("scenario", "step"),
    [
        (Scenario.SILENT, Pause(FOREVER_S)),
        (Scenario.CLOSE_BEFORE_START, CloseWith(1000)),
        (Scenario.RESET_BEFORE_START, Leave.RESET),
    ],
)
def test_some_never_start(scenario: Scenario, step: Step) -> None:
    assert list(beginning("t", scenario)) == [step]


def test_what_follows_a_run_task() -> None:
    assert kinds(events(list(beginning("t", Scenario.NORMAL)))) == ["task-started"]
    assert kinds(events(list(beginning("t", Scenario.UNKNOWN_EVENT)))) == [
        "task-started",
        "task-considered",
    ]
    assert kinds(events(list(beginning("t", Scenario.ARREARAGE)))) == ["task-failed"]


def test_usage_may_be_missing_and_keys_unknown() -> None:
    assert not any("usage" in event["payload"] for event in events(played(Scenario.NO_USAGE)))
    strange = events(played(Scenario.UNKNOWN_KEYS))
    assert all(
        "new" in part
        for event in strange
        for part in (event, *event.values())
        if isinstance(part, dict)
    )


def test_a_result_of_another_task_comes_between() -> None:
    told = events(played(Scenario.OTHER_TASK))

    names = [event["header"]["task_id"] for event in told]
    assert names == ["t"] * FAULT_AFTER_RESULTS + ["task-of-nobody", "t"]


@pytest.mark.parametrize("scenario", [Scenario.BAD_UTF8, Scenario.BINARY_FRAME])
def test_an_event_that_a_strict_client_fails_on_is_the_last(scenario: Scenario) -> None:
    *before, odd, waiting = played(scenario)

    assert len(before) == FAULT_AFTER_RESULTS
    assert isinstance(odd, Distorted)
    assert waiting == Pause(FOREVER_S)
