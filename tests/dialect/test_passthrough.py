"""The passthrough dialect reads nothing and appends what came."""

from __future__ import annotations

import pytest

from relayd.core.endings import Reason
from relayd.dialect.passthrough import Bytes, upstream_target


@pytest.mark.parametrize(
    ("base", "tail", "query", "target"),
    [
        ("", "", "", "/"),
        ("", "/a/b", "", "/a/b"),
        ("/v1", "", "", "/v1"),
        ("/v1", "/", "", "/v1/"),
        ("/v1", "/a%2Fb", "x=%20&y", "/v1/a%2Fb?x=%20&y"),
        ("", "", "x=1", "/?x=1"),
    ],
)
def test_tail_and_query_are_appended_as_they_came(
    base: str, tail: str, query: str, target: str
) -> None:
    assert upstream_target(base, tail, query) == target


def test_a_session_of_bytes_is_never_busy_and_says_nothing() -> None:
    session = Bytes()
    session.cut_short(Reason.DRAIN, 1.0)

    assert (session.client_reader, session.upstream_reader) == (None, None)
    assert (session.busy, session.busy_since) == (False, None)
    assert session.error_event("a", "b", "c") == b""
