"""Conversations told to models that know turns alone."""

from __future__ import annotations

from typing import Any

import pytest

from relayd.dialect.chat_history import told
from relayd.dialect.chat_values import Call, Message, Role

S, U, A, T = Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL


def said(role: Role, text: str = "", **members: object) -> Message:
    others: dict[str, Any] = members
    return Message(role=role, text=text, **others)


def turns(*messages: Message, system: bool = True) -> list[tuple[str, str]]:
    return [(turn.role.value, turn.text) for turn in told(messages, system=system).turns]


def test_system_texts_are_one_and_first() -> None:
    assert turns(said(S, "a"), said(U, "q"), said(S, "b")) == [("system", "a\n\nb"), ("user", "q")]


def test_without_the_role_they_stand_before_the_first_text_of_the_user() -> None:
    conversation = [said(S, "a"), said(U, "q"), said(A, "r"), said(S, "b"), said(U, "s")]

    assert turns(*conversation, system=False) == [
        ("user", "a\n\nb\n\nq"),
        ("assistant", "r"),
        ("user", "s"),
    ]


def test_what_one_side_says_in_a_row_is_one_turn() -> None:
    conversation = [said(U, "a"), said(U, "b"), said(A, "c"), said(A, "d"), said(U, "e")]

    assert turns(*conversation) == [("user", "a\n\nb"), ("assistant", "c\n\nd"), ("user", "e")]


def test_a_greeting_has_no_place_and_is_named() -> None:
    history = told([said(S, "s"), said(A, "hi"), said(A, "there"), said(U, "q")], system=True)

    assert [turn.role for turn in history.turns] == [S, U]
    assert history.dropped == ("messages[1]", "messages[2]")


def test_a_system_text_alone_is_what_is_asked() -> None:
    assert turns(said(S, "a"), said(S, "b")) == [("user", "a\n\nb")]


@pytest.mark.parametrize("system", [True, False])
def test_a_system_text_behind_an_answer_is_what_is_asked(system: bool) -> None:
    conversation = [said(U, "q"), said(A, "r"), said(S, "now"), said(S, "here")]

    assert turns(*conversation, system=system) == [
        ("user", "q"),
        ("assistant", "r"),
        ("user", "now\n\nhere"),
    ]


def test_a_system_text_behind_a_greeting_is_what_is_asked() -> None:
    assert turns(said(S, "s"), said(A, "hi"), said(S, "now")) == [("system", "s"), ("user", "now")]


def test_calls_and_results_are_told_in_words() -> None:
    conversation = [
        said(U, "q"),
        said(A, "well", tool_calls=(Call("1", "f", '{"a":1}'), Call("2", "g", ""))),
        said(T, "one {text}", tool_call_id="1"),
        said(T, "", tool_call_id="2"),
        said(T, "three", tool_call_id="9", name="h"),
        said(T, "four"),
    ]

    assert turns(*conversation) == [
        ("user", "q"),
        ("assistant", 'well\n\n调用 f({"a":1})\n\n调用 g()'),
        ("user", "f 返回: one {text}\n\ng 返回: \n\nh 返回: three\n\ntool 返回: four"),
    ]


def test_empty_messages_are_no_turns() -> None:
    assert turns(said(S), said(A), said(U, "q"), said(A), said(U, "r")) == [("user", "q\n\nr")]
