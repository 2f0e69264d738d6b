"""The steps of answers."""

from __future__ import annotations

import pytest

from relayd.sim.responses.steps import CloseWith, Leave, Pause
from relayd.sim.xiaozhi.answers import (
    BIG_CHARS,
    HUGE_CHARS,
    PACKETS_AHEAD,
    Audio,
    CallTool,
    Plain,
    Step,
    Utterance,
    farewell,
    play,
)
from relayd.sim.xiaozhi.scenario import Scenario

START, STOP = {"type": "tts", "state": "start"}, {"type": "tts", "state": "stop"}


def steps(
    scenario: Scenario = Scenario.NORMAL, *, spoken: bool = True, packets: int | None = None
) -> list[Step]:
    utterance = Utterance(text="hi", is_spoken=spoken, scenario=scenario, packets=packets)
    return list(play(utterance, "said", 60))


def words(told: list[Step]) -> list[str]:
    return [
        str(step.get("state") or step["type"])
        for step in told
        if isinstance(step, dict) and "type" in step
    ]


def test_an_answer_in_the_order_of_real_servers() -> None:
    told = steps()

    assert words(told) == ["stt", "start", "llm", "sentence_start", "sentence_start", "stop"]
    assert told.count(Audio()) == 20
    assert told[3] == {"type": "tts", "state": "sentence_start", "text": "said"}
    assert told[-1] == STOP


def test_packets_are_paced_but_for_those_ahead() -> None:
    told = steps(packets=8)

    assert told.count(Audio()) == 8
    assert told.count(Pause(0.06)) == 8 - PACKETS_AHEAD + 1
    assert Pause(0.06) not in told[: told.index(Audio()) + PACKETS_AHEAD]


def test_what_was_written_is_answered_without_audio() -> None:
    told = steps(spoken=False, packets=8)

    assert Audio() not in told
    assert words(told)[-1] == "stop"


@pytest.mark.parametrize("spoken", [True, False])
@pytest.mark.parametrize(
    ("scenario", "end"),
    [
        (Scenario.RESET_MID_SPEECH, Leave.RESET),
        (Scenario.FINISH_MID_SPEECH, Leave.FINISH),
        (Scenario.HALF_OPEN, Leave.FREEZE),
        (Scenario.CLOSE_1011, CloseWith(1011, "internal error")),
        (Scenario.CLOSE_1012, CloseWith(1012, "service restart")),
        (Scenario.CLOSE_1013, CloseWith(1013, "try again later")),
        (Scenario.CLOSE_1000_MID_SPEECH, CloseWith(1000)),
    ],
)
def test_faults_strike_in_the_middle(scenario: Scenario, end: Step, spoken: bool) -> None:
    told = steps(scenario, spoken=spoken)

    assert told[-1] == end
    assert START in told
    assert STOP not in told
    assert told.count(Audio()) == (3 if spoken else 0)


def test_faults_behind_an_answer() -> None:
    assert steps(Scenario.CLOSE_1000_AFTER_TURN)[-2:] == [STOP, CloseWith(1000)]
    reboot = {"type": "system", "command": "reboot"}
    assert steps(Scenario.REBOOT)[-2:] == [STOP, reboot]


def test_silences() -> None:
    assert steps(Scenario.SILENT) == []
    assert words(steps(Scenario.SILENT_AFTER_STT)) == ["stt"]


def test_wrong_frames_stand_between_those_that_are_right() -> None:
    told = steps(Scenario.WRONG_SIZE)

    assert told.count(Audio()) == 20
    assert told.count(Audio(is_wrong=True)) == 2


@pytest.mark.parametrize(
    ("scenario", "chars"), [(Scenario.BIG_MESSAGE, BIG_CHARS), (Scenario.HUGE_MESSAGE, HUGE_CHARS)]
)
def test_big_messages(scenario: Scenario, chars: int) -> None:
    (custom,) = [one for one in steps(scenario) if isinstance(one, dict) and "payload" in one]

    assert custom["payload"] == {"text": "x" * chars}


def test_what_is_said_between() -> None:
    assert CallTool() in steps(Scenario.TOOL_CALL)
    assert Plain("not JSON") in steps(Scenario.STRANGE)


def test_a_farewell_ends_with_the_connection() -> None:
    told = list(farewell("bye", 60))

    assert told[0] == START
    assert told[-2:] == [STOP, CloseWith(1000)]
