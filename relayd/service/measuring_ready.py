"""What sockets that are opened ahead, for the chat dialect, become in the metrics."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from relayd.observe.metrics import Metric
from relayd.observe.metrics_values import Registry
from relayd.pool.ready_counts import AccountReady


def sample_ready(accounts: Iterable[AccountReady], registry: Registry) -> None:
    """Tell how it is at this moment; accounts that are gone leave no series."""
    accounts = tuple(accounts)
    registry.numbers(Metric.READY_SOCKETS).replace(
        (count, {"account": each.account, "state": state})
        for each in accounts
        for state, count in (("ready", each.ready), ("opening", each.opening))
    )
    registry.numbers(Metric.READY_SOCKET_EVENTS_TOTAL).replace(
        (count, {"account": each.account, "event": event})
        for each in accounts
        for event, count in attrs.asdict(each.counts).items()
    )
