"""Every dialect has what a session needs of it."""

from __future__ import annotations

import pytest

from relayd.dialect.base import Conversation
from relayd.dialect.passthrough import Bytes
from tests.dialect.conversation import Talk

MEMBERS = [name for name in dir(Conversation) if not name.startswith("_")]


def conversations() -> list[Conversation]:
    return [Bytes(), Talk().conversation]


@pytest.mark.parametrize("conversation", conversations())
def test_a_new_conversation_is_idle_and_open(conversation: Conversation) -> None:
    assert not conversation.tell_idle
    assert conversation.closed_to_turns is None
    assert not conversation.busy
    assert conversation.busy_since is None


@pytest.mark.parametrize("conversation", conversations())
@pytest.mark.parametrize("member", MEMBERS)
def test_a_conversation_is_whole(conversation: Conversation, member: str) -> None:
    assert hasattr(conversation, member)
