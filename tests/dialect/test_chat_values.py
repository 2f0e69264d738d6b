"""A request as a value."""

from __future__ import annotations

import pytest

from relayd.dialect.chat_values import AUTO, ChatRequest, Message, Role, ToolMode


@pytest.mark.parametrize(("param", "searches"), [(None, False), ("tools[0]", True)])
def test_a_search_is_asked_for_by_a_member(param: str | None, searches: bool) -> None:
    request = ChatRequest(model="m", messages=(), web_search_param=param)

    assert request.web_search is searches


def test_a_choice_is_the_model_s_where_nobody_chooses() -> None:
    assert (AUTO.mode, AUTO.name) == (ToolMode.AUTO, None)


def test_what_people_write_is_not_shown() -> None:
    assert "canary" not in repr(Message(role=Role.USER, text="canary"))
