"""So many turns in a window."""

from __future__ import annotations

from relayd.sim.responses.quota import KEYS_MAX, Quota


def test_a_window_has_so_many_turns_and_then_the_next_one() -> None:
    quota = Quota(turns=2, window_s=100.0)

    assert [quota.take("a", 10.0), quota.take("a", 50.0)] == [None, None]
    assert quota.take("a", 60.0) == 110.0
    assert quota.take("b", 60.0) is None
    assert quota.take("a", 110.0) is None


def test_windows_are_bounded() -> None:
    quota = Quota(turns=1)
    for number in range(KEYS_MAX + 1):
        assert quota.take(str(number), 0.0) is None

    assert quota.take("1", 0.0) is not None
    assert quota.take("0", 0.0) is None, "the oldest window began anew"
