"""The facts of a session are a value."""

from __future__ import annotations

import attrs
import pytest

from relayd.observe.facts import SessionFacts

FACTS = SessionFacts(
    session_id="sess_1", dialect="realtime", key="k", tenant="t", account="a", model=None
)


def test_facts_of_another_account_are_another_value() -> None:
    moved = attrs.evolve(FACTS, account="b")

    assert moved != FACTS
    assert attrs.evolve(moved, account="a") == FACTS
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        FACTS.account = "b"  # type: ignore[misc]  # that is the point
