"""The event hub in the metrics."""

from __future__ import annotations

import attrs

from relayd.observe.metrics_labels import HUB_EVENT
from tests.service.measured import World, shown


async def test_it_is_told_as_it_is_at_the_scrape() -> None:
    world = World()
    counted = {event: number for number, event in enumerate(HUB_EVENT.values, 1)}
    world.hub = attrs.evolve(world.hub, topics=20, subscribers=30, remembered_bytes=40, **counted)
    measuring = world.measuring()

    assert await shown(measuring, "relayd_hub_topics") == {"": 20}
    assert await shown(measuring, "relayd_hub_subscribers") == {"": 30}
    assert await shown(measuring, "relayd_hub_history_bytes") == {"": 40}
    assert await shown(measuring, "relayd_hub_events_total") == {
        f'{{event="{event}"}}': count for event, count in counted.items()
    }
