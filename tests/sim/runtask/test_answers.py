"""What the simulated model of the run-task API answers."""

from __future__ import annotations

import pytest

from relayd.sim.runtask.actions import Message, Parameters
from relayd.sim.runtask.answers import ANSWER_MAX_TOKENS, Answer, Usage, answer, directed
from relayd.sim.spark.directions import Directions


def said(*texts: str, parameters: Parameters | None = None) -> Answer:
    roles = ("user", "assistant")
    messages = [
        Message(role="user" if roles[n % 2] == "user" else "assistant", content=text)
        for n, text in enumerate(texts)
    ]
    return answer(messages, parameters or Parameters())


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["hello there"], "Answer 1. You said: hello there"),
        (["one", "two", "three"], "Answer 2. You said: three"),
        (["[sim:slow] hi"], "Answer 1. You said: hi"),
        ([""], "Answer 1. Hello."),
        ([], "Answer 1. Hello."),
    ],
)
def test_the_users_last_words_are_said_back(texts: list[str], expected: str) -> None:
    assert "".join(said(*texts).pieces) == expected


def test_an_answer_is_as_long_as_it_is_asked_to_be() -> None:
    assert len(said("word " * 100).pieces) == ANSWER_MAX_TOKENS
    assert len(said("[sim:normal words=500] x").pieces) == 500
    assert len(said("[sim:normal words=2] x").pieces) == 2


@pytest.mark.parametrize(
    ("max_tokens", "thoughts", "words", "is_cut"),
    [(None, 3, 5, False), (8, 3, 5, False), (5, 3, 2, True), (3, 2, 1, True), (1, 0, 1, True)],
)
def test_max_tokens_cuts_words_then_thoughts(
    max_tokens: int | None, thoughts: int, words: int, is_cut: bool
) -> None:
    asked = Parameters(max_tokens=max_tokens, enable_thinking=True)
    given = said("hi", parameters=asked)

    assert (len(given.thoughts), len(given.pieces), given.is_cut) == (thoughts, words, is_cut)


def test_usage_grows_with_the_results() -> None:
    given = said("two words")

    assert given.usage_after(1) == Usage(2, 1)
    assert given.usage_after(99) == Usage(2, 6)
    assert (Usage(1, 2) + Usage(3, 4)).wire() == {
        "input_tokens": 4,
        "output_tokens": 6,
        "total_tokens": 10,
    }


def test_directions_stand_in_the_last_words_of_the_user() -> None:
    assert directed([Message(role="user", content="[sim:slow] x")]) == Directions("slow")
    assert directed([]) == Directions()
