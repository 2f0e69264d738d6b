"""What the pool of upstream sockets becomes in the metrics."""

from __future__ import annotations

from collections.abc import Iterable

from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import NO_REASON
from relayd.observe.metrics_values import Registry
from relayd.pool.events import PoolEvent, PoolEventKind, Refused
from relayd.pool.slots import State
from relayd.pool.statistics import AccountPool


def count_event(event: PoolEvent, registry: Registry) -> None:
    """Count one thing that has happened.

    A lease's end, which every turn has, counts nothing: leases are counted where they begin.
    """
    account = event.account
    match event.kind:
        case PoolEventKind.LEASE_RELEASED:
            return
        case PoolEventKind.LEASE_WAITED:
            registry.histogram(Metric.POOL_WAIT_SECONDS).observe(event.seconds, account=account)
            return
        case PoolEventKind.LEASE_REFUSED if event.reason == Refused.ACQUIRE_TIMEOUT:
            registry.histogram(Metric.POOL_WAIT_SECONDS).observe(event.seconds, account=account)
        case PoolEventKind.SLOT_OPENED:
            registry.histogram(Metric.CONNECT_SECONDS).observe(event.seconds, account=account)
    _add_event(registry, 1, account, event.kind, event.reason or NO_REASON)


def sample_pools(pools: Iterable[AccountPool], registry: Registry) -> None:
    """Tell how each account's pool is at this moment; those that are gone leave no series."""
    pools = tuple(pools)
    registry.numbers(Metric.POOL_SOCKETS).replace(
        (count, {"account": pool.account, "state": state})
        for pool in pools
        for state, count in (
            (State.ACTIVE, pool.sv_active),
            (State.IDLE, pool.sv_idle),
            (State.TESTED, pool.sv_tested),
            (State.LOGIN, pool.sv_login),
        )
    )
    registry.numbers(Metric.POOL_SLOTS_MAX).replace(
        (pool.slots_max, {"account": pool.account}) for pool in pools
    )
    registry.numbers(Metric.POOL_WAITING).replace(
        (pool.cl_waiting, {"account": pool.account}) for pool in pools
    )
    registry.numbers(Metric.POOL_WAIT_MAX_SECONDS).replace(
        (pool.maxwait_s, {"account": pool.account}) for pool in pools
    )
    registry.numbers(Metric.POOL_LEASES_TOTAL).replace(
        (count, {"account": pool.account, "reused": reused})
        for pool in pools
        for reused, count in (("true", pool.reused), ("false", pool.leases - pool.reused))
    )
    # An increase from nothing to 1 is none to Prometheus: what an alert looks at begins at 0.
    for pool in pools:
        _add_event(registry, 0, pool.account, PoolEventKind.LEASE_REFUSED, Refused.ACQUIRE_TIMEOUT)


def _add_event(registry: Registry, count: int, account: str, event: str, reason: str) -> None:
    registry.numbers(Metric.POOL_EVENTS_TOTAL).add(
        count, account=account, event=event, reason=reason
    )
