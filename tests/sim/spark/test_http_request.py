"""A request of the HTTP API."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.spark.directions import Directions
from relayd.sim.spark.errors import Rejected
from relayd.sim.spark.http_request import Manner, manner_of, question_in
from relayd.sim.spark.models import HTTP_PATHS, MAX
from relayd.sim.spark.question import Question
from tests.sim.spark.http_stage import PATH, body
from tests.sim.spark.stage import WEATHER, search

FUNCTION = {"type": "function", "function": WEATHER}


def question(path: str = PATH, /, **given_: object) -> Question:
    return question_in(json.dumps(body(**given_)).encode(), HTTP_PATHS[path])  # type: ignore[arg-type]  # JSON


def test_what_is_asked() -> None:
    asked = question(
        text="[sim:slow] hi", user="u", tools=[FUNCTION], tool_choice="auto", max_tokens=7
    )

    assert (asked.user, asked.domain, asked.max_tokens) == ("u", "generalv3.5", 7)
    assert asked.functions == ({"name": "get_weather", "parameters": WEATHER["parameters"]},)
    assert asked.directions == Directions("slow")
    assert asked.tool_choice == "auto"
    assert asked.heard == "hi"


def test_the_later_name_of_max_tokens_wins() -> None:
    assert question(max_tokens=7, max_completion_tokens=9).max_tokens == 9
    assert question().max_tokens == MAX.answer_tokens


def test_the_search_is_on_unless_it_is_switched_off() -> None:
    assert question(tools=None).is_searching
    assert not question().is_searching
    assert question(tools=[search()]).is_searching
    assert question(tools=[search(show_ref_label=True)]).has_references
    assert not question(model="lite", tools=None).is_searching


def test_functions_are_not_for_lite() -> None:
    assert question(model="lite", tools=[FUNCTION]).functions == ()


def test_thinking_can_be_switched_off() -> None:
    path = "/v2/chat/completions"

    assert question(path, model="spark-x").is_thinking
    assert not question(path, model="spark-x", thinking={"type": "disabled"}).is_thinking


@pytest.mark.parametrize(
    ("raw", "manner"),
    [
        (b'{"model":"m","stream":true}', Manner("m", stream=True)),
        (b'{"tool_calls_switch":true}', Manner(tool_calls_switch=True)),
        (b'{"stream":"yes"}', Manner()),
        (b"nonsense", Manner()),
    ],
)
def test_the_manner_is_read_before_the_request_is_judged(raw: bytes, manner: Manner) -> None:
    assert manner_of(raw) == manner


@given(st.binary())
def test_no_body_breaks_the_reader(raw: bytes) -> None:
    manner_of(raw)
    with pytest.raises(Rejected):
        question_in(raw, HTTP_PATHS[PATH])
