"""What the simulated model charges."""

from __future__ import annotations

from relayd.sim.spark.usage import FUNCTION_TOKENS, SEARCH_TOKENS, Usage, call_tokens, usage_of
from tests.sim.spark.stage import WEATHER, question, search, talk


def test_all_messages_are_read_and_the_last_is_the_question() -> None:
    asked = question(messages=talk("one", "two words", "three words here"))

    assert usage_of(asked, 4) == Usage(3, 6, 4)
    assert usage_of(asked, 4).total_tokens == 10


def test_functions_and_searches_are_paid_for() -> None:
    assert usage_of(question(functions=[WEATHER]), 0).prompt_tokens == 2 + FUNCTION_TOKENS
    assert usage_of(question(tools=[search(enable=True)]), 0).prompt_tokens == 2 + SEARCH_TOKENS


def test_a_search_is_on_unless_it_is_switched_off() -> None:
    assert usage_of(question(tools=[]), 0).prompt_tokens == 2 + SEARCH_TOKENS
    assert usage_of(question(tools=[search(enable=False)]), 0).prompt_tokens == 2
    assert usage_of(question("/v1.1/chat", tools=[]), 0).prompt_tokens == 2


def test_usages_add_up_and_are_told_in_four_numbers() -> None:
    total = Usage(1, 2, 3) + Usage(10, 20, 30)

    assert total.wire() == {
        "question_tokens": 11,
        "prompt_tokens": 22,
        "completion_tokens": 33,
        "total_tokens": 55,
    }


def test_a_call_costs_by_its_length() -> None:
    assert [call_tokens("x" * length) for length in (1, 12, 13)] == [1, 1, 2]
