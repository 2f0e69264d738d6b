"""What the event hub becomes in the metrics."""

from __future__ import annotations

from relayd.hub.answers import Totals
from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import HUB_EVENT
from relayd.observe.metrics_values import Registry


def sample_hub(totals: Totals, registry: Registry) -> None:
    """Tell how it is at this moment."""
    for metric, value in (
        (Metric.HUB_SUBSCRIBERS, totals.subscribers),
        (Metric.HUB_STREAMS, totals.streams),
        (Metric.HUB_SUBSCRIPTIONS, totals.followings),
        (Metric.HUB_QUEUE_BYTES, totals.queued_bytes),
        (Metric.HUB_TOPICS, totals.topics),
        (Metric.HUB_HISTORY_BYTES, totals.remembered_bytes),
    ):
        registry.numbers(metric).set(value)
    registry.histogram(Metric.HUB_FANOUT_SECONDS).set(totals.waits.counts, totals.waits.total_s)
    registry.numbers(Metric.HUB_EVENTS_TOTAL).replace(
        (getattr(totals, event), {"event": event}) for event in HUB_EVENT.values
    )
