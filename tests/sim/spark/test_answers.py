"""What the simulated model answers."""

from __future__ import annotations

import json

import pytest

from relayd.sim.spark.answers import ANSWER_MAX_TOKENS, THOUGHTS_MAX, answer
from tests.sim.spark.stage import WEATHER, question, search, talk


def spoken(path: str = "/v3.5/chat", **given: object) -> str:
    return "".join(answer(question(path, **given)).pieces)


def test_the_users_last_words_are_said_back() -> None:
    assert spoken(text="hello \n there") == "Answer 1. You said: hello there"
    assert spoken(text="你好") == "Answer 1. You said: 你好"
    assert spoken(text="") == "Answer 1. You said nothing."
    assert spoken(messages=talk("one", "two", "three")) == "Answer 2. You said: three"


def test_the_same_question_has_the_same_answer() -> None:
    assert answer(question(text="hello")) == answer(question(text="hello"))


def test_an_answer_is_as_long_as_it_is_asked_to_be() -> None:
    assert len(answer(question(text="word " * 100)).pieces) == ANSWER_MAX_TOKENS
    assert len(answer(question(text="[sim:normal words=3] hi")).pieces) == 3
    assert len(answer(question(text="[sim:normal words=500] hi")).pieces) == 500


def test_max_tokens_cuts_words_and_thoughts() -> None:
    assert spoken(max_tokens=2) == "Answer 1."
    cut = answer(question("/v1/x1", max_tokens=3))
    assert (len(cut.thoughts), len(cut.pieces), cut.usage.completion_tokens) == (2, 1, 3)
    least = answer(question("/v1/x1", max_tokens=1))
    assert (least.thoughts, "".join(least.pieces)) == ((), "Answer")


@pytest.mark.parametrize(
    ("path", "thinking", "thinks"),
    [
        ("/v3.5/chat", None, False),
        ("/v1/x1", None, True),
        ("/v1/x1", "auto", True),
        ("/v1/x1", "enabled", True),
        ("/v1/x1", "disabled", False),
        ("/x2", None, True),
        ("/v3.5/chat", "enabled", False),
    ],
)
def test_the_x_family_thinks_unless_told_not_to(
    path: str, thinking: str | None, thinks: bool
) -> None:
    given = {} if thinking is None else {"thinking": {"type": thinking}}
    said = answer(question(path, text="word " * 50, **given))

    assert len(said.thoughts) == (THOUGHTS_MAX if thinks else 0)
    assert said.usage.completion_tokens == len(said.thoughts) + len(said.pieces)


@pytest.mark.parametrize(
    ("text", "is_called"),
    [
        ("get_weather of Bonn", True),
        ("use the tool", True),
        ("run ls", True),
        ("what is the weather?", False),
    ],
)
def test_a_function_is_called_when_the_user_asks_for_it(text: str, is_called: bool) -> None:
    said = answer(question(text=text, functions=[WEATHER]))

    assert (said.call is not None) == is_called
    assert bool(said.pieces) != is_called
    if said.call is not None:
        assert (said.call.name, json.loads(said.call.text)) == ("get_weather", {"city": "example"})
        assert said.usage.completion_tokens == 2


def test_a_model_without_functions_does_not_know_them() -> None:
    assert answer(question("/v3.1/chat", text="use the tool", functions=[WEATHER])).call is None


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        (
            talk("use the tool", "调用 get_weather({})", "get_weather 返回: rain\nall day"),
            "rain all day",
        ),
        (
            talk("use the tool", "Sure.\n\n调用 get_weather({})", "get_weather: rain"),
            "get_weather: rain",
        ),
        (talk("get_weather returned: rain"), "rain"),
    ],
)
def test_a_folded_result_is_never_answered_with_another_call(
    messages: list[dict[str, object]], told: str
) -> None:
    said = answer(question(messages=messages, functions=[WEATHER]))

    assert said.call is None
    assert "".join(said.pieces).endswith(f"The tool said: {told}")


def test_references_are_found_only_where_they_are_to_be_shown() -> None:
    shown = question(tools=[search(enable=True, show_ref_label=True)])
    off = question(tools=[search(enable=False, show_ref_label=True)])

    assert [found["index"] for found in answer(shown).references] == [1, 2]
    assert answer(off).references == ()
    assert answer(question(tools=[search(enable=True)])).references == ()
