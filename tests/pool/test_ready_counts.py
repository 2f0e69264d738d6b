"""What is told of sockets that are opened ahead; how it comes about is in test_ready.py."""

from __future__ import annotations

import attrs

from relayd.pool.ready_counts import AccountReady, Counts


def test_everything_begins_at_nothing() -> None:
    told = AccountReady("one", Counts())
    assert (told.ready, told.opening) == (0, 0)
    assert set(attrs.asdict(told.counts).values()) == {0}
