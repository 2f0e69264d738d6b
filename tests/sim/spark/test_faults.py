"""What each scenario makes of the frames of an answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from relayd.sim.responses.steps import CloseWith, Distorted, Leave, Pause, Step
from relayd.sim.spark.answers import answer
from relayd.sim.spark.faults import (
    BIG_CHARS,
    FAULT_AFTER_FRAMES,
    FOREVER_S,
    HUGE_CHARS,
    SILENCE_S,
    SLOW_FRAME_S,
    Speech,
    play,
)
from relayd.sim.spark.frames import is_last, texts_in
from relayd.sim.spark.scenario import Scenario
from tests.sim.spark.stage import MAX, WEATHER, question, said

GENTLE = [
    Scenario.NORMAL,
    Scenario.SLOW,
    Scenario.SILENT_START,
    Scenario.STALL,
    Scenario.NO_CHOICES,
    Scenario.PLUGINS_FIRST,
    Scenario.EMPTY_TEXT,
    Scenario.UNKNOWN_KEYS,
    Scenario.ONE_FRAME,
    Scenario.NO_USAGE,
    Scenario.WRONG_USAGE,
    Scenario.FRAGMENTED,
    Scenario.BROKEN_ARGUMENTS,
    Scenario.STAYS_OPEN,
]
"""Scenarios in which the answer is told to its end, and nothing but the answer."""
TEXT = "Answer 1. You said: hello there"


def speech(path: str = MAX, /, **given: object) -> Speech:
    return Speech("cht1", answer(question(path, **given)))


def played(scenario: Scenario, path: str = MAX, /, **given: object) -> list[Step]:
    return list(play(speech(path, **given), scenario))


def frames(steps: list[Step]) -> list[dict[str, Any]]:
    taken = [step.event if isinstance(step, Distorted) else step for step in steps]
    return [frame for frame in taken if isinstance(frame, dict)]


def pauses(steps: list[Step]) -> list[float]:
    return [step.seconds for step in steps if isinstance(step, Pause)]


@pytest.mark.parametrize("scenario", GENTLE)
def test_a_gentle_scenario_tells_the_whole_answer(scenario: Scenario) -> None:
    told = frames(played(scenario))

    assert said(told) == TEXT
    assert [is_last(frame) for frame in told] == [False] * (len(told) - 1) + [True]


@pytest.mark.parametrize("scenario", [s for s in Scenario if s.is_of_answers])
@pytest.mark.parametrize("given", [{}, {"functions": [WEATHER], "text": "use the tool"}])
def test_every_scenario_can_be_played_whatever_the_answer(
    scenario: Scenario, given: dict[str, object]
) -> None:
    steps = played(scenario, **given)

    assert steps
    for frame in frames(steps):
        assert msgspec.json.decode(msgspec.json.encode(frame)) == frame


def test_scenarios_without_a_play_are_the_normal_one_alone() -> None:
    normal = played(Scenario.NORMAL)
    plain = [s for s in Scenario if s.is_of_answers and played(s) == normal]

    # Arguments cannot be broken where none are given.
    assert plain == [Scenario.NORMAL, Scenario.BROKEN_ARGUMENTS]


def test_how_long_silences_are() -> None:
    assert pauses(played(Scenario.SLOW)) == [SLOW_FRAME_S] * 6
    assert pauses(played(Scenario.SILENT)) == [FOREVER_S]
    assert isinstance(played(Scenario.SILENT_START)[0], Pause)
    assert pauses(played(Scenario.SILENT_START)) == [SILENCE_S]
    assert isinstance(played(Scenario.STALL)[FAULT_AFTER_FRAMES], Pause)
    told = Speech("cht1", answer(question()), 1.5)
    assert pauses(list(play(told, Scenario.STALL))) == [1.5]


def test_frames_may_lack_what_frames_have() -> None:
    first, second, *_ = frames(played(Scenario.NO_CHOICES))
    assert first["payload"] == {}
    assert "payload" not in second

    assert "choices" not in frames(played(Scenario.PLUGINS_FIRST))[0]["payload"]
    texts = [texts_in(frame) for frame in frames(played(Scenario.EMPTY_TEXT))]
    assert texts[:2] == [
        [],
        [{"content": "", "role": "assistant", "content_type": "text", "index": 0}],
    ]


def test_unknown_members_are_everywhere() -> None:
    for frame in frames(played(Scenario.UNKNOWN_KEYS)):
        objects = [frame, frame["header"], frame["payload"], frame["payload"]["choices"]]
        assert all("new" in each for each in [*objects, *texts_in(frame)])


def test_one_frame_has_thoughts_words_and_usage() -> None:
    (frame,) = frames(played(Scenario.ONE_FRAME, "/v1/x1"))

    assert said([frame]) == TEXT
    assert said([frame], "reasoning_content") == "The user says: hello there"
    assert frame["payload"]["usage"]["text"]["completion_tokens"] == 11


def test_one_frame_has_the_call() -> None:
    steps = played(Scenario.ONE_FRAME, "/v1/x1", functions=[WEATHER], text="use the tool")
    (frame,) = frames(steps)

    (text,) = texts_in(frame)
    assert "function_call" in text
    assert text["reasoning_content"]


def test_usage_may_be_missing_or_impossible() -> None:
    assert "usage" not in frames(played(Scenario.NO_USAGE))[-1]["payload"]
    kinds = set()
    for words in range(1, 8):
        text = "x " * words
        told = frames(played(Scenario.WRONG_USAGE, text=text))[-1]["payload"]["usage"]["text"]
        assert told != speech(text=text).answer.usage.wire()
        kinds.add(json.dumps(told))
    assert len(kinds) == 7


@pytest.mark.parametrize(
    ("scenario", "chars"), [(Scenario.BIG_FRAME, BIG_CHARS), (Scenario.HUGE_FRAME, HUGE_CHARS)]
)
def test_a_frame_may_be_large(scenario: Scenario, chars: int) -> None:
    sizes = [len(said([frame])) for frame in frames(played(scenario))]

    assert max(sizes) == chars
    assert sizes[0] < chars


def test_arguments_may_be_no_json() -> None:
    steps = played(Scenario.BROKEN_ARGUMENTS, functions=[WEATHER], text="use the tool")
    (frame,) = frames(steps)

    (text,) = texts_in(frame)
    call: Any = text["function_call"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(call["arguments"])


def test_something_may_come_behind_the_end() -> None:
    told = frames(played(Scenario.EXTRA_FRAME))

    assert [is_last(frame) for frame in told[-2:]] == [True, False]


@pytest.mark.parametrize(
    ("scenario", "leaving", "before"),
    [
        (Scenario.CLOSE_BEFORE_FIRST, CloseWith(1000), 0),
        (Scenario.CLOSE_MID_STREAM, CloseWith(1000), FAULT_AFTER_FRAMES),
        (Scenario.CLOSE_1011, CloseWith(1011, "internal error"), FAULT_AFTER_FRAMES),
        (Scenario.EOF_BEFORE_FIRST, Leave.FINISH, 0),
        (Scenario.EOF_MID_STREAM, Leave.FINISH, FAULT_AFTER_FRAMES),
        (Scenario.RESET_BEFORE_FIRST, Leave.RESET, 0),
        (Scenario.RESET_MID_STREAM, Leave.RESET, FAULT_AFTER_FRAMES),
        (Scenario.HALF_OPEN, Leave.FREEZE, FAULT_AFTER_FRAMES),
    ],
)
def test_how_an_answer_is_cut(scenario: Scenario, leaving: Step, before: int) -> None:
    *told, last = played(scenario)

    assert last == leaving
    assert len(told) == before
    assert not any(is_last(frame) for frame in frames(told))


def test_a_fault_of_the_middle_strikes_before_the_last_frame_of_a_short_answer() -> None:
    *told, last = played(Scenario.RESET_MID_STREAM, max_tokens=2)

    assert len(told) == 1
    assert last is Leave.RESET


@pytest.mark.parametrize(
    ("scenario", "is_text"),
    [(Scenario.BAD_UTF8, True), (Scenario.NOT_JSON, True), (Scenario.BINARY_FRAME, False)],
)
def test_a_frame_that_a_strict_client_fails_on(scenario: Scenario, is_text: bool) -> None:
    *_, odd, waiting = played(scenario)

    assert isinstance(odd, Distorted)
    assert waiting == Pause(FOREVER_S)
    data = odd.write(msgspec.json.encode(odd.event))
    assert (data[0] & 0x0F == 1) == is_text
    body = data[2:] if data[1] < 126 else data[4:]
    if scenario is Scenario.BINARY_FRAME:
        json.loads(body)
    else:
        with pytest.raises((UnicodeDecodeError, json.JSONDecodeError)):
            json.loads(body.decode())


def test_an_answer_that_is_withdrawn_is_paid_for_as_far_as_it_went() -> None:
    error = frames(played(Scenario.LATE_10014))[-1]

    assert error["header"]["code"] == 10014
    assert error["payload"]["usage"]["text"]["completion_tokens"] == FAULT_AFTER_FRAMES
    assert texts_in(error) == []
