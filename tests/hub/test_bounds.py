"""How much is remembered, as the configuration says it."""

from __future__ import annotations

import pytest

from relayd.config.hub import HubSettings
from relayd.hub.bounds import Bounds


def test_the_settings_and_the_bounds_have_the_same_defaults() -> None:
    assert Bounds.of(HubSettings()) == Bounds()


def test_each_setting_is_a_bound() -> None:
    settings = HubSettings(
        history_count=1,
        history_bytes=2,
        history_s=3.0,
        history_max_bytes=4,
        queue_count=5,
        queue_bytes=6,
    )

    bounds = Bounds.of(settings)

    assert (bounds.ring_messages_max, bounds.ring_bytes_max, bounds.ring_age_s) == (1, 2, 3.0)
    assert bounds.rings_bytes_max == 4
    assert (bounds.outbox_messages_max, bounds.outbox_bytes_max) == (5, 6)


def test_a_client_has_room_for_a_message_at_least() -> None:
    with pytest.raises(ValueError, match="outbox_messages_max"):
        Bounds(outbox_messages_max=0)
