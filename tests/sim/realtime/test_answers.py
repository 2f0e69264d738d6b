"""What the model says."""

from __future__ import annotations

import json

import pytest

from relayd.sim.realtime.answers import ANSWER_MAX_WORDS, answer
from relayd.sim.realtime.client_events import JsonObject
from relayd.sim.realtime.response import Call, Spoken

WEATHER: JsonObject = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
    },
}


def test_the_question_is_said_back() -> None:
    said = answer(3, "hello there", aloud=None, tools=[], tool_choice="auto")

    assert said == Spoken("Answer 3. You said: hello there", None)


def test_a_long_question_is_not_said_back_in_full() -> None:
    said = answer(1, "word " * 10_000, aloud="audio/pcm", tools=[], tool_choice="auto")

    assert isinstance(said, Spoken)
    assert len(said.text.split()) == ANSWER_MAX_WORDS


def test_silence_has_an_answer_too() -> None:
    said = answer(1, "", aloud=None, tools=[], tool_choice="none")

    assert said == Spoken("Answer 1. You said nothing.", None)


@pytest.mark.parametrize(
    ("heard", "choice"),
    [
        ("anything", "required"),
        ("anything", {"type": "function", "name": "weather"}),
        ("what weather today", "auto"),
    ],
)
def test_a_tool_is_called_when_asked_for(heard: str, choice: str | JsonObject) -> None:
    called = answer(1, heard, aloud="audio/pcm", tools=[WEATHER], tool_choice=choice)

    assert isinstance(called, Call)
    assert called.name == "weather"
    assert json.loads(called.arguments) == {"city": "example", "unit": "C"}


@pytest.mark.parametrize("choice", ["none", "auto", {"type": "function", "name": "other"}])
def test_no_tool_is_called_otherwise(choice: str | JsonObject) -> None:
    said = answer(1, "hello", aloud=None, tools=[WEATHER], tool_choice=choice)

    assert isinstance(said, Spoken)
