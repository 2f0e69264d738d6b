"""A server is judged by how many different devices it fails."""

from __future__ import annotations

from relayd.session.xiaozhi.doubts import DEVICES_MAX, FORGOTTEN_S, Doubts


def test_a_device_counts_once_against_each_account() -> None:
    doubts = Doubts()

    assert doubts.count("a", "d-1", 0.0)
    assert not doubts.count("a", "d-1", 1000.0)
    assert doubts.count("a", "d-2", 1.0)
    assert doubts.count("b", "d-1", 1.0)
    assert (doubts.devices("a"), doubts.devices("b"), doubts.devices("c")) == (2, 1, 0)


def test_it_counts_again_behind_another_greeting_and_some_time() -> None:
    doubts = Doubts()
    doubts.count("a", "d-1", 0.0)

    doubts.greeted("a", FORGOTTEN_S - 1.0)
    doubts.greeted("b", FORGOTTEN_S)
    assert not doubts.count("a", "d-1", FORGOTTEN_S)
    doubts.greeted("a", FORGOTTEN_S)

    assert doubts.devices("a") == 0
    assert doubts.count("a", "d-1", FORGOTTEN_S)


def test_no_more_devices_are_remembered_than_may_be() -> None:
    doubts = Doubts()
    for number in range(DEVICES_MAX + 1):
        assert doubts.count("a", str(number), 0.0)

    assert doubts.devices("a") == DEVICES_MAX
    assert doubts.count("a", "0", 1.0)
