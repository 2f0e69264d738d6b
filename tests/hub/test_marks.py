"""How far forgotten topics came."""

from __future__ import annotations

import pytest

from relayd.hub.marks import Marks
from relayd.hub.patterns import Pattern

OWN = "session:sess_1"


def lost(marks: Marks, tenant: str | None, stem: str, *, is_prefix: bool = True) -> int:
    return marks.lost_seq(Pattern(tenant, stem, is_prefix))


def test_a_mark_is_its_tenants_and_everybodys_for_operators() -> None:
    marks = Marks()
    marks.forget("globex", "workflow:a", offset=5, seq=9)

    assert (marks.offset("globex", "workflow:b"), marks.seq("globex", "workflow:b")) == (5, 9)
    assert (marks.offset("acme", "workflow:b"), marks.seq("acme", "workflow:b")) == (0, 0)
    assert (lost(marks, "acme", "workflow:"), lost(marks, None, "workflow:")) == (0, 9)


def test_numbers_of_own_sessions_are_given_once_whosever_they_are() -> None:
    marks = Marks()
    marks.forget("globex", OWN, offset=5, seq=9)
    marks.skip("globex", 10)

    for tenant in ("globex", "acme", None):
        assert marks.offset(tenant, OWN) == 6
    assert (lost(marks, "globex", OWN, is_prefix=False), lost(marks, "acme", "*")) == (10, 0)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [("", 9), ("session:", 9), ("session:se", 9), ("session:sess_", 9), ("workflow:", 4)],
)
def test_a_prefix_has_the_marks_of_what_it_matches(stem: str, expected: int) -> None:
    marks = Marks()
    marks.forget("acme", "workflow:a", offset=1, seq=4)
    marks.forget("acme", OWN, offset=1, seq=9)

    assert lost(marks, "acme", stem) == expected
    assert lost(marks, "acme", "session:x") == 4


def test_tenants_without_marks_of_their_own_have_those_that_were_given_up() -> None:
    marks = Marks(tenants_max=2)
    for number, tenant in enumerate("abac", 1):
        marks.forget(tenant, "workflow:w", offset=number, seq=10 * number)

    assert len(marks) == 2
    assert [marks.seq(tenant, "workflow:w") for tenant in "abcd"] == [30, 20, 40, 20]
    marks.forget("b", "workflow:w", offset=1, seq=1)  # again, lower: it stays where it was
    assert marks.offset("b", "workflow:w") == 2
