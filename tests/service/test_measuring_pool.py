"""What the pool becomes in the metrics."""

from __future__ import annotations

import pytest

from relayd.observe.metrics_values import Registry
from relayd.pool.events import Broken, Outcome, PoolEvent, PoolEventKind, Refused, Rotated
from relayd.service.measuring_pool import count_event, sample_pools
from tests.service.measured import World, pool_of, shown

CANARY = "sk-canary-1234567890abcdef1234567890"


def happened(kind: PoolEventKind, reason: str = "", seconds: float = 0.0) -> PoolEvent:
    return PoolEvent(kind, "main", 7, 1, reason, seconds)


def values(registry: Registry, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by the values of their labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    }


@pytest.mark.parametrize(
    ("kind", "reason", "label"),
    [
        (PoolEventKind.SLOT_OPENED, "", "none"),
        (PoolEventKind.SLOT_BROKEN, Broken.PEER_GONE, "peer_gone"),
        (PoolEventKind.SLOT_BROKEN, "upstream_closed", "upstream_closed"),
        (PoolEventKind.SLOT_BROKEN, CANARY, "other"),
        (PoolEventKind.SLOT_ROTATED, Rotated.AGE_MAX, "age_max"),
        (PoolEventKind.SLOT_EVICTED, Rotated.OTHER_IDENTITY, "other_identity"),
        (PoolEventKind.LEASE_REFUSED, Refused.PINNED_GONE, "pinned_gone"),
    ],
)
def test_what_happens_counts_by_a_reason_that_relayd_knows(
    kind: PoolEventKind, reason: str, label: str
) -> None:
    registry = Registry()

    count_event(happened(kind, reason), registry)
    count_event(happened(kind, reason), registry)

    assert values(registry, "relayd_pool_events_total") == {("main", kind.value, label): 2}


def test_a_wait_is_timed_whether_it_came_to_something_or_not() -> None:
    registry = Registry()

    count_event(happened(PoolEventKind.LEASE_WAITED, seconds=0.5), registry)
    count_event(happened(PoolEventKind.LEASE_REFUSED, Refused.ACQUIRE_TIMEOUT, 12.0), registry)
    count_event(happened(PoolEventKind.LEASE_REFUSED, Refused.PINNED_GONE, 3.0), registry)

    assert values(registry, "relayd_pool_wait_seconds_sum") == {("main",): 12.5}
    assert values(registry, "relayd_pool_wait_seconds_count") == {("main",): 2}
    assert values(registry, "relayd_pool_events_total") == {
        ("main", "lease.refused", "acquire_timeout"): 1,
        ("main", "lease.refused", "pinned_gone"): 1,
    }


def test_opening_a_socket_is_dialling_an_upstream() -> None:
    registry = Registry()

    count_event(happened(PoolEventKind.SLOT_OPENED, seconds=0.25), registry)
    count_event(happened(PoolEventKind.SLOT_ROTATED, Rotated.AGE_MAX, 3300.0), registry)

    assert values(registry, "relayd_connect_seconds_sum") == {("main",): 0.25}


@pytest.mark.parametrize("outcome", Outcome)
def test_the_end_of_a_lease_counts_nothing(outcome: Outcome) -> None:
    registry, untouched = Registry(), Registry()

    count_event(happened(PoolEventKind.LEASE_RELEASED, outcome, 1.0), registry)

    for family, other in zip(registry.collect(), untouched.collect(), strict=True):
        assert family.samples == other.samples


async def test_a_pool_is_told_as_it_is_at_the_scrape() -> None:
    world = World()
    measuring = world.measuring()
    world.pools = (
        pool_of(
            sv_active=3,
            sv_idle=4,
            sv_tested=1,
            sv_login=2,
            cl_active=3,
            cl_waiting=5,
            maxwait_s=0.75,
            slots_max=10,
            leases=100,
            reused=90,
        ),
        pool_of("spare"),
    )

    sockets = await shown(measuring, "relayd_pool_sockets")

    assert {labels: count for labels, count in sockets.items() if count} == {
        '{account="main",state="active"}': 3,
        '{account="main",state="idle"}': 4,
        '{account="main",state="tested"}': 1,
        '{account="main",state="login"}': 2,
    }
    assert len(sockets) == 8
    assert await shown(measuring, "relayd_pool_slots_max") == {
        '{account="main"}': 10,
        '{account="spare"}': 128,
    }
    assert (await shown(measuring, "relayd_pool_waiting"))['{account="main"}'] == 5
    assert (await shown(measuring, "relayd_pool_wait_max_seconds"))['{account="main"}'] == 0.75
    leases = await shown(measuring, "relayd_pool_leases_total")
    assert leases['{account="main",reused="true"}'] == 90
    assert leases['{account="main",reused="false"}'] == 10


async def test_what_is_heard_of_the_pool_is_in_the_next_scrape() -> None:
    measuring = World(pools=(pool_of(),)).measuring()

    measuring.hear_pool(happened(PoolEventKind.SLOT_BROKEN, Broken.PING_TIMEOUT))

    assert await shown(measuring, "relayd_pool_events_total") == {
        '{account="main",event="slot.broken",reason="ping_timeout"}': 1,
        '{account="main",event="lease.refused",reason="acquire_timeout"}': 0,
    }


def test_what_an_alert_looks_at_begins_at_0_and_stays_what_it_is() -> None:
    registry = Registry()
    key = ("main", "lease.refused", "acquire_timeout")

    sample_pools([pool_of()], registry)
    assert values(registry, "relayd_pool_events_total") == {key: 0}
    count_event(happened(PoolEventKind.LEASE_REFUSED, Refused.ACQUIRE_TIMEOUT), registry)
    sample_pools([pool_of()], registry)

    assert values(registry, "relayd_pool_events_total") == {key: 1}


def test_a_pool_that_is_gone_leaves_no_gauge() -> None:
    registry = Registry()
    sample_pools([pool_of(), pool_of("old")], registry)

    sample_pools([pool_of()], registry)

    for name in ("sockets", "slots_max", "waiting", "wait_max_seconds"):
        assert {key[0] for key in values(registry, f"relayd_pool_{name}")} == {"main"}
