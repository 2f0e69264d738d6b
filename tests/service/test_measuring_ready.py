"""Sockets that are opened ahead, in the metrics."""

from __future__ import annotations

import attrs

from relayd.observe import metrics_labels as labels
from relayd.pool.ready_counts import AccountReady, Counts
from tests.service.measured import World, shown

ONE = AccountReady("one", Counts(taken=5, missed=4, opened=9, failed=3, lost=2, aged=1), 2, 1)


def test_the_labels_are_what_is_counted() -> None:
    assert set(labels.READY_EVENT.values) == {field.name for field in attrs.fields(Counts)}


async def test_they_are_told_as_they_are_at_the_scrape() -> None:
    world = World(ready=(ONE, AccountReady("other", Counts())))
    measuring = world.measuring()

    sockets = await shown(measuring, "relayd_ready_sockets")
    assert {key: count for key, count in sockets.items() if "other" not in key} == {
        '{account="one",state="ready"}': 2,
        '{account="one",state="opening"}': 1,
    }
    events = await shown(measuring, "relayd_ready_socket_events_total")
    assert {key: count for key, count in events.items() if "other" not in key} == {
        f'{{account="one",event="{event}"}}': count
        for event, count in attrs.asdict(ONE.counts).items()
    }
    assert len(events) == 12

    world.ready = ()
    assert await shown(measuring, "relayd_ready_sockets") == {}
    assert await shown(measuring, "relayd_ready_socket_events_total") == {}
