"""The event hub in the metrics."""

from __future__ import annotations

import attrs

from relayd.hub.waits import Waits
from relayd.observe.metrics_labels import HUB_EVENT
from tests.service.measured import World, shown


async def test_it_is_told_as_it_is_at_the_scrape() -> None:
    world = World()
    counted = {event: number for number, event in enumerate(HUB_EVENT.values, 1)}
    world.hub = attrs.evolve(world.hub, **counted)  # type: ignore[arg-type]  # all are numbers
    world.hub = attrs.evolve(world.hub, topics=20, subscribers=30, remembered_bytes=40)
    world.hub = attrs.evolve(world.hub, streams=5, followings=60, queued_bytes=700)
    measuring = world.measuring()

    assert await shown(measuring, "relayd_hub_topics") == {"": 20}
    assert await shown(measuring, "relayd_hub_subscribers") == {"": 30}
    assert await shown(measuring, "relayd_hub_history_bytes") == {"": 40}
    assert await shown(measuring, "relayd_hub_streams") == {"": 5}
    assert await shown(measuring, "relayd_hub_subscriptions") == {"": 60}
    assert await shown(measuring, "relayd_hub_queue_bytes") == {"": 700}
    assert await shown(measuring, "relayd_hub_events_total") == {
        f'{{event="{event}"}}': count for event, count in counted.items()
    }


async def test_waits_are_those_that_the_hub_has_counted() -> None:
    world = World()
    waits = Waits()
    waits.note(0.0, 0.02)
    waits.note(0.0, 3.0)
    world.hub = attrs.evolve(world.hub, waits=waits.so_far())
    measuring = world.measuring()

    for _ in range(2):  # a second look counts nothing twice
        buckets = await shown(measuring, "relayd_hub_fanout_seconds_bucket")
        assert buckets['{le="0.01"}'] == 0
        assert buckets['{le="0.025"}'] == 1
        assert buckets['{le="+Inf"}'] == 2
        assert await shown(measuring, "relayd_hub_fanout_seconds_count") == {"": 2}
        assert await shown(measuring, "relayd_hub_fanout_seconds_sum") == {"": 3.02}
