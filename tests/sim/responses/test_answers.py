"""What the model says."""

from __future__ import annotations

import pytest

from relayd.sim.responses.answers import ANSWER_MAX_WORDS, WORDS_MAX, Spoken, answer
from relayd.sim.responses.client_events import as_items
from relayd.sim.responses.errors import Rejected
from relayd.sim.responses.tools import Call
from tests.sim.responses.stage import SHELL, Event, create


def test_the_users_last_words_are_said_back_with_the_depth() -> None:
    items: list[Event] = [
        *as_items("first"),
        *as_items("second"),
        {"role": "assistant", "content": "no"},
    ]

    assert answer(create(), items, 3) == Spoken("Answer 3. You said: second")


def test_what_a_tool_said_is_said_back_and_calls_no_other_tool() -> None:
    items: list[Event] = [
        *as_items("run ls"),
        {"type": "function_call_output", "output": "run away"},
    ]

    assert answer(create(tools=[SHELL]), items, 2) == Spoken("Answer 2. The tool said: run away")


def test_a_tool_is_called_when_one_is_asked_for() -> None:
    assert isinstance(answer(create(tools=[SHELL]), as_items("run ls"), 1), Call)


def test_nothing_said_is_told_so() -> None:
    assert answer(create(), [], 1) == Spoken("Answer 1. You said nothing.")


def test_a_long_question_is_cut() -> None:
    said = answer(create(), as_items("word " * 500), 1)

    assert isinstance(said, Spoken)
    assert len(said.text.split()) == ANSWER_MAX_WORDS


@pytest.mark.parametrize("count", [1, 3, 500])
def test_metadata_asks_for_a_number_of_words(count: int) -> None:
    said = answer(create(metadata={"sim_words": str(count)}), as_items("hi"), 1)

    assert isinstance(said, Spoken)
    assert len(said.text.split()) == count


@pytest.mark.parametrize("count", ["", "0", "-1", "many", "1" * 30, str(WORDS_MAX + 1)])
def test_a_number_of_words_that_is_none_is_refused(count: str) -> None:
    with pytest.raises(Rejected) as rejected:
        answer(create(metadata={"sim_words": count}), as_items("hi"), 1)

    assert rejected.value.error.param == "metadata.sim_words"
