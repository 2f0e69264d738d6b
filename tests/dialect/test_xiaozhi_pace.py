"""How fast a device may send texts."""

from __future__ import annotations

from relayd.dialect.xiaozhi_pace import TextPace

TEXTS_AT_ONCE = 200


def taken(pace: TextPace, now: float) -> int:
    """How many texts may come at once."""
    count = 0
    while count <= TEXTS_AT_ONCE and pace.take(now):
        count += 1
    return count


def test_a_burst_and_then_so_many_a_second() -> None:
    pace = TextPace(50, TEXTS_AT_ONCE, 10.0)

    assert [taken(pace, at) for at in (10.0, 10.5, 11.5, 500.0)] == [TEXTS_AT_ONCE, 25, 50, 200]


def test_none_is_no_limit() -> None:
    assert taken(TextPace(0, TEXTS_AT_ONCE, 0.0), 0.0) > TEXTS_AT_ONCE
