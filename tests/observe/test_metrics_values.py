"""What families keep, and that they stay bounded whatever they are given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.observe.metrics import Metric
from relayd.observe.metrics_labels import OTHER, Kind, Label, Spec
from relayd.observe.metrics_values import Histogram, Numbers, Registry

WHERE = Label("account", "an account")
WAY = Label("direction", "a direction", ("up", "down"))
COUNTER = Spec(Kind.COUNTER, "relayd_things_total", "Things.", "", "", (WHERE, WAY))
GAUGE = Spec(Kind.GAUGE, "relayd_things", "Things.", "", "", (WHERE,))
BARE = Spec(Kind.COUNTER, "relayd_bare_total", "Bare things.", "", "")
TIMES = Spec(Kind.HISTOGRAM, "relayd_time_seconds", "Time.", "", "", (WHERE,), (0.1, 1.0))


def shown(family: Numbers | Histogram) -> dict[tuple[str, ...], float]:
    """Every sample by its name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for series in family.series()
        for sample in series
    }


def test_a_counter_adds_up_by_its_labels() -> None:
    counter = Numbers(COUNTER)

    counter.add(account="a", direction="up")
    counter.add(2.5, account="a", direction="up")
    counter.add(1, direction="down", account="b")

    assert shown(counter) == {
        ("relayd_things_total", "a", "up"): 3.5,
        ("relayd_things_total", "b", "down"): 1,
    }
    assert counter.value(account="a", direction="up") == 3.5
    assert counter.value(account="c", direction="up") == 0


def test_a_counter_never_falls_and_a_gauge_may() -> None:
    counter, gauge = Numbers(BARE), Numbers(GAUGE)

    counter.add(2)
    counter.add(-1)
    gauge.add(2, account="a")
    gauge.add(-3, account="a")

    assert counter.value() == 2
    assert gauge.value(account="a") == -1


def test_what_has_no_labels_is_there_from_the_beginning() -> None:
    assert shown(Numbers(BARE)) == {("relayd_bare_total",): 0}


def test_the_series_of_what_is_gone_go_with_it() -> None:
    gauge = Numbers(GAUGE)
    gauge.set(1, account="old")

    gauge.replace([(2, {"account": "new"}), (3, {"account": "newer"})])

    assert shown(gauge) == {("relayd_things", "new"): 2, ("relayd_things", "newer"): 3}


def test_unknown_label_values_count_together() -> None:
    counter = Numbers(COUNTER)

    counter.add(1, account="a", direction="left")
    counter.add(1, account="a", direction="right")

    assert shown(counter) == {("relayd_things_total", "a", OTHER): 2}


@pytest.mark.parametrize(
    "labels", [{}, {"account": "a"}, {"account": "a", "direction": "up", "k": "v"}]
)
def test_a_wrong_set_of_labels_is_a_bug(labels: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="relayd_things_total has other labels"):
        Numbers(COUNTER).add(1, **labels)


@given(st.lists(st.tuples(st.text(), st.sampled_from(["up", "down", "?"])), max_size=60))
def test_there_are_never_more_series_than_may_be_and_nothing_is_lost(
    things: list[tuple[str, str]],
) -> None:
    counter = Numbers(COUNTER, series_max=4)

    for account, direction in things:
        counter.add(1, account=account, direction=direction)

    known_values = (*WAY.values, OTHER)
    assert len(shown(counter)) <= 4 + len(known_values)
    assert sum(shown(counter).values()) == len(things)


def test_a_replaced_gauge_is_bounded_too() -> None:
    gauge = Numbers(GAUGE, series_max=2)

    gauge.replace([(1, {"account": name}) for name in "abcd"])

    assert shown(gauge) == {
        ("relayd_things", "a"): 1,
        ("relayd_things", "b"): 1,
        ("relayd_things", OTHER): 2,
    }


def test_a_histogram_counts_up_to_and_with_each_bound() -> None:
    times = Histogram(TIMES)

    for value in (-1.0, 0.05, 0.1, 0.5, 1.0, 7.0):
        times.observe(value, account="a")

    assert shown(times) == {
        ("relayd_time_seconds_bucket", "a", "0.1"): 3,
        ("relayd_time_seconds_bucket", "a", "1.0"): 5,
        ("relayd_time_seconds_bucket", "a", "+Inf"): 6,
        ("relayd_time_seconds_count", "a"): 6,
        ("relayd_time_seconds_sum", "a"): 8.65,
    }
    assert times.count(account="a") == 6
    assert times.count(account="b") == 0


def test_a_histogram_can_be_shown_before_it_has_seen_anything() -> None:
    times = Histogram(TIMES)

    times.begin(account="a")
    times.observe(0.5, account="a")
    times.begin(account="a")

    assert times.count(account="a") == 1


def test_series_that_come_while_they_are_read_do_not_disturb() -> None:
    counter, times = Numbers(COUNTER), Histogram(TIMES)
    for name in "ab":
        counter.add(1, account=name, direction="up")
        times.observe(1.0, account=name)

    readings = counter.series(), times.series()
    for reading in readings:
        next(reading)
    counter.add(1, account="c", direction="up")
    times.observe(1.0, account="c")

    assert [len(list(reading)) for reading in readings] == [1, 1]


def test_a_gauge_that_is_replaced_while_it_is_read_is_read_as_it_was() -> None:
    gauge = Numbers(GAUGE)
    gauge.replace([(1, {"account": "a"}), (2, {"account": "b"})])

    reading = gauge.series()
    next(reading)
    gauge.replace([])

    assert [sample.value for series in reading for sample in series] == [2]


def test_a_registry_has_every_metric_of_the_table_in_its_order() -> None:
    registry = Registry()

    assert [family.spec for family in registry.families] == [metric.spec for metric in Metric]
    assert [family.name for family in registry.collect()] == [
        metric.spec.name.removesuffix("_total") for metric in Metric
    ]
    assert registry.numbers(Metric.SESSIONS_OPEN).spec is Metric.SESSIONS_OPEN.spec
    assert registry.histogram(Metric.TTFT_SECONDS).spec is Metric.TTFT_SECONDS.spec


def test_a_histogram_can_be_set_from_where_something_else_counts() -> None:
    family = Registry().histogram(Metric.HUB_FANOUT_SECONDS)
    counts = [0] * (len(Metric.HUB_FANOUT_SECONDS.spec.buckets) + 1)
    counts[1], counts[-1] = 2, 1

    for _ in range(2):
        family.set(counts, 4.5)

    assert family.count() == 3
    ((*_, count, total),) = family.series()
    assert (count.value, total.value) == (3, 4.5)
    with pytest.raises(AssertionError, match="buckets"):
        family.set(counts[1:], 4.5)
