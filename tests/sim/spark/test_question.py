"""The rules that hold for both APIs."""

from __future__ import annotations

import pytest

from relayd.sim.spark.errors import Rejected
from relayd.sim.spark.models import HTTP_PATHS, LITE, MAX, X1_5, Model
from relayd.sim.spark.question import (
    Message,
    Sampling,
    check_context,
    check_roles,
    check_sampling,
    last_words,
)
from tests.sim.spark.stage import question

OVER_HTTP = HTTP_PATHS["/v2/chat/completions"][0]


def messages(roles: str) -> list[Message]:
    """Messages by the first letters of their roles."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [Message(role=names[letter], content="x") for letter in roles]  # type: ignore[arg-type]  # a role each


def code_of(check: object, *args: object) -> int:
    assert callable(check)
    try:
        check(*args)
    except Rejected as rejected:
        return rejected.error.code
    return 0


@pytest.mark.parametrize(
    ("roles", "model", "code"),
    [
        ("u", LITE, 0),
        ("uau", LITE, 0),
        ("su", MAX, 0),
        ("suau", X1_5, 0),
        ("", LITE, 10004),
        ("su", LITE, 10163),
        ("us", MAX, 10163),
        ("ssu", MAX, 10163),
        ("suasu", MAX, 10163),
        ("s", MAX, 10163),
        ("au", MAX, 10163),
        ("sau", MAX, 10163),
        ("uu", MAX, 10163),
        ("uaau", MAX, 10163),
        ("ua", MAX, 10163),
        ("uat", MAX, 10163),
        ("suat", OVER_HTTP, 0),
        ("uattu", OVER_HTTP, 0),
        ("uu", OVER_HTTP, 0),
        ("ua", OVER_HTTP, 10163),
    ],
)
def test_roles_keep_their_order(roles: str, model: Model, code: int) -> None:
    assert code_of(check_roles, messages(roles), model) == code


@pytest.mark.parametrize(
    ("given", "model", "code"),
    [
        (Sampling(), MAX, 0),
        (Sampling(temperature=1.0, top_k=6, max_tokens=8192), MAX, 0),
        (Sampling(temperature=0.01, top_k=1, max_tokens=1), MAX, 0),
        (Sampling(temperature=0), MAX, 10005),
        (Sampling(temperature=-0.1), MAX, 10005),
        (Sampling(temperature=1.01), MAX, 10005),
        (Sampling(temperature=2), X1_5, 0),
        (Sampling(temperature=2.01), X1_5, 10005),
        (Sampling(temperature=0), OVER_HTTP, 0),
        (Sampling(top_k=0), MAX, 10005),
        (Sampling(top_k=7), MAX, 10005),
        (Sampling(max_tokens=0), MAX, 10005),
        (Sampling(max_tokens=8193), MAX, 10005),
        (Sampling(max_tokens=4097), LITE, 10005),
        (Sampling(max_tokens=65_535), X1_5, 0),
        (Sampling(max_tokens=65_536), X1_5, 10005),
        (Sampling(top_p=0, presence_penalty=9, frequency_penalty=9), MAX, 0),
        (Sampling(top_p=1, presence_penalty=3, frequency_penalty=1), X1_5, 0),
        (Sampling(top_p=0), X1_5, 10005),
        (Sampling(presence_penalty=-0.1), X1_5, 10005),
        (Sampling(frequency_penalty=1.1), X1_5, 10005),
    ],
)
def test_parameters_keep_to_their_ranges(given: Sampling, model: Model, code: int) -> None:
    assert code_of(check_sampling, given, model) == code


@pytest.mark.parametrize(("words", "code"), [(4096, 0), (4097, 10907)])
def test_the_conversation_fits_the_model(words: int, code: int) -> None:
    # Words of both messages count.
    said = [
        Message(role="user", content="word " * 4096),
        Message(role="user", content="字" * words),
    ]

    assert code_of(check_context, said, LITE) == code


def test_the_last_words_are_the_users() -> None:
    assert last_words(messages("uat")) == "x"
    assert last_words([]) == ""
    assert question(text="[sim:slow] hello").heard == "hello"
